"""Networks that put out images: segmentation-models-pytorch, torchgeo, MONAI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from registry import Classifier, Made, configuration, fit, loaders
from torch import Tensor, nn


def masked_images(channels: int = 3) -> Made:
    def make(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        image = torch.randn(channels, 64, 64, generator=generator)
        return image, (image.mean(0) > 0).long()

    return Made(make)


def as_samples(pairs: Made, target: str) -> Made:
    """Dictionaries, as torchgeo has them."""

    def make(generator: torch.Generator) -> dict[str, Tensor]:
        image, label = pairs._make(generator)
        return {"image": image, target: label}

    return Made(make)


def segmenter(name: str, callbacks: list[Any], folder: Path) -> nn.Module:
    import segmentation_models_pytorch as smp

    network = getattr(smp, name)(encoder_name="resnet18", encoder_weights=None, in_channels=3, classes=2)
    return fit(Classifier(network), *loaders(masked_images(), 8), callbacks, folder)


for name in ("Unet", "FPN", "DeepLabV3Plus", "Segformer"):

    @configuration("segmentation-models-pytorch", name)
    def _(callbacks: list[Any], folder: Path, name: str = name) -> nn.Module:
        return segmenter(name, callbacks, folder)


@configuration("torchgeo", "classification task, ResNet-18")
def classification(callbacks: list[Any], folder: Path) -> nn.Module:
    from registry import labelled_images
    from torchgeo.trainers import ClassificationTask

    module = ClassificationTask(model="resnet18", weights=None, in_channels=3, num_classes=4)
    return fit(module, *loaders(as_samples(labelled_images(64), "label")), callbacks, folder)


@configuration("torchgeo", "semantic segmentation task, U-Net")
def semantic(callbacks: list[Any], folder: Path) -> nn.Module:
    from torchgeo.trainers import SemanticSegmentationTask

    module = SemanticSegmentationTask(model="unet", backbone="resnet18", weights=None, in_channels=4, num_classes=2)
    return fit(module, *loaders(as_samples(masked_images(4), "mask"), 8), callbacks, folder)


@configuration("torchgeo", "regression task")
def regression(callbacks: list[Any], folder: Path) -> nn.Module:
    from torchgeo.trainers import RegressionTask

    def make(generator: torch.Generator) -> dict[str, Tensor]:
        image = torch.randn(3, 64, 64, generator=generator)
        return {"image": image, "label": image.mean().reshape(1)}

    module = RegressionTask(model="resnet18", weights=None, in_channels=3, num_outputs=1)
    return fit(module, *loaders(Made(make), 8), callbacks, folder)


@configuration("torchgeo", "SimCLR task")
def contrastive(callbacks: list[Any], folder: Path) -> nn.Module:
    from torchgeo.trainers import SimCLRTask

    def make(generator: torch.Generator) -> dict[str, Tensor]:
        return {"image": torch.rand(3, 64, 64, generator=generator)}

    module = SimCLRTask(model="resnet18", in_channels=3, size=64, hidden_dim=64, output_dim=32)
    return fit(module, *loaders(Made(make), 8), callbacks, folder)


def monai_network(kind: str) -> nn.Module:
    from monai.networks import nets

    if kind == "U-Net":
        return nets.UNet(spatial_dims=2, in_channels=3, out_channels=2, channels=(8, 16, 32, 64), strides=(2, 2, 2))
    return nets.SwinUNETR(in_channels=3, out_channels=2, feature_size=12, spatial_dims=2)


for kind in ("U-Net", "Swin UNETR"):

    @configuration("monai", kind)
    def _(callbacks: list[Any], folder: Path, kind: str = kind) -> nn.Module:
        return fit(Classifier(monai_network(kind)), *loaders(masked_images(), 8), callbacks, folder)
