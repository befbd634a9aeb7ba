from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer

from tasks.strategies.requirements import stage_ends, staged


class StageEnd(Callback):
    """Trains one head at the end of every planted block, all at once.

    It asks: when only the ends of the blocks are told what to compute, do the layers between them group by stage?
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        task = staged(self, pl_module)
        task.supervise(stage_ends(task))
