"""What every task is: a network of repeated layers that learns to classify, with what strategies may change in it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor


class LayeredClassifier(LightningModule):
    """Trains on its own loss, unless a strategy has put another in its place; logs it as ``train/loss``.

    A task of this kind is a `LayeredTask`, a `GuidedTask` and, by what its optimizer does, a `RatedTask`: see
    `tasks.strategies.requirements`.

    Attributes:
        objective: Batch to training loss, in the place of the task's own; None for its own.
        layer_rates: Factors of the learning rate, of the stem and then of each layer; empty for the same everywhere.
    """

    def __init__(self) -> None:
        super().__init__()
        self.objective: Callable[[Any], Tensor] | None = None
        self.layer_rates: tuple[float, ...] = ()

    @abstractmethod
    def loss_and_logits(self, batch: Any) -> tuple[Tensor, list[Tensor]]:
        """The task's own loss, and the logits of every readout."""

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        loss = self.loss_and_logits(batch)[0] if self.objective is None else self.objective(batch)
        self.log("train/loss", loss)
        return loss

    def refuse_other_data(self, *names: str) -> None:
        """Compare what the data says of itself with what the network was built for.

        The module cannot see the data when it is built; asked at `setup`, a mismatch shows up before it becomes an
        error of shapes or indices.

        Args:
            names: Hyperparameters that the data has as attributes too, where it has them.

        Raises:
            ValueError: If one of them differs.
        """
        for name in names:
            theirs, ours = getattr(getattr(self.trainer, "datamodule", None), name, None), self.hparams.get(name)
            if theirs is None or ours is None:
                continue
            if theirs != (tuple(ours) if isinstance(theirs, tuple) else ours):
                raise ValueError(f"the data has {name} {theirs} but the model was built for {ours}; set both alike.")
