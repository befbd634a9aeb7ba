"""Training a network on staged arithmetic, supervised wherever a strategy says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from tasks.algebra.model import ReadableStack, ResidualMLP, Transformer
from tasks.classifier import LayeredClassifier
from tasks.optimizers import layer_groups


class StagedArithmetic(LayeredClassifier):
    """A residual perceptron of 9 layers, planted with one block of layers per stage.

    The first ``block_lengths[0]`` layers are meant for the first stage, the next ``block_lengths[1]`` for the second,
    and so on. Which heads are trained is written in `supervision`, a mapping from layer index to the stage that is
    read there; strategies change it through `supervise`. Left alone, only the last layer is read, for the last stage.

    Logs ``train/loss``, ``val/loss`` (both the mean cross-entropy over the supervised heads) and the held-out
    ``val/accuracy_stage<k>``, k from 1, of each stage that is read, at the deepest head that reads it.

    Args:
        moduli: The modulus of each stage; must equal the data's.
        operands: Values an operand can take; must equal the data's.
        block_lengths: Layers planted for each stage. Keep them unequal: in equal blocks even an untrained network,
            whose layers merely drift, would seem to be cut in the right places.
        width: Size of the residual stream.
        hidden: Hidden size inside a block.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Steps of linear warm-up, after which the rate falls linearly to zero.
    """

    def __init__(
        self,
        moduli: Sequence[int] = (11, 5, 2),
        operands: int = 11,
        block_lengths: Sequence[int] = (2, 4, 3),
        width: int = 96,
        hidden: int = 192,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.1,
        warmup_steps: int = 30,
    ) -> None:
        super().__init__()
        if len(block_lengths) != len(moduli) or min(block_lengths) < 1:
            raise ValueError(
                f"block_lengths must give each of {len(moduli)} stages one layer or more; got {list(block_lengths)}."
            )
        self.save_hyperparameters()
        self.model = self.network(moduli, operands, sum(block_lengths), width, hidden)
        self.stage_of_layer = tuple(stage for stage, length in enumerate(block_lengths) for _ in range(length))
        accuracies = [MulticlassAccuracy(modulus, average="micro") for modulus in moduli]
        self.val_accuracy = nn.ModuleList(accuracies)  # one per stage
        # Optimizer steps at which warm-up and decay begin; a strategy that trains in phases adds to them.
        self.schedule_starts: tuple[int, ...] = (0,)
        self.supervise({len(self.stage_of_layer) - 1: len(moduli) - 1})

    def network(self, moduli: Sequence[int], operands: int, layers: int, width: int, hidden: int) -> ReadableStack:
        """Builds the network."""
        return ResidualMLP(moduli, operands, layers, width, hidden)

    # --- what strategies hold on to ------------------------------------------------------------------------------

    @property
    def moduli(self) -> tuple[int, ...]:
        """Classes of each stage."""
        return self.model.moduli

    @property
    def stem(self) -> nn.Module:
        """What comes before the first layer."""
        return self.model.embedding

    @property
    def layers(self) -> nn.ModuleList:
        """The repeated blocks, first to last."""
        return self.model.blocks

    @property
    def heads(self) -> nn.ModuleList:
        """One readout per block."""
        return self.model.heads

    def pooled(self, state: Tensor) -> Tensor:
        """What heads read of a state: ``(B, d)``."""
        return self.model.pooled(state)

    def spread(self, state: Tensor, code: Tensor) -> Tensor:
        """The state that heads read as ``pooled(state) + code``; the code has the shape ``(B, d)``."""
        return self.model.spread(state, code)

    def supervise(self, heads: Mapping[int, int]) -> None:
        """Chooses which heads are read and trained; all others are frozen.

        Args:
            heads: Layer index (from 0) to stage index (from 0).

        Raises:
            ValueError: If a layer or a stage does not exist, or no head is named.
        """
        moduli = self.model.moduli
        for layer, stage in heads.items():
            if not (0 <= layer < len(self.layers) and 0 <= stage < len(moduli)):
                raise ValueError(
                    f"cannot read stage {stage} after layer {layer}: there are {len(self.layers)} layers and "
                    f"{len(moduli)} stages, counted from 0."
                )
        if not heads:
            raise ValueError("at least one head must be supervised.")
        self.supervision = dict(sorted(heads.items()))
        for layer, head in enumerate(self.model.heads):
            head.requires_grad_(layer in self.supervision)

    # --- the Lightning part --------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        self.refuse_other_data("moduli", "operands")

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Answers of the supervised heads.

        Args:
            x: Operands, int64 of shape ``(B, stages + 1)``.

        Returns:
            For each supervised layer the logits of the stage read there, of shape ``(B, modulus)``.
        """
        states = self.model(x)
        return {layer: self.model.read(states, layer, stage) for layer, stage in self.supervision.items()}

    def loss_and_logits(self, batch: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The mean cross-entropy over the supervised heads, and their logits, lowest layer first."""
        loss, logits = self._own_loss(*batch)
        return loss, list(logits.values())

    def validation_step(self, batch: Sequence[Tensor], batch_index: int) -> None:
        x, y = batch
        loss, logits = self._own_loss(x, y)
        self.log("val/loss", loss, batch_size=len(x))
        # Layers come in depth order, so the deepest head of a stage is the one that stays.
        deepest = {stage: layer for layer, stage in self.supervision.items()}
        for stage, layer in deepest.items():
            metric = cast(MulticlassAccuracy, self.val_accuracy[stage])
            metric.update(logits[layer], y[:, stage])
            self.log(f"val/accuracy_stage{stage + 1}", metric, prog_bar=True)

    def _own_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        # Layers above the deepest supervised one cannot change the loss: they are not run.
        states = self.model(x, depth=max(self.supervision) + 1)
        logits = {layer: self.model.read(states, layer, stage) for layer, stage in self.supervision.items()}
        losses = [nn.functional.cross_entropy(logits[layer], y[:, stage]) for layer, stage in self.supervision.items()]
        return torch.stack(losses).mean(), logits

    def configure_optimizers(self) -> OptimizerLRScheduler:
        # frozen parameters too: without a gradient AdamW passes them by, weight decay included
        everything = {"params": list(self.parameters()), "lr": self.hparams["learning_rate"]}
        optimizer = torch.optim.AdamW(
            layer_groups(self, [everything]),
            lr=self.hparams["learning_rate"],
            betas=(0.9, 0.98),
            weight_decay=self.hparams["weight_decay"],
        )
        warmup, steps = self.hparams["warmup_steps"], self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ValueError("the learning rate falls to zero at the end of training: set max_steps or max_epochs.")

        def rate(step: int) -> float:
            bounds = (*self.schedule_starts, steps)
            phase = sum(start <= step for start in self.schedule_starts) - 1
            start, end = bounds[phase], bounds[phase + 1]
            return max(0.0, min((step - start + 1) / max(1, warmup), (end - step) / max(1, end - start - warmup)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class StagedTransformer(StagedArithmetic):
    """The same with a transformer of 6 layers: operands are tokens, followed by an "=", at which heads read.

    Looks pool a layer's tokens; ``pooling: last`` takes the "=", as the heads do.

    Args:
        moduli: The modulus of each stage; must equal the data's.
        operands: Values an operand can take; must equal the data's.
        block_lengths: Layers planted for each stage, unequal on purpose.
        width: Size of the residual stream.
        hidden: Hidden size of the perceptron inside a layer.
        attention_heads: Heads of the attention inside a layer; they share the width equally.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Steps of linear warm-up, after which the rate falls linearly to zero.
    """

    def __init__(
        self,
        moduli: Sequence[int] = (11, 5, 2),
        operands: int = 11,
        block_lengths: Sequence[int] = (1, 3, 2),
        width: int = 64,
        hidden: int = 128,
        attention_heads: int = 4,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.1,
        warmup_steps: int = 30,
    ) -> None:
        super().__init__(moduli, operands, block_lengths, width, hidden, learning_rate, weight_decay, warmup_steps)

    def network(self, moduli: Sequence[int], operands: int, layers: int, width: int, hidden: int) -> ReadableStack:
        return Transformer(moduli, operands, layers, width, hidden, self.hparams["attention_heads"])
