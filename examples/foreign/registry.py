"""The configurations that are tried, and what most of them share: a quiet Trainer and a classifier around a network."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

#: Files of this folder that hold configurations.
FAMILIES = (
    "family_lightning",
    "family_vision",
    "family_dense",
    "family_language",
    "family_graphs",
    "family_forecasting",
    "family_science",
    "family_tables",
    "family_selfsupervised",
    "family_more",
)


@dataclass(frozen=True)
class Configuration:
    """One training of one project.

    Attributes:
        project: Name in the package registry, or ``"Lightning's documentation"``.
        name: What of it is trained.
        train: ``(callbacks, folder) -> module``: trains for a few steps with these callbacks, writes into the folder
            only, and returns the trained network.
    """

    project: str
    name: str
    train: Callable[[list[Any], Path], nn.Module]

    @property
    def key(self) -> str:
        return f"{self.project}: {self.name}"

    @property
    def module(self) -> str:
        """What is imported of the project."""
        renamed = {"scvi-tools": "scvi", "segmentation-models-pytorch": "segmentation_models_pytorch"}
        return renamed.get(self.project, self.project.replace("-", "_"))


_FOUND: list[Configuration] = []


def configuration(project: str, name: str) -> Callable[[Any], Any]:
    """Make a training function a configuration."""

    def add(train: Callable[[list[Any], Path], nn.Module]) -> Callable[[list[Any], Path], nn.Module]:
        _FOUND.append(Configuration(project, name, train))
        return train

    return add


def configurations() -> list[Configuration]:
    """All there are, in the order of the files; projects are imported only when they are trained."""
    if not _FOUND:
        for family in FAMILIES:
            importlib.import_module(family)
    return _FOUND


def settings(callbacks: Iterable[Any], folder: Path, **more: Any) -> dict[str, Any]:
    """Arguments of a Trainer: two epochs of three steps on the CPU, with a logger and with checkpoints."""
    return {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "limit_train_batches": 3,
        "limit_val_batches": 2,
        "callbacks": list(callbacks),
        "logger": CSVLogger(folder),
        "default_root_dir": folder,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        **more,
    }


def fit(module: Any, train: Any, validate: Any, callbacks: Iterable[Any], folder: Path, **more: Any) -> nn.Module:
    """Train a LightningModule of either package on loaders, and return it."""
    unified = any(kind.__module__.startswith("lightning.pytorch") for kind in type(module).__mro__)
    trainer = importlib.import_module("lightning.pytorch" if unified else "pytorch_lightning").Trainer
    trainer(**settings(callbacks, folder, **more)).fit(module, train, validate)
    return module


def loaders(dataset: Dataset[Any], batch_size: int = 8, **more: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """A loader that shuffles and one that does not, over the same made-up data."""
    return DataLoader(dataset, batch_size, shuffle=True, **more), DataLoader(dataset, batch_size, **more)


class Made(Dataset):  # type: ignore[type-arg]
    """Items that a function makes from their number, the same each time."""

    def __init__(self, make: Callable[[torch.Generator], Any], size: int = 32) -> None:
        self._make, self._size = make, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Any:
        if index >= self._size:
            raise IndexError(index)
        return self._make(torch.Generator().manual_seed(index))


def labelled_images(size: int = 32, classes: int = 4, channels: int = 3, count: int = 32) -> Made:
    """``(image, label)`` pairs, labels written into the brightness."""

    def make(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        label = torch.randint(classes, (), generator=generator)
        return torch.randn(channels, size, size, generator=generator) + label, label

    return Made(make, count)


class Classifier(LightningModule):
    """The wrapper that most people write: ``(x, y)`` batches, cross-entropy, and a validation step that logs."""

    def __init__(self, network: nn.Module, loss: Callable[[Any, Any], Tensor] = nn.functional.cross_entropy) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, x: Tensor) -> Any:
        return self.network(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return self.loss(self(x), y)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", self.loss(self(x), y))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)
