"""Anomalies, probabilistic forecasts, uncertainty and metric learning: anomalib, gluonts, lightning-uq-box, and
pytorch-metric-learning."""

from __future__ import annotations

import importlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from registry import Made, configuration, fit, labelled_images, loaders, settings
from torch import Tensor, nn


def anomalies() -> tuple[Any, Any]:
    """Images as anomalib batches them; in those of validation every second one has a bright square."""
    from anomalib.data import ImageBatch, ImageItem

    def made(broken: bool) -> Made:
        def make(generator: torch.Generator) -> Any:
            image = torch.rand(3, 64, 64, generator=generator)
            mask = torch.zeros(64, 64, dtype=torch.bool)
            if broken and bool(torch.rand((), generator=generator) > 0.5):
                mask[8:24, 8:24] = True
                image[:, mask] = 1.0
            return ImageItem(image=image, gt_mask=mask, gt_label=mask.any())

        return Made(make)

    more = {"collate_fn": ImageBatch.collate}
    return loaders(made(False), **more)[0], loaders(made(True), **more)[1]


def without_extras(size: int = 64) -> dict[str, Any]:
    """What anomalib hangs on its networks, all of it off but the resizing that tells them the size of images."""
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Resize

    resizing = PreProcessor(Resize((size, size)))
    return {"pre_processor": resizing, "post_processor": False, "evaluator": False, "visualizer": False}


@configuration("anomalib", "FastFlow")
def fastflow(callbacks: list[Any], folder: Path) -> nn.Module:
    from anomalib.models import Fastflow

    model = Fastflow(backbone="resnet18", pre_trained=False, flow_steps=4, **without_extras())
    return fit(model, *anomalies(), callbacks, folder)


@configuration("anomalib", "GANomaly, two optimizers")
def ganomaly(callbacks: list[Any], folder: Path) -> nn.Module:
    from anomalib.models import Ganomaly

    model = Ganomaly(batch_size=8, n_features=8, latent_vec_size=16, **without_extras())
    return fit(model, *anomalies(), callbacks, folder)


GLUONTS: dict[str, tuple[str, dict[str, Any]]] = {
    "DeepAR": ("DeepAREstimator", {"freq": "D", "num_layers": 2, "hidden_size": 16}),
    "simple feed-forward": ("SimpleFeedForwardEstimator", {"hidden_dimensions": [32, 32, 16]}),
    "PatchTST": (
        "PatchTSTEstimator",
        {"patch_len": 4, "stride": 4, "d_model": 16, "nhead": 2, "num_encoder_layers": 3},
    ),
    "TFT": ("TemporalFusionTransformerEstimator", {"freq": "D", "hidden_dim": 8, "variable_dim": 8, "num_heads": 2}),
}


def probabilistic(callbacks: list[Any], folder: Path, name: str, arguments: dict[str, Any]) -> nn.Module:
    import pandas as pd
    from gluonts.dataset.common import ListDataset

    noise = np.random.default_rng(0).normal(size=(8, 120)) / 10
    rows = np.sin(2 * np.pi * np.arange(120) / np.arange(6, 14)[:, None]) + noise
    data = ListDataset([{"start": pd.Period("2020-01-01", "D"), "target": row} for row in rows], freq="D")
    trainer = settings(callbacks, folder)
    del trainer["limit_train_batches"]  # it says how many batches an epoch has
    estimator = getattr(importlib.import_module("gluonts.torch"), name)(
        prediction_length=6,
        context_length=24,
        batch_size=16,
        num_batches_per_epoch=3,
        trainer_kwargs=trainer,
        **arguments,
    )
    return estimator.train_model(data, data, shuffle_buffer_length=None).trained_net


for shown, (name, given) in GLUONTS.items():

    @configuration("gluonts", shown)
    def _(callbacks: list[Any], folder: Path, name: str = name, given: dict[str, Any] = given) -> nn.Module:
        return probabilistic(callbacks, folder, name, given)


def as_inputs(pairs: Made) -> Made:
    """Dictionaries, as lightning-uq-box has them."""

    def make(generator: torch.Generator) -> dict[str, Tensor]:
        image, label = pairs._make(generator)
        return {"input": image, "target": label}

    return Made(make)


@configuration("lightning-uq-box", "deterministic classification, ResNet-18")
def deterministic(callbacks: list[Any], folder: Path) -> nn.Module:
    import timm
    from lightning_uq_box.uq_methods import DeterministicClassification

    network = timm.create_model("resnet18", num_classes=4)
    module = DeterministicClassification(network, nn.CrossEntropyLoss(), task="multiclass")
    return fit(module, *loaders(as_inputs(labelled_images())), callbacks, folder)


@configuration("lightning-uq-box", "mean and variance of a regression")
def mean_and_variance(callbacks: list[Any], folder: Path) -> nn.Module:
    from lightning_uq_box.uq_methods import MVERegression

    def make(generator: torch.Generator) -> dict[str, Tensor]:
        x = torch.randn(8, generator=generator)
        return {"input": x, "target": x.sum()[None]}

    widths = (8, 32, 32, 32)
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    module = MVERegression(nn.Sequential(*layers, nn.Linear(32, 2)), burnin_epochs=1)
    return fit(module, *loaders(Made(make)), callbacks, folder)


class Metric(LightningModule):
    """The trunk, miner and loss of pytorch-metric-learning in a module of Lightning."""

    def __init__(self) -> None:
        super().__init__()
        import torchvision
        from pytorch_metric_learning import losses, miners

        self.trunk = torchvision.models.resnet18(num_classes=32)
        self.miner, self.criterion = miners.MultiSimilarityMiner(), losses.TripletMarginLoss()

    def forward(self, images: Tensor) -> Tensor:
        return self.trunk(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        embedded = self(images)
        return self.criterion(embedded, labels, self.miner(embedded, labels))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        self.log("val_loss", self.criterion(self(images), labels))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


@configuration("pytorch-metric-learning", "triplets, ResNet-18")
def triplets(callbacks: list[Any], folder: Path) -> nn.Module:
    return fit(Metric(), *loaders(labelled_images()), callbacks, folder)
