from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer

from tasks.strategies.requirements import staged


class EndToEnd(Callback):
    """Trains one head, after the last layer, on the last stage alone.

    It asks: when nothing but the final answer is supervised, do groups form by themselves, and do they sit anywhere
    near the stages?
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        task = staged(self, pl_module)
        last = len(task.stage_of_layer) - 1
        task.supervise({last: task.stage_of_layer[last]})
