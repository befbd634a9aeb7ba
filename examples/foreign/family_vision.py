"""Networks that classify images: timm, torchvision, torch-uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from registry import Classifier, configuration, fit, labelled_images, loaders
from torch import nn

#: Name shown → name and arguments in timm; small variants, so that a few steps take seconds.
TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "ResNet-18": ("resnet18", {}),
    "Swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 32, "window_size": 4, "embed_dim": 32},
    ),
    "ConvNeXt": ("convnext_atto", {}),
    "EfficientNet-B0": ("efficientnet_b0", {}),
    "DenseNet-121": ("densenet121", {}),
    "ViT": ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8}),
    "MobileNetV3": ("mobilenetv3_small_050", {}),
}


def timm_network(callbacks: list[Any], folder: Path, name: str, arguments: dict[str, Any]) -> nn.Module:
    import timm

    network = timm.create_model(name, num_classes=4, **arguments)
    return fit(Classifier(network), *loaders(labelled_images(32)), callbacks, folder)


for shown, (model, given) in TIMM.items():

    @configuration("timm", shown)
    def _(callbacks: list[Any], folder: Path, model: str = model, given: dict[str, Any] = given) -> nn.Module:
        return timm_network(callbacks, folder, model, given)


@configuration("torchvision", "RegNet")
def regnet(callbacks: list[Any], folder: Path) -> nn.Module:
    import torchvision

    return fit(
        Classifier(torchvision.models.regnet_y_400mf(num_classes=4)), *loaders(labelled_images(32)), callbacks, folder
    )


@configuration("torchvision", "ShuffleNet")
def shufflenet(callbacks: list[Any], folder: Path) -> nn.Module:
    import torchvision

    network = torchvision.models.shufflenet_v2_x0_5(num_classes=4)
    return fit(Classifier(network), *loaders(labelled_images(32)), callbacks, folder)


def routine(network: nn.Module, ensemble: int = 1, **more: Any) -> nn.Module:
    from torch_uncertainty.routines import ClassificationRoutine

    return ClassificationRoutine(
        model=network,
        num_classes=4,
        loss=nn.CrossEntropyLoss(),
        optim_recipe=torch.optim.SGD(network.parameters(), lr=1e-3),
        is_ensemble=ensemble > 1,
        **more,
    )


@configuration("torch-uncertainty", "classification routine, ResNet")
def uncertain_resnet(callbacks: list[Any], folder: Path) -> nn.Module:
    from torch_uncertainty.models.classification import resnet

    network = resnet(in_channels=3, num_classes=4, arch=18, style="cifar", conv_bias=False)
    return fit(routine(network), *loaders(labelled_images(32)), callbacks, folder)


@configuration("torch-uncertainty", "packed ensemble")
def packed(callbacks: list[Any], folder: Path) -> nn.Module:
    from torch_uncertainty.models.classification import packed_resnet
    from torch_uncertainty.transforms import RepeatTarget

    network = packed_resnet(
        in_channels=3, num_classes=4, arch=18, num_estimators=2, alpha=2, gamma=1, style="cifar", conv_bias=False
    )
    module = routine(network, 2, format_batch_fn=RepeatTarget(2))
    return fit(module, *loaders(labelled_images(32)), callbacks, folder)
