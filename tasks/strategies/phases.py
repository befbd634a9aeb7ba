"""Training in phases that are counted in optimizer steps, whatever the length of an epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BaseFinetuning
from torch.optim import Optimizer


class Phased(BaseFinetuning):
    """Enters one phase after another, each at its optimizer step; a resumed run goes on in the phase it was in.

    Lightning's `BaseFinetuning` counts epochs, and the tasks here are often trained for less than one.

    On several processes it needs ``trainer.strategy: ddp_find_unused_parameters_true``: what trains changes underway.
    """

    #: Whether warm-up and decay of the learning rate begin anew with every phase, in tasks that have such a schedule.
    restarts_schedule = True

    def __init__(self) -> None:
        super().__init__()
        self.phase = 0
        self.phase_starts: tuple[int, ...] = ()

    @abstractmethod
    def plan(self, module: LightningModule, steps: int) -> Sequence[int]:
        """The optimizer step at which each phase begins, the first being 0, of `steps` in all."""

    @abstractmethod
    def enter(self, phase: int, trainer: Trainer, module: LightningModule) -> None:
        """Makes ready for a phase; a resumed run enters the one it was in again."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # What some phase trains must look trainable when Lightning wraps the model for several processes; the first
        # phase therefore begins later, in `on_fit_start`.
        self.phase, self.phase_starts = 0, ()
        super().setup(trainer, pl_module, stage)

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freezes nothing yet: see `setup`."""

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Does nothing: phases are counted in optimizer steps, not in epochs. See `on_train_batch_start`."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        if not self.phase_starts:  # a resumed run keeps its plan, even if its budget was changed
            steps = trainer.estimated_stepping_batches
            if steps == float("inf"):
                raise ValueError(f"strategy {type(self).__name__} divides the steps there are: set trainer.max_steps.")
            self.phase_starts = tuple(self.plan(pl_module, int(steps)))
        if self.restarts_schedule and hasattr(pl_module, "schedule_starts"):
            setattr(pl_module, "schedule_starts", self.phase_starts)  # noqa: B010 - not every module has it
        self.enter(self.phase, trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        due = sum(start <= trainer.global_step for start in self.phase_starts) - 1
        if due != self.phase:
            self.phase = due
            self.enter(due, trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "phase": self.phase, "phase_starts": list(self.phase_starts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.phase, self.phase_starts = state_dict["phase"], tuple(state_dict["phase_starts"])


def equal_phases(steps: int, phases: int) -> tuple[int, ...]:
    """Where phases begin that share the steps equally."""
    return tuple(int(steps * phase / phases) for phase in range(phases))


def second_phase(strategy: Phased, share: float, steps: int) -> tuple[int, int]:
    """Where two phases begin, the second after this share of the steps; raises a ValueError if either is empty."""
    start = int(steps * share)
    if not 0 < start < steps:
        raise ValueError(
            f"strategy {type(strategy).__name__} was given at={share}, which of {steps} steps leaves one phase none: "
            "choose a share between 0 and 1, or more steps."
        )
    return 0, start
