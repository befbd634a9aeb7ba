from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer

from tasks.strategies.requirements import RatedTask, required


class LayerwiseRates(Callback):
    """Trains everything, each layer at a lower learning rate than the one above it.

    It asks: when lower layers may move, but less, does change grow gradually with depth, or is there still a boundary?

    What reads the last layer has the task's learning rate, the last layer `decay` times that, the next lower one
    `decay` times that again, and the stem the lowest (as in Howard and Ruder, "Universal Language Model Fine-tuning for
    Text Classification", and in Clark and others, "ELECTRA").

    Args:
        decay: Learning rate of a layer over that of the one above it, above 0 and at most 1.
    """

    def __init__(self, decay: float = 0.7) -> None:
        if not 0 < decay <= 1:
            raise ValueError(f"decay must lie above 0 and be at most 1; got {decay}.")
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        task: RatedTask = required(self, pl_module, RatedTask)  # type: ignore[type-abstract]
        task.layer_rates = tuple(self.decay**height for height in range(len(task.layers) + 1, 0, -1))
