from __future__ import annotations

from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import BaseFinetuning
from torch.optim import Optimizer

from tasks.strategies.requirements import layered, split_layers


class FreezeLower(BaseFinetuning):
    """Freezes the stem and the lower layers; trains the layers above them and whatever reads them.

    It asks: when the lower layers cannot move, does the boundary move up to where training may act?

    Args:
        layers: How many layers are frozen, counted from the bottom.
    """

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.layers = layers

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        task = layered(self, pl_module)
        lower, _ = split_layers(self, task, self.layers)
        self.freeze([task.stem, *lower], train_bn=False)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Does nothing: what is frozen stays frozen."""
