"""What Lightning's documentation shows first: an autoencoder, a VAE and a GAN, written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from registry import Classifier, Made, configuration, fit, labelled_images, loaders
from torch import Tensor, nn
from torch.utils.data import DataLoader

DOCUMENTATION = "Lightning's documentation"
PIXELS = 28 * 28


def digits() -> Made:
    return labelled_images(28, 10, channels=1)


class AutoEncoder(LightningModule):
    """Encoder and decoder side by side; ``forward`` encodes only."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, 64), nn.ReLU(), nn.Linear(64, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, PIXELS))

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, _ = batch
        x = x.flatten(1)
        loss = nn.functional.mse_loss(self.decoder(self.encoder(x)), x)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x = batch[0].flatten(1)
        self.log("val_loss", nn.functional.mse_loss(self.decoder(self.encoder(x)), x))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class WithoutForward(AutoEncoder):
    """The same, as the first page of the documentation has it: no ``forward``, no validation."""

    forward = LightningModule.forward  # type: ignore[assignment]
    validation_step = LightningModule.validation_step  # type: ignore[assignment]


class VariationalAutoEncoder(LightningModule):
    """Draws its latent variables in ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(64, 8), nn.Linear(64, 8)
        self.decoder = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, PIXELS))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(x.flatten(1))
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return self.decoder(z), mean, log_variance

    def _loss(self, batch: Any) -> Tensor:
        x, _ = batch
        decoded, mean, log_variance = self(x)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
        return nn.functional.mse_loss(decoded, x.flatten(1)) + divergence

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_elbo", self._loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class GAN(LightningModule):
    """Two optimizers under manual optimisation; ``forward`` takes noise, batches hold images."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(16, 64), nn.LeakyReLU(), nn.Linear(64, PIXELS), nn.Tanh())
        self.discriminator = nn.Sequential(nn.Linear(PIXELS, 64), nn.LeakyReLU(), nn.Linear(64, 1))

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(z)

    def _adversarial(self, images: Tensor, real: bool) -> Tensor:
        judged = self.discriminator(images)
        return nn.functional.binary_cross_entropy_with_logits(judged, torch.full_like(judged, float(real)))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        images = batch[0].flatten(1)
        for_generator, for_discriminator = self.optimizers()
        loss = self._adversarial(self(torch.randn(len(images), 16)), real=True)
        for_generator.zero_grad()
        self.manual_backward(loss)
        for_generator.step()
        made = self(torch.randn(len(images), 16)).detach()
        loss = (self._adversarial(images, real=True) + self._adversarial(made, real=False)) / 2
        for_discriminator.zero_grad()
        self.manual_backward(loss)
        for_discriminator.step()
        self.log("d_loss", loss)

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=2e-4) for part in (self.generator, self.discriminator)], []


class Digits(LightningDataModule):
    def train_dataloader(self) -> DataLoader[Any]:
        return loaders(digits())[0]

    def val_dataloader(self) -> DataLoader[Any]:
        return loaders(digits())[1]


@configuration(DOCUMENTATION, "autoencoder")
def autoencoder(callbacks: list[Any], folder: Path) -> nn.Module:
    return fit(AutoEncoder(), *loaders(digits()), callbacks, folder)


@configuration(DOCUMENTATION, "autoencoder without forward or validation")
def without_forward(callbacks: list[Any], folder: Path) -> nn.Module:
    return fit(WithoutForward(), loaders(digits())[0], None, callbacks, folder)


@configuration(DOCUMENTATION, "VAE")
def vae(callbacks: list[Any], folder: Path) -> nn.Module:
    return fit(VariationalAutoEncoder(), *loaders(digits()), callbacks, folder)


@configuration(DOCUMENTATION, "GAN, two optimizers")
def gan(callbacks: list[Any], folder: Path) -> nn.Module:
    return fit(GAN(), loaders(digits())[0], None, callbacks, folder)


@configuration(DOCUMENTATION, "classifier with a data module")
def classifier(callbacks: list[Any], folder: Path) -> nn.Module:
    network = nn.Sequential(
        nn.Flatten(), *(nn.Sequential(nn.LazyLinear(32), nn.ReLU()) for _ in range(4)), nn.LazyLinear(10)
    )
    network(torch.zeros(2, 1, 28, 28))
    return fit(Classifier(network), Digits(), None, callbacks, folder)
