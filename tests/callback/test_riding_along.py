"""Looks that ride along with Lightning's validation: when they do, when not, and that they find the same."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from callback_nets import Block, Net, StopAt, assert_same_history, loader, plain_net, task, trainer, watcher
from every_training import differences
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lightning_gw import GWSimilarity
from lightning_gw.activations.isolation.weights import weights_of
from lightning_gw.activations.riding import Riding

pytestmark = pytest.mark.usefixtures("few_draws")

CAPTURED = "during validation"


class Passes:
    """Counts; holds a lock, so that a look does not put it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.made = 0


class Counted(nn.Module):
    """A network whose forward passes are counted."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.passes = Passes()

    def forward(self, x: Tensor) -> Tensor:
        self.passes.made += 1
        return self.net(x)


@dataclass
class Run:
    callback: GWSimilarity | None
    passes: int
    state: dict[str, Any]
    captured: list[int] = field(default_factory=list)


class Metrics(Callback):
    """What every validation logged, and where training's random numbers stood after it."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen.append([{k: float(v) for k, v in trainer.callback_metrics.items()}, torch.get_rng_state()])


def run(
    root: Path,
    watched: bool = True,
    *,
    module: Callable[[], pl.LightningModule] | None = None,
    held_out: Callable[[], Any] = lambda: loader(64, 16, seed=1),
    others: Callable[[], list[Callback]] = list,
    options: dict[str, Any] | None = None,
    ckpt_path: Path | None = None,
    shuffle: bool = True,
    **watching: Any,
) -> Run:
    """Train for four epochs of four batches, each followed by a validation of four."""
    pl.seed_everything(3, verbose=False)
    net = module() if module is not None else Net(plain_net())
    callback = watcher(root, null_samples=0, max_overhead=None, **watching) if watched else None
    metrics, saver = Metrics(), ModelCheckpoint(root / "saved", save_top_k=-1)
    callbacks = [metrics, *others(), *([callback] if callback else []), saver]
    fit = trainer(root, *callbacks, **({"max_epochs": 4} | (options or {})))
    fit.fit(net, loader(64, 16, shuffle=shuffle), held_out(), ckpt_path=ckpt_path)
    state = {
        "weights": net.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in fit.optimizers],
        "random state": torch.get_rng_state(),
        "metrics": metrics.seen,
        "modes": [child.training for child in net.modules()],
        "hooks": [len(child._forward_hooks) + len(child._forward_pre_hooks) for child in net.modules()],
    }
    records = callback.history if callback is not None else None
    captured = [record.step for record in records or () if record.probe.get("captured") == CAPTURED]
    passes = getattr(getattr(net, "net", None), "passes", None)
    return Run(callback, passes.made if passes is not None else 0, state, captured)


def own_passes(root: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Run:
    """The same training with looks that never ride."""
    with monkeypatch.context() as patch:
        patch.setattr(Riding, "ready", lambda *_: False)
        made = run(root, **options)
    assert made.captured == []
    return made


def assert_found_alike(one: Run, other: Run) -> None:
    """The same records to the bit, but for which of them were captured during validation."""
    assert one.callback is not None
    assert other.callback is not None
    assert_same_history(one.callback.history, other.callback.history)


# ---- that they ride -------------------------------------------------------------------------------------------------


class Tokens(pl.LightningModule):
    """A transformer with attention of its own, on batches that are dictionaries with ids, a mask and a nested label."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 12)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(12, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embed(input_ids)
        for block in self.blocks:
            scores = (x @ x.mT).masked_fill(~attention_mask[:, None].bool(), -1e9)
            x = block(x + scores.softmax(-1) @ x)
        return self.head((x * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True))

    def _loss(self, batch: Any) -> Tensor:
        if isinstance(batch, list):
            batch = {
                "tokens": {"input_ids": batch[0].abs().long() % 20, "attention_mask": torch.ones_like(batch[0])}
            } | {"label": batch[1]}
        return nn.functional.cross_entropy(self(**batch["tokens"]), batch["label"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-2)


class Texts(Dataset[Any]):
    """Items of two levels: token ids with their mask, and a label."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(7)
        self.ids = torch.randint(0, 20, (64, 9), generator=generator)
        self.lengths = torch.randint(3, 10, (64,), generator=generator)

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, Any]:
        mask = (torch.arange(9) < self.lengths[index]).long()
        return {
            "tokens": {"input_ids": self.ids[index], "attention_mask": mask},
            "label": int(self.ids[index, 0]) % 3,
        }


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(task(64, seed=1))


RIDING: dict[str, dict[str, Any]] = {
    "checkpoints": {},
    "every so many steps": {"when": [4], "every_n_steps": 4},
    "within an epoch": {"every_n_steps": 2, "when": [2], "options": {"val_check_interval": 2, "max_epochs": 3}},
    "balanced": {"balance": 1},
    "other batches": {"held_out": lambda: loader(64, 10, seed=1), "probe_size": 24},
    "a stream": {"held_out": lambda: DataLoader(Stream(), batch_size=16)},
    "masks and nested batches": {"module": Tokens, "held_out": lambda: DataLoader(Texts(), batch_size=16)},
    "without inference mode": {"options": {"inference_mode": False}},
    "half precision": {"options": {"precision": "bf16-mixed"}},
    "double precision": {"options": {"precision": "64-true"}},
    "several loaders": {"held_out": lambda: [loader(64, 16, seed=1), loader(32, 16, seed=2)]},
}


class SeveralLoaders(Net):  # type: ignore[misc, valid-type]
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx)


RIDING["several loaders"]["module"] = lambda: SeveralLoaders(plain_net())


@pytest.mark.parametrize("kind", RIDING)
@pytest.mark.representatives("checkpoints", "every so many steps", "masks and nested batches")
def test_a_look_that_rides_finds_what_a_pass_of_its_own_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    rode = run(tmp_path / "rode", **RIDING[kind])
    own = own_passes(tmp_path / "own", monkeypatch, **RIDING[kind])
    alone = run(
        tmp_path / "alone",
        False,
        **{key: RIDING[kind][key] for key in ("module", "held_out", "options") if key in RIDING[kind]},
    )
    assert len(rode.captured) >= 2
    assert_found_alike(rode, own)
    assert differences(rode.state, alone.state) == []


def test_looks_that_ride_make_no_forward_pass(tmp_path: Path) -> None:
    """Beyond the first, and the one that is made both ways, looks are for free."""

    def passes_of(epochs: int) -> tuple[int, int]:
        options: dict[str, Any] = {"module": lambda: Net(Counted(plain_net())), "options": {"max_epochs": epochs}}
        watched = run(tmp_path / f"with {epochs}", **options)
        alone = run(tmp_path / f"without {epochs}", False, **options)
        assert watched.callback is not None
        assert len(watched.callback.history or ()) == epochs + 1
        return watched.passes, alone.passes

    few, more = passes_of(2), passes_of(5)
    assert more[0] - few[0] == more[1] - few[1] > 0
    assert few[0] > few[1]  # a count that sees no look would pass above


def test_the_end_of_a_run_says_how_many_looks_rode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rode = run(tmp_path, verbose=True)
    assert len(rode.captured) == 3
    assert (
        "3 of 5 looks were captured during validation, without a forward pass of their own." in capsys.readouterr().out
    )


def test_what_is_kept_is_made_of_plain_tensors_of_the_probe_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []
    original = Riding.take

    def take(self: Riding, module: nn.Module) -> Any:
        found = original(self, module)
        taken.extend([] if found is None else found.representations.values())
        return found

    monkeypatch.setattr(Riding, "take", take)
    run(tmp_path)
    assert len(taken) >= 6
    assert {len(held) for held in taken} == {12}
    assert not any(held.is_inference() or held.requires_grad for held in taken)


# ---- that they do not where that would be something else ------------------------------------------------------------


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


# ---- that nothing of ours goes wrong there --------------------------------------------------------------------------

#: Methods, and how often each does its part before it fails.
FAULTS = {"prepare": 0, "compare": 0, "board": 1, "batch_begins": 5, "batch_ends": 5, "arrive": 1, "take": 2}


@pytest.mark.parametrize("method", FAULTS)
@pytest.mark.parametrize("every_n_steps", [None, 4], ids=["checkpoints", "every so many steps"])
@pytest.mark.representatives("checkpoints-batch_begins", "every so many steps-arrive")
def test_a_fault_costs_the_ride_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, every_n_steps: int | None
) -> None:
    original, calls = getattr(Riding, method), 0

    def failing(self: Riding, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > FAULTS[method]:
            raise RuntimeError("this is ours")
        return original(self, *args)

    monkeypatch.setattr(Riding, method, failing)
    with pytest.warns(UserWarning, match="could not capture .* this is ours"):
        rode = run(tmp_path / "rode", every_n_steps=every_n_steps)
    monkeypatch.setattr(Riding, method, original)
    assert_found_alike(rode, own_passes(tmp_path / "own", monkeypatch, every_n_steps=every_n_steps))
    assert differences(rode.state, run(tmp_path / "alone", False).state) == []


def test_a_hook_that_fails_does_not_fail_in_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_gw.activations.reading.capture import Collector

    original = Collector.hook

    def hook(self: Collector, layer: str, *args: Any) -> None:
        if self._picked is not None:
            raise torch.OutOfMemoryError("this is ours")
        original(self, layer, *args)

    monkeypatch.setattr(Collector, "hook", hook)
    with pytest.warns(UserWarning, match="could not capture a look during validation.*this is ours"):
        rode = run(tmp_path / "rode")
    assert rode.captured == []
    assert rode.callback is not None
    assert len(rode.callback.history or ()) == 5
    assert differences(rode.state, run(tmp_path / "alone", False).state) == []


def test_a_validation_that_fails_is_left_without_hooks(tmp_path: Path) -> None:
    class Broken(Net):  # type: ignore[misc, valid-type]
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            if self.trainer.current_epoch == 2 and self.trainer.validating and hooked(self):
                raise RuntimeError("the user's own")

    def hooked(module: nn.Module) -> int:
        return sum(len(child._forward_hooks) for child in module.modules())

    module = Broken(plain_net())
    with pytest.raises(RuntimeError, match="the user's own"):
        run(tmp_path, module=lambda: module)
    assert hooked(module) == 0


def test_a_resumed_training_rides_again(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", shuffle=False)
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "broken", others=lambda: [StopAt(9)], shuffle=False)
    saved = tmp_path / "broken/saved/epoch=1-step=8.ckpt"
    resumed = run(tmp_path / "broken", ckpt_path=saved, shuffle=False)
    assert_found_alike(resumed, whole)
    assert whole.captured == [8, 12, 16]
    assert resumed.captured == [8, 16]  # the first look of every training is made both ways
    assert differences(resumed.state["weights"], whole.state["weights"]) == []


def test_weights_are_told_from_others_by_every_bit() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = weights_of(net)
    assert weights_of(net) == before
    for tensor in (*net.parameters(), *net.buffers()):
        kept = tensor.detach().clone()
        tensor.data.view(-1)[0] = (
            torch.nextafter(kept.view(-1)[0], torch.tensor(9.0)) if kept.is_floating_point() else 1
        )
        assert weights_of(net) != before
        tensor.data.copy_(kept)
        assert weights_of(net) == before
    assert weights_of(nn.Identity()) == ()
