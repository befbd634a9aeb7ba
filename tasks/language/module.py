"""Fine-tuning a BERT encoder on the sentiment of tweets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from tasks.language.model import EncoderClassifier
from tasks.optimizers import layer_groups


class TweetSentiment(LightningModule):
    """Negative against positive, read from the mean of the encoder's last layer.

    Logs ``train/loss``, ``val/loss``, ``val/accuracy``, and ``val/majority``: the accuracy of always answering with the
    commoner class of the same held-out tweets, which an accuracy must be read against.

    Args:
        encoder_path: Directory of a BERT encoder in the Hugging Face format; the packaged MiniLM when left out.
        encoder_learning_rate: Peak learning rate of the pre-trained part.
        head_learning_rate: Peak learning rate of the new linear head.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Steps of linear warm-up; the rates then stay.
    """

    def __init__(
        self,
        encoder_path: str | None = None,
        encoder_learning_rate: float = 1e-4,
        head_learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 8,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = EncoderClassifier(encoder_path)
        self.val_accuracy = MulticlassAccuracy(2, average="micro")
        self.val_positive = MeanMetric()
        # What strategies may put in the place of the loss, and of the one learning rate of the encoder.
        self.objective: Callable[[Any], Tensor] | None = None
        self.layer_rates: tuple[float, ...] = ()

    # --- what strategies hold on to ------------------------------------------------------------------------------

    @property
    def stem(self) -> nn.Module:
        """The embeddings: what comes before the first layer."""
        return self.model.encoder.embeddings

    @property
    def layers(self) -> nn.ModuleList:
        """The encoder's layers, first to last."""
        return self.model.encoder.encoder.layer

    @property
    def pretrained(self) -> nn.Module:
        """The part that comes with trained weights."""
        return self.model.encoder

    # --- the Lightning part --------------------------------------------------------------------------------------

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits.

        Args:
            input_ids: Token ids, int64 of shape ``(B, T)``.
            attention_mask: 1 where there is a token and 0 where there is padding, int64 of shape ``(B, T)``.
            labels: Not used; taken so that a whole batch can be passed as ``forward(**batch)``.

        Returns:
            Logits of shape ``(B, 2)``.
        """
        return self.model(input_ids, attention_mask)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        loss = self.loss_and_logits(batch)[0] if self.objective is None else self.objective(batch)
        self.log("train/loss", loss)
        return loss

    def loss_and_logits(self, batch: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The cross-entropy, and the logits in a list of one."""
        logits = self(**batch)
        return nn.functional.cross_entropy(logits, batch["labels"]), [logits]

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        logits, labels = self(**batch), batch["labels"]
        self.log("val/loss", nn.functional.cross_entropy(logits, labels), batch_size=len(labels))
        self.val_accuracy.update(logits, labels)
        self.log("val/accuracy", self.val_accuracy, prog_bar=True)
        self.val_positive.update(labels)

    def on_validation_epoch_end(self) -> None:
        positive = self.val_positive.compute()
        self.val_positive.reset()
        self.log("val/majority", torch.maximum(positive, 1 - positive))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        head = list(self.model.head.parameters())
        groups = [
            # frozen parameters too: without a gradient AdamW passes them by, weight decay included
            {"params": list(self.model.encoder.parameters()), "lr": self.hparams["encoder_learning_rate"]},
            {"params": head, "lr": self.hparams["head_learning_rate"]},
        ]
        optimizer = torch.optim.AdamW(layer_groups(self, groups), weight_decay=self.hparams["weight_decay"])
        warmup = self.hparams["warmup_steps"]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / max(1, warmup)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
