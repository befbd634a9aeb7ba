"""A network of nine blocks, looks that say what groups they form, and what a training moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from callback_nets import CLASSES, Block, loader, trainer
from pytorch_lightning import Callback, LightningModule
from synthetic_runs import DRIFT, make_run
from torch import Tensor, nn

from lightning_gw.records.record import Record

NAMES = tuple(f"blocks.{k}" for k in range(9))
#: Groups of layers 1–2, 3–6 and 7–9, counted from 1.
STRONG = (20, "strong", (1, 5), (0, 1, 2))


class Net(LightningModule):
    def __init__(
        self, optimizer: Any = lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.1), pack: Any = None
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks, self.head = nn.ModuleList(Block(8) for _ in range(9)), nn.Linear(8, CLASSES)
        self.optimizer, self.pack = optimizer, pack

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return self.optimizer([p for p in self.parameters() if p.requires_grad])


def look(step: int, strength: str = "strong", growth: Any = None, noise: float = 0.1) -> Record:
    record = make_run(((step, strength, *STRONG[2:]) if strength != "none" else DRIFT[0],), names=NAMES)[0]
    groups = replace(record.groups, noise=np.full(8, noise))
    return replace(record, step=step, groups=groups, growth=np.ones(8) if growth is None else np.asarray(growth, float))


class Looks(Callback):
    """Stands in for GWSimilarity: one of these looks after every step."""

    def __init__(self, looks: list[Record]) -> None:
        self.coming, self.history = looks, [] if looks else None
        self.last_look: int | None = None
        self.seconds_spent = 0.0
        self.analysis_config = SimpleNamespace(bootstrap_samples=10)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if len(self.coming) >= trainer.global_step and self.history is not None:
            self.history.append(self.coming[trainer.global_step - 1])
            self.last_look = trainer.global_step


class Trained(Callback):
    """Which blocks' weights a step moved."""

    def __init__(self) -> None:
        self.moved: list[set[int]] = []
        self._before: list[Tensor] = []

    def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
        self._before = [weights_of(block) for block in module.blocks]

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        after = [weights_of(block) for block in module.blocks]
        self.moved.append({k for k in range(9) if not torch.equal(after[k], self._before[k])})


def weights_of(block: nn.Module) -> Tensor:
    return torch.cat([torch.zeros(1), *(p.detach().flatten().clone() for p in block.parameters())])


def fit(tmp_path: Path, *callbacks: Callback, net: Net | None = None, steps: int = 6, **options: Any) -> Net:
    net = net or Net()
    ckpt_path = options.pop("ckpt_path", None)
    made = trainer(tmp_path, *callbacks, max_epochs=-1, max_steps=steps, **options)
    made.fit(net, loader(), ckpt_path=ckpt_path)
    return net
