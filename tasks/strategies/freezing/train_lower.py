from __future__ import annotations

from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import BaseFinetuning
from torch.optim import Optimizer

from tasks.strategies.requirements import layered, split_layers


class TrainLower(BaseFinetuning):
    """Trains only the lower layers and whatever reads the last one; freezes the stem and all layers above.

    It asks: when only the lower layers can move, does the boundary settle there, or do fixed layers above undo it?

    Args:
        layers: How many layers are trained, counted from the bottom.
    """

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.layers = layers

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        task = layered(self, pl_module)
        _, upper = split_layers(self, task, self.layers)
        self.freeze([task.stem, *upper], train_bn=False)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Does nothing: what is frozen stays frozen."""
