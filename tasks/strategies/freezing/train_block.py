from __future__ import annotations

from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import BaseFinetuning
from torch.optim import Optimizer

from tasks.strategies.requirements import block_of_layers, layered


class TrainBlock(BaseFinetuning):
    """Trains a block of layers in a row and whatever reads the last layer; freezes the stem and all other layers.

    It asks: is it enough to train one block, wherever it stands?

    What the stem shares with the readout, as language models do, is frozen with it.

    Args:
        first: The block's first layer, from 0.
        last: The block's last layer, from 0; that of the network when left out.
    """

    def __init__(self, first: int = 0, last: int | None = None) -> None:
        super().__init__()
        self.first = first
        self.last = last

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        task = layered(self, pl_module)
        block = block_of_layers(self, task, self.first, self.last)
        others = [layer for place, layer in enumerate(task.layers) if place not in block]
        self.freeze([task.stem, *others], train_bn=False)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Does nothing: what is frozen stays frozen."""
