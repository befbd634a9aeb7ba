from __future__ import annotations

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gw.significance.nulls.reinitialise import reinitialised
from tasks.strategies.requirements import PretrainedTask, required


class FromScratch(Callback):
    """Throws the pre-trained weights away, draws new ones as the architecture prescribes, and trains everything.

    It asks: which groups were there because of what the network had learnt before?

    The weights are drawn from the run's own seed. A resumed run goes on from those of its checkpoint.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        task: PretrainedTask = required(self, pl_module, PretrainedTask)  # type: ignore[type-abstract]
        fresh = reinitialised(task.pretrained, seed=int(torch.randint(2**31, ())))
        task.pretrained.load_state_dict(fresh.state_dict())
