"""Small networks and trainings that tests of many rooms share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gw import GWSimilarity, History

CLASSES = 3


class Block(nn.Module):
    """A pre-norm residual block with dropout."""

    def __init__(self, width: int = 12, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        wide = 2 * width
        self.mlp = nn.Sequential(nn.Linear(width, wide), nn.GELU(), nn.Dropout(dropout), nn.Linear(wide, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm(x))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs)) if inputs != outputs else None
        )

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        return self.relu(self.conv2(self.relu(self.bn1(self.conv1(x)))) + skip)


class ResNet(nn.Module):
    """Blocks of growing width, held by several ``nn.Sequential`` as in torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(4, 4), BasicBlock(4, 4))
        self.layer2 = nn.Sequential(BasicBlock(4, 8), BasicBlock(8, 8))
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer2(self.layer1(self.stem(x))).mean((2, 3)))


def task(n: int = 64, width: int = 8, seed: int = 0) -> TensorDataset:
    """Inputs whose class is the largest of their first three coordinates."""
    x = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x[:, :CLASSES].argmax(1))


class Resumable(DataLoader[Any]):
    """Goes on where it stood, as Lightning asks of a loader that training is resumed with in the middle of an epoch."""

    taken = 0

    def __iter__(self) -> Iterator[Any]:
        skipped, self.taken = self.taken, 0
        for batch in super().__iter__():
            self.taken += 1
            if self.taken > skipped:
                yield batch
        self.taken = 0

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken = state["taken"]


def loader(n: int = 64, batch_size: int = 16, seed: int = 0, shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(task(n, seed=seed), batch_size=batch_size, shuffle=shuffle)


def module_class(pl: Any = pytorch_lightning) -> Any:
    """A LightningModule class of either package around any network of (n, 8) → (n, 3)."""

    class Net(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, net: nn.Module | None = None) -> None:
            super().__init__()
            self.net = net if net is not None else plain_net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 1e-2)

    return Net


Net = module_class()


def plain_net(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(8, 12),
            nn.ReLU(),
            nn.Linear(12, 12),
            nn.ReLU(),
            nn.Linear(12, 12),
            nn.ReLU(),
            nn.Linear(12, CLASSES),
        )


def trainer(root: Path, *callbacks: Any, pl: Any = pytorch_lightning, **options: Any) -> Any:
    """A quiet Trainer on the CPU that writes below `root` only."""
    defaults: dict[str, Any] = {
        "devices": 1,
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": any(hasattr(callback, "best_model_path") for callback in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(accelerator="cpu", default_root_dir=root, callbacks=list(callbacks), **(defaults | options))


def watcher(root: Path, **options: Any) -> GWSimilarity:
    """A callback cheap enough for tests, whose errors fail them."""
    defaults: dict[str, Any] = {"probe_size": 12, "effort": "fast", "on_error": "raise", "verbose": False}
    return GWSimilarity(save_dir=root, **(defaults | options))


class StopAt(pytorch_lightning.Callback):
    """Dies in the middle of a step, as machines do."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("power cut")


def steps(callback: GWSimilarity) -> list[int]:
    assert callback.history is not None
    return [record.step for record in callback.history]


def assert_same_history(one: History, other: History) -> None:
    """Equal record by record, but for the seconds spent, and for which looks rode along with validation."""
    assert [record.step for record in one] == [record.step for record in other]
    for first, second in zip(one, other, strict=True):
        left, right = first.to_json(), second.to_json()
        for line in (left, right):
            del line["seconds"], line["gw_seconds"]
            line["probe"].pop("captured", None)  # how it was looked, which is no part of what was found
        assert {key: left[key] for key in left if left[key] != right[key]} == {}, f"step {first.step}"
        theirs = second.arrays()
        for name, values in first.arrays().items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=f"{name} at step {first.step}")
    assert one.metrics == other.metrics


def step_of_a_config(module: nn.Module, batch: Any) -> Any:
    """A ``probe_step`` that a YAML file names by its import path."""
    return module(batch[0])


@contextmanager
def no_warning_of_ours() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    assert [str(warning.message) for warning in said if "GWSimilarity" in str(warning.message)] == []
