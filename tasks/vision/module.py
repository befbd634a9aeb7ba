"""Training a network on small images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from tasks.optimizers import layer_groups
from tasks.vision.model import ConvNet, VisionTransformer


class ImageClassifier(LightningModule):
    """Tells images apart; what is common to the two networks.

    Logs ``train/loss``, ``val/loss`` and ``val/accuracy``.

    Args:
        model: With a ``stem``, ``blocks`` and a head.
        classes: Number of classes.
    """

    def __init__(self, model: ConvNet | VisionTransformer, classes: int) -> None:
        super().__init__()
        self.model = model
        self.val_accuracy = MulticlassAccuracy(classes, average="micro")
        # What strategies may put in the place of the loss, and of the one learning rate.
        self.objective: Callable[[Any], Tensor] | None = None
        self.layer_rates: tuple[float, ...] = ()

    # --- what strategies hold on to ------------------------------------------------------------------------------

    @property
    def stem(self) -> nn.Module:
        """What comes before the first layer."""
        return self.model.stem

    @property
    def layers(self) -> nn.ModuleList:
        """The repeated blocks, first to last."""
        return self.model.blocks

    # --- the Lightning part --------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        # The module cannot see the data when it is built, so a mismatch shows up here rather than as a shape error.
        for name in ("channels", "size", "classes"):
            theirs, ours = getattr(getattr(self.trainer, "datamodule", None), name, None), self.hparams.get(name)
            if None not in (theirs, ours) and theirs != ours:
                raise ValueError(f"the data has {name} {theirs} but the model was built for {ours}; set both alike.")

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape ``(B, classes)`` from images, float32 of shape ``(B, channels, size, size)``."""
        return self.model(x)

    def training_step(self, batch: Sequence[Tensor], batch_index: int) -> Tensor:
        loss = self.loss_and_logits(batch)[0] if self.objective is None else self.objective(batch)
        self.log("train/loss", loss)
        return loss

    def loss_and_logits(self, batch: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The cross-entropy, and the logits in a list of one."""
        logits = self(batch[0])
        return nn.functional.cross_entropy(logits, batch[1]), [logits]

    def validation_step(self, batch: Sequence[Tensor], batch_index: int) -> None:
        loss, (logits,) = self.loss_and_logits(batch)
        self.log("val/loss", loss, batch_size=len(logits))
        self.val_accuracy.update(logits, batch[1])
        self.log("val/accuracy", self.val_accuracy, prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        # frozen parameters too: without a gradient AdamW passes them by, weight decay included
        everything = {"params": list(self.parameters()), "lr": self.hparams["learning_rate"]}
        optimizer = torch.optim.AdamW(layer_groups(self, [everything]), weight_decay=self.hparams["weight_decay"])
        warmup = self.hparams["warmup_steps"]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / max(1, warmup)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class ConvNetClassifier(ImageClassifier):
    """A residual ConvNet.

    Args:
        channels: Channels of an image; must equal the data's.
        classes: Number of classes; must equal the data's.
        layers: Number of residual blocks.
        width: Channels inside, up to the first block that widens.
        stride: Of the stem: images of 32 pixels want 2 or more to be quick.
        widen_at: Blocks (from 0) that double the channels and halve the resolution.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Steps of linear warm-up; the rate then stays.
    """

    def __init__(
        self,
        channels: int = 1,
        classes: int = 10,
        layers: int = 6,
        width: int = 32,
        stride: int = 1,
        widen_at: Sequence[int] = (),
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 10,
    ) -> None:
        super().__init__(ConvNet(channels, classes, layers, width, stride, widen_at), classes)
        self.save_hyperparameters()


class VisionTransformerClassifier(ImageClassifier):
    """A small vision transformer.

    Args:
        channels: Channels of an image; must equal the data's.
        size: Pixels along an edge of an image; must equal the data's.
        classes: Number of classes; must equal the data's.
        layers: Number of layers.
        width: Size of a token.
        hidden: Hidden size of the perceptron inside a layer.
        attention_heads: Heads of the attention inside a layer; they share the width equally.
        patch: Pixels along the edge of a patch.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Steps of linear warm-up; the rate then stays.
    """

    def __init__(
        self,
        channels: int = 1,
        size: int = 8,
        classes: int = 10,
        layers: int = 6,
        width: int = 64,
        hidden: int = 128,
        attention_heads: int = 4,
        patch: int = 2,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 10,
    ) -> None:
        super().__init__(
            VisionTransformer(channels, size, classes, layers, width, hidden, attention_heads, patch), classes
        )
        self.save_hyperparameters()
