from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer


class Untrained(Callback):
    """Takes every optimizer step with no gradient, so that no parameter ever changes.

    It asks: which groups are there without any training?

    Everything else happens as in training: batches are drawn, losses and accuracies are logged, looks are taken and
    checkpoints saved. Running statistics of batch normalisation stay as they were, too.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for module in pl_module.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.track_running_stats = False

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        # Optimizers pass by what has no gradient, weight decay and momentum included; a zero would not do.
        optimizer.zero_grad(set_to_none=True)
