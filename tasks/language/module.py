"""Fine-tuning an encoder or decoder on labelled texts."""

from __future__ import annotations

from typing import cast

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from tasks.classifier import LayeredClassifier
from tasks.language.model import EncoderClassifier
from tasks.optimizers import warmed_up_adamw


class TweetSentiment(LayeredClassifier):
    """Tells texts apart, by default negative and positive ones, by the mean over the tokens of the last layer.

    Logs ``train/loss``, ``val/loss``, ``val/accuracy``, and ``val/majority``: the accuracy of always answering with the
    commoner class of the same held-out tweets, which an accuracy must be read against.

    Args:
        encoder_path: Name or directory of an encoder (BERT, DistilBERT, RoBERTa, ...) or decoder (GPT-2, Llama, ...) in
            the Hugging Face format; the packaged MiniLM when left out.
        encoder_learning_rate: Peak learning rate of the pre-trained part.
        head_learning_rate: Peak learning rate of the new linear head.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Steps of linear warm-up; the rates then stay.
        classes: Number of classes; must equal the data's.
    """

    def __init__(
        self,
        encoder_path: str | None = None,
        encoder_learning_rate: float = 1e-4,
        head_learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 8,
        classes: int = 2,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = EncoderClassifier(encoder_path, classes)
        self.val_accuracy = MulticlassAccuracy(classes, average="micro")
        self.val_counts = nn.ModuleList(MeanMetric() for _ in range(classes))  # share of each class

    # --- what strategies hold on to ------------------------------------------------------------------------------

    @property
    def stem(self) -> nn.Module:
        """The embeddings: what comes before the first layer."""
        return self.model.stem

    @property
    def layers(self) -> nn.ModuleList:
        """The encoder's layers, first to last."""
        return self.model.layers

    @property
    def pretrained(self) -> nn.Module:
        """The part that comes with trained weights."""
        return self.model.encoder

    # --- the Lightning part --------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        # The module cannot see the data when it is built, so a mismatch shows up here rather than as an index error.
        theirs = getattr(getattr(self.trainer, "datamodule", None), "classes", None)
        if theirs is not None and theirs != self.hparams["classes"]:
            raise ValueError(
                f"the data has {theirs} classes but the model was built for {self.hparams['classes']}: set the model's "
                f"classes to {theirs}."
            )

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits.

        Args:
            input_ids: Token ids, int64 of shape ``(B, T)``.
            attention_mask: 1 where there is a token and 0 where there is padding, int64 of shape ``(B, T)``.
            labels: Not used; taken so that a whole batch can be passed as ``forward(**batch)``.

        Returns:
            Logits of shape ``(B, classes)``.
        """
        return self.model(input_ids, attention_mask)

    def loss_and_logits(self, batch: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The cross-entropy, and the logits in a list of one."""
        logits = self(**batch)
        return nn.functional.cross_entropy(logits, batch["labels"]), [logits]

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        logits, labels = self(**batch), batch["labels"]
        self.log("val/loss", nn.functional.cross_entropy(logits, labels), batch_size=len(labels))
        self.val_accuracy.update(logits, labels)
        self.log("val/accuracy", self.val_accuracy, prog_bar=True)
        for label, share in enumerate(self.val_counts):
            cast(MeanMetric, share).update((labels == label).float())

    def on_validation_epoch_end(self) -> None:
        shares = []
        for share in self.val_counts:
            metric = cast(MeanMetric, share)
            shares.append(metric.compute())
            metric.reset()
        self.log("val/majority", torch.stack(shares).max())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        head = list(self.model.head.parameters())
        groups = [
            {"params": list(self.model.encoder.parameters()), "lr": self.hparams["encoder_learning_rate"]},
            {"params": head, "lr": self.hparams["head_learning_rate"]},
        ]
        return warmed_up_adamw(self, groups, self.hparams["weight_decay"], self.hparams["warmup_steps"])
