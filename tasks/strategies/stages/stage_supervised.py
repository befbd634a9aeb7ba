from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer

from tasks.strategies.requirements import staged


class StageSupervised(Callback):
    """Trains a head on every layer, each on the answer of its planted stage.

    It asks: when every layer is told what to compute, are the planted blocks found where they were planted?
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        task = staged(self, pl_module)
        task.supervise(dict(enumerate(task.stage_of_layer)))
