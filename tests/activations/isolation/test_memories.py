"""Wherever a network keeps what it remembers, a look puts it back, or says that it could not."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from memories import Pair
from memory_kinds import PUT_BACK, SAID
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gw import GWSimilarity
from lightning_gw.activations.isolation.undisturbed import changes_of, undisturbed


@pytest.mark.parametrize("kind", PUT_BACK)
def test_it_is_put_back(kind: str) -> None:
    net, tell = PUT_BACK[kind]()
    before = tell()
    with changes_of(net) as changes, undisturbed(net) as disturbed:
        net(torch.ones(2))
    assert disturbed == changes == []
    assert tell() == before
    with changes_of(net) as changes:
        net(torch.ones(2))
    assert changes != [], "the forward pass changed nothing that could have been put back"


@pytest.mark.parametrize("kind", SAID)
def test_it_is_said(kind: str) -> None:
    build, expected = SAID[kind]
    net, _ = build()
    with undisturbed(net) as nothing:
        pass
    assert nothing == []
    with undisturbed(net) as disturbed:
        net(torch.ones(2))
    assert any(said.startswith(expected) for said in disturbed), disturbed


class Remembering(pl.LightningModule):
    """Its training depends on how often it was called, which it keeps in many places."""

    places: ClassVar[Counter[str]] = Counter()

    def __init__(self, tau: float = 1.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 1))
        self.bytes = bytearray(1)
        self.pair = Pair(torch.zeros(1), [])
        type(self).places = Counter()
        calls = [0]

        def count() -> float:
            calls[0] += 1
            return 0.01 * calls[0]

        self.count = functools.partial(count)

    def forward(self, x: Tensor) -> Tensor:
        self.hparams.tau *= 0.99
        self.places["forward"] += 1
        self.bytes[0] += 1
        self.pair.mean.add_(0.1)
        self.pair.seen.append(1)
        change = self.count() + 0.01 * (self.places["forward"] + self.bytes[0] + len(self.pair.seen))
        return self.layers(x) * self.hparams.tau * (1 + change + self.pair.mean)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trained(root: Path, module: Any, *callbacks: pl.Callback) -> dict[str, Tensor]:
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    quiet: Any = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=list(callbacks),
        default_root_dir=root,
        enable_model_summary=False,
        **quiet,
    ).fit(module, DataLoader(TensorDataset(x), batch_size=8))
    return module.state_dict()  # type: ignore[no-any-return]


def watcher(root: Path) -> GWSimilarity:
    return GWSimilarity(layers="layers.*", save_dir=root, when=[1, 2, 3], verbose=False, null_samples=0, effort="fast")


@pytest.mark.usefixtures("few_draws")
def test_a_training_that_depends_on_its_memories_is_the_same(tmp_path: Path) -> None:
    alone = trained(tmp_path / "alone", Remembering())
    watched = trained(tmp_path / "watched", Remembering(), watcher(tmp_path / "watched"))
    assert all(torch.equal(watched[name], weight) for name, weight in alone.items())


@pytest.mark.usefixtures("few_draws")
def test_what_nothing_can_put_back_shows_in_the_second_pass_and_is_said(tmp_path: Path) -> None:
    apart = ModuleType("apart")  # as a package keeps something in a global variable
    apart.__dict__["calls"] = 0

    class Counting(Remembering):
        def forward(self, x: Tensor) -> Tensor:
            apart.calls += 1
            return self.layers(x * (1 + 0.01 * apart.calls))

    with pytest.warns(UserWarning, match="put out something else for the same inputs the second time") as said:
        trained(tmp_path, Counting(), watching := watcher(tmp_path))
    assert watching.history is not None
    assert all(any("the second time" in note for note in record.notes) for record in watching.history)
    assert sum("the second time" in str(warning.message) for warning in said) == 1
