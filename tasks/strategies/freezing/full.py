from __future__ import annotations

from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import BaseFinetuning
from torch.optim import Optimizer


class Full(BaseFinetuning):
    """Trains every parameter.

    It asks: when nothing is held back, in which layers does fine-tuning do its work?
    """

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.make_trainable(pl_module)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Does nothing: everything trains from the start."""
