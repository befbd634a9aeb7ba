"""Hooks that make loaders are called as often as Lightning calls them, so what they draw stays what it was."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from callback_nets import Net, loader, plain_net, trainer, watcher
from torch.utils.data import DataLoader, TensorDataset

Draw = Callable[[], np.ndarray]


def generators() -> dict[str, Callable[[], Draw]]:
    """Sources of 32 inputs, other ones at every call."""

    def of_torch() -> Draw:
        own = torch.Generator().manual_seed(3)
        return lambda: torch.randn(32, 8, generator=own).numpy()

    def of_numpy() -> Draw:
        own = np.random.default_rng(3)
        return lambda: own.standard_normal((32, 8), dtype=np.float32)

    def of_python() -> Draw:
        own = random.Random(3)
        return lambda: np.array([[own.gauss() for _ in range(8)] for _ in range(32)], dtype=np.float32)

    def counting() -> Draw:
        calls = 0

        def draw() -> np.ndarray:
            nonlocal calls
            calls += 1
            return np.random.default_rng(calls).standard_normal((32, 8), dtype=np.float32)

        return draw

    def of_the_process() -> Draw:
        return lambda: torch.randn(32, 8).numpy()

    def iterated() -> Draw:
        made = iter(list(np.random.default_rng(3).standard_normal((50, 32, 8), dtype=np.float32)))
        return lambda: next(made)

    return {made.__name__: made for made in (of_torch, of_numpy, of_python, counting, of_the_process, iterated)}


class Drawing(pl.LightningDataModule):
    """Makes its loaders of what it draws, and writes down how often."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.draw = draw
        self.called = {"train": 0, "val": 0}

    def _made(self) -> DataLoader[Any]:
        x = torch.from_numpy(np.ascontiguousarray(self.draw()))
        return DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=16)

    def train_dataloader(self) -> DataLoader[Any]:
        self.called["train"] += 1
        return loader()

    def val_dataloader(self) -> DataLoader[Any]:
        self.called["val"] += 1
        return self._made()


class Losses(Net):  # type: ignore[misc, valid-type]
    def __init__(self) -> None:
        super().__init__(plain_net())
        self.losses: list[float] = []

    def on_validation_epoch_end(self) -> None:
        self.losses.append(float(self.trainer.callback_metrics["val_loss"]))


def losses(root: Path, draw: Draw, looks: bool, **options: Any) -> tuple[list[float], dict[str, int], tuple[str, ...]]:
    """Losses of all validations, how often loaders were made, and the notes of the first look."""
    torch.manual_seed(0)
    module, data = Losses(), Drawing(draw)
    watching = [watcher(root, when=[2, 5], null_samples=0, bootstrap_samples=2, max_overhead=None)] if looks else []
    trainer(root, *watching, max_epochs=4, **options).fit(module, data)
    if not looks:
        return module.losses, data.called, ()
    assert watching[0].history is not None
    first = watching[0].history[0]
    assert "validation data" in first.probe["source"]
    return module.losses, data.called, first.notes


SETTINGS: dict[str, dict[str, Any]] = {
    "every epoch": {},
    "after a sanity check": {"num_sanity_val_steps": 1},
    "every other epoch": {"check_val_every_n_epoch": 2},
    "made anew every epoch": {"reload_dataloaders_every_n_epochs": 1},
}


@pytest.mark.parametrize("fork", [True, False], ids=["in a copy", "here"])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", generators())
@pytest.mark.representatives("of_torch-every other epoch-here")
def test_validation_sees_what_it_would_have_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, setting: str, fork: bool
) -> None:
    options = SETTINGS[setting]
    if not fork:  # as where there is none, or the data lie on an accelerator
        monkeypatch.delattr("os.fork")
    alone = losses(tmp_path / "alone", generators()[kind](), looks=False, **options)
    watched = losses(tmp_path / "watched", generators()[kind](), looks=True, **options)
    if fork or kind != "iterated" or setting != "every other epoch":
        assert watched[:2] == alone[:2]
    else:  # Lightning has made none when the first look needs one, and no iterator can be turned back
        assert any("disturbed training: list_iterator" in note for note in watched[2])
    assert len(set(alone[0])) == len(alone[0])
