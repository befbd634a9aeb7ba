"""Looks make passes of their own wherever validation is something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from callback_nets import Block, Net, loader, plain_net, task
from every_training import differences
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging
from riding_trainings import assert_found_alike, own_passes, run
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

pytestmark = pytest.mark.usefixtures("few_draws")


class Noisy(Dataset[Any]):
    """A random augmentation."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        x, y = task(64, seed=1)[index]
        return x + torch.rand(8) / 10, y


class Changing(Dataset[Any]):
    """Other inputs from the second reading on."""

    def __init__(self) -> None:
        self.read = 0

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        self.read += 1
        x, y = task(64, seed=1)[index]
        return x + self.read // 65, y


class Awake(Net):  # type: ignore[misc, valid-type]
    """Leaves dropout on while it validates."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Linear(8, 12), *(Block(dropout=0.2) for _ in range(3)), nn.Linear(12, 3)))

    def on_validation_model_eval(self) -> None:
        self.train()


class Augmented(Net):  # type: ignore[misc, valid-type]
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] + torch.rand_like(batch[0]) / 10, batch[1]]


class Sampling(nn.Sequential):
    """Draws in evaluation mode too, as the bottleneck of a variational autoencoder may."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.randn_like(x) / 10)


class Centring(nn.Sequential):
    """Mixes the inputs of a batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


class Restless(Net):  # type: ignore[misc, valid-type]
    """Changes what it was given before the step sees it."""

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        batch[0] += batch_idx


class Scaled(Net):  # type: ignore[misc, valid-type]
    """Runs its network otherwise for later batches."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self(batch[0] * (1 + batch_idx)).square().mean())


class Hooked(Callback):
    """Another callback's hook, which changes an output."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.net[2].register_forward_hook(lambda module, args, output: output * 1.5)


class Fused(Net):  # type: ignore[misc, valid-type]
    """PyTorch's own encoder, which takes a faster way while nothing hangs on it."""

    def __init__(self) -> None:
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        super().__init__(
            nn.Sequential(nn.Unflatten(1, (1, 8)), nn.TransformerEncoder(layer, 3), nn.Flatten(), nn.Linear(8, 3))
        )


class Compiled(Net):  # type: ignore[misc, valid-type]
    """A part of the network was handed to the compiler, which here runs it as it is."""

    def __init__(self) -> None:
        net = plain_net()
        net[2].compile(backend="eager")
        super().__init__(net)


def normed() -> pl.LightningModule:
    """Batch normalisation that has seen nothing yet."""
    return Net(
        nn.Sequential(
            *(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU()) for _ in range(3)), nn.Linear(8, 3)
        )
    )


STAYING: dict[str, dict[str, Any]] = {
    "shuffled": {"held_out": lambda: loader(64, 16, seed=1, shuffle=True)},
    "another loader": {"probe": lambda: task(64, seed=1)},
    "random data": {"held_out": lambda: DataLoader(Noisy(), batch_size=16)},
    "other data": {"held_out": lambda: DataLoader(Changing(), batch_size=16)},
    "too few batches": {"options": {"limit_val_batches": 1}},
    "training data": {"probe": "train"},
    "a way of its own": {"probe_step": "forward"},
    "training mode": {"module": Awake},
    "random augmentation": {"module": lambda: Augmented(plain_net())},
    "a network that draws": {"module": lambda: Net(Sampling(*plain_net()))},
    "a network that mixes inputs": {"module": lambda: Net(Centring(*plain_net()))},
    "a batch changed in place": {"module": lambda: Restless(plain_net())},
    "other passes for later batches": {"module": lambda: Scaled(plain_net())},
    "hooks of others": {"others": lambda: [Hooked()], "module": lambda: Net(plain_net())},
    "averaged weights": {"others": lambda: [EMAWeightAveraging(decay=0.9)]},
    "fused attention": {"module": Fused},
    "compiled": {"module": Compiled},
    "statistics of the probe": {"module": normed},
    "spectral norms": {
        "module": lambda: Net(
            nn.Sequential(*(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)) for _ in range(3)))
        )
    },
}


@pytest.mark.parametrize("every_n_steps", [None, 4], ids=["checkpoints", "every so many steps"])
@pytest.mark.parametrize("kind", STAYING)
@pytest.mark.representatives(
    "shuffled-checkpoints", "averaged weights-every so many steps", "a network that mixes inputs-checkpoints"
)
def test_where_validation_is_something_else_looks_make_passes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, every_n_steps: int | None
) -> None:
    options = dict(STAYING[kind]) | {"every_n_steps": every_n_steps}
    if kind == "another loader":
        options["probe"] = options["probe"]()
    stayed = run(tmp_path / "stayed", **options)
    assert stayed.captured == []
    if kind != "other data":  # which is other data for a training that reads it once less
        own = own_passes(tmp_path / "own", monkeypatch, **options)
        assert_found_alike(stayed, own)
    alone = run(
        tmp_path / "alone",
        False,
        **{key: options[key] for key in ("module", "held_out", "options", "others") if key in options},
    )
    assert differences(stayed.state, alone.state) == []


def test_in_the_middle_of_an_accumulation_nothing_rides_that_is_of_another_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validations every three batches and steps every two: now a step has just been made, and now half of one."""
    options: dict[str, Any] = {
        "options": {
            "accumulate_grad_batches": 2,
            "val_check_interval": 3,
            "check_val_every_n_epoch": None,
            "max_epochs": 6,
        },
        "every_n_steps": 1,
        "when": [1],
    }
    rode = run(tmp_path / "rode", **options)
    own = own_passes(tmp_path / "own", monkeypatch, **options)
    alone = run(tmp_path / "alone", False, options=options["options"])
    assert_found_alike(rode, own)
    assert differences(rode.state, alone.state) == []
    assert rode.callback is not None
    taken = [record.step for record in rode.callback.history or ()]
    assert taken == list(range(13))
    # Batch 6k ends a step and is followed by a validation; batch 6k + 3 stands in the middle of one.
    assert set(rode.captured) <= {3, 6, 9, 12}
    assert len(rode.captured) >= 2


def test_weights_that_change_while_a_look_waits_cost_it_its_ride(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Averaged weights come in only after the first rides, as a callback may decide; the look is about the others."""

    class Late(Callback):
        def __init__(self) -> None:
            self.kept: list[Tensor] = []

        def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                self.kept = [p.detach().clone() for p in pl_module.parameters()]
                for p in pl_module.parameters():
                    p.data.mul_(0.5)

        def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            for p, kept in zip(pl_module.parameters(), self.kept, strict=False):
                p.data.copy_(kept)
            self.kept = []

    options: dict[str, Any] = {"others": lambda: [Late()], "every_n_steps": 4, "when": [4]}
    rode = run(tmp_path / "rode", **options)
    assert rode.captured == [8, 16]
    assert_found_alike(rode, own_passes(tmp_path / "own", monkeypatch, **options))
