"""Networks that learn without labels: lightly's heads and losses as its documentation has them, and disent."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from registry import Made, configuration, fit, labelled_images, loaders
from torch import Tensor, nn


def two_views() -> Made:
    """``((view, view), label)``, as lightly's transforms and collate function give them."""

    def make(generator: torch.Generator) -> tuple[list[Tensor], int]:
        image = torch.randn(3, 32, 32, generator=generator)
        return [image + torch.randn(3, 32, 32, generator=generator) / 10 for _ in range(2)], 0

    return Made(make)


def backbone() -> nn.Module:
    import torchvision

    return nn.Sequential(*list(torchvision.models.resnet18().children())[:-1])


class SimCLR(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead

        self.backbone, self.head = backbone(), SimCLRProjectionHead(512, 64, 32)
        self.criterion = NTXentLoss()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x).flatten(start_dim=1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        (x0, x1), _ = batch
        return self.criterion(self(x0), self(x1))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class BYOL(LightningModule):
    """A student, and a teacher that follows it in ``training_step``."""

    def __init__(self) -> None:
        super().__init__()
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
        from lightly.models.utils import deactivate_requires_grad

        self.backbone, self.projection = backbone(), BYOLProjectionHead(512, 64, 32)
        self.prediction = BYOLPredictionHead(32, 64, 32)
        self.teacher, self.teacher_projection = copy.deepcopy(self.backbone), copy.deepcopy(self.projection)
        deactivate_requires_grad(self.teacher)
        deactivate_requires_grad(self.teacher_projection)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, x: Tensor) -> Tensor:
        return self.prediction(self.projection(self.backbone(x).flatten(start_dim=1)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        from lightly.models.utils import update_momentum

        update_momentum(self.backbone, self.teacher, m=0.99)
        update_momentum(self.projection, self.teacher_projection, m=0.99)
        (x0, x1), _ = batch
        with torch.no_grad():
            z0, z1 = (self.teacher_projection(self.teacher(x).flatten(start_dim=1)) for x in (x0, x1))
        return (self.criterion(self(x0), z1) + self.criterion(self(x1), z0)) / 2

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


@configuration("lightly", "SimCLR")
def simclr(callbacks: list[Any], folder: Path) -> nn.Module:
    return fit(SimCLR(), loaders(two_views())[0], None, callbacks, folder)


@configuration("lightly", "BYOL")
def byol(callbacks: list[Any], folder: Path) -> nn.Module:
    return fit(BYOL(), loaders(two_views())[0], None, callbacks, folder)


class Disentangled(Made):
    """Batches as disent has them: a dictionary of a tuple."""

    def __init__(self) -> None:
        images = labelled_images(64)
        super().__init__(lambda generator: {"x_targ": (images._make(generator)[0].sigmoid(),)})


@configuration("disent", "β-VAE")
def beta(callbacks: list[Any], folder: Path) -> nn.Module:
    from disent.frameworks.vae import BetaVae
    from disent.model import AutoEncoder
    from disent.model.ae import DecoderConv64, EncoderConv64

    shape = (3, 64, 64)
    network = AutoEncoder(EncoderConv64(shape, z_size=6, z_multiplier=2), DecoderConv64(shape, z_size=6))
    module = BetaVae(model=network, cfg=BetaVae.cfg(optimizer="adam", optimizer_kwargs={"lr": 1e-3}, beta=4))
    return fit(module, loaders(Disentangled())[0], None, callbacks, folder)
