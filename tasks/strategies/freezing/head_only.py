from __future__ import annotations

from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import BaseFinetuning
from torch.optim import Optimizer

from tasks.strategies.requirements import layered


class HeadOnly(BaseFinetuning):
    """Freezes the stem and every layer; trains only what reads the last one.

    It asks: what does the picture show, to the bit, when learning happens and no layer takes part in it?
    """

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        task = layered(self, pl_module)
        self.freeze([task.stem, task.layers], train_bn=False)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Does nothing: what is frozen stays frozen."""
