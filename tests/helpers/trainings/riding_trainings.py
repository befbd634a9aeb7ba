"""Trainings whose looks may ride along with validation, with what came of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from callback_nets import Net, assert_same_history, loader, plain_net, trainer, watcher
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn

from lightning_gw import GWSimilarity
from lightning_gw.activations.riding import Riding

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
