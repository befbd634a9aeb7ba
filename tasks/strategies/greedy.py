from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BaseFinetuning
from torch.optim import Optimizer

from tasks.strategies.requirements import StagedTask, stage_ends, staged


class Greedy(BaseFinetuning):
    """Trains one planted block after another: a block learns its stage with a head at its end, is then frozen for
    good, and the next block is trained on top of it.

    It asks: do boundaries appear bottom-up, one phase at a time, and does a frozen block stay the group it was?

    The phases share the step budget equally, and each has its own learning rate warm-up and decay; the first trains
    the stem too. Stages already learnt stay in the loss as constants, so that their held-out accuracy is reported.

    On several processes it needs ``trainer.strategy: ddp_find_unused_parameters_true``: what trains changes underway.
    """

    def __init__(self) -> None:
        super().__init__()
        self.phase = 0
        self.phase_starts: tuple[int, ...] = ()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Every block is trained in some phase, so all of them must look trainable when Lightning wraps the model for
        # several processes; the first phase therefore begins later, in `on_fit_start`.
        task = staged(self, pl_module)
        task.supervise(stage_ends(task))
        self.phase, self.phase_starts = 0, ()
        super().setup(trainer, pl_module, stage)

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freezes nothing yet: see `setup`."""

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Does nothing: phases are counted in optimizer steps, not in epochs. See `on_train_batch_start`."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        task = staged(self, pl_module)
        if not self.phase_starts:  # a resumed run keeps its plan, even if its budget was changed
            phases, steps = len(stage_ends(task)), trainer.estimated_stepping_batches
            self.phase_starts = tuple(int(steps * phase / phases) for phase in range(phases))
        task.schedule_starts = self.phase_starts
        self.enter(self.phase, task)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        due = sum(start <= trainer.global_step for start in self.phase_starts) - 1
        if due != self.phase:
            self.enter(due, staged(self, pl_module))

    def enter(self, phase: int, task: StagedTask) -> None:
        """Makes the block of this phase, with its head, the only thing that trains."""
        self.phase = phase
        ends = stage_ends(task)
        task.supervise({layer: stage for layer, stage in ends.items() if stage <= phase})
        self.freeze([task.stem, task.layers, *(task.heads[layer] for layer, stage in ends.items() if stage < phase)])
        block = [layer for layer, stage in zip(task.layers, task.stage_of_layer, strict=True) if stage == phase]
        self.make_trainable([task.stem, *block] if phase == 0 else block)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "phase": self.phase, "phase_starts": list(self.phase_starts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.phase, self.phase_starts = state_dict["phase"], tuple(state_dict["phase_starts"])
