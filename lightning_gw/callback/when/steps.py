"""How far training is: by the Trainer's global step, or by batches where that stands still; and where it is logged."""

from __future__ import annotations

from typing import Any

from torch import nn


class Steps:
    """Counts what a training did, also where the Trainer does not.

    The global step counts calls of the optimizers that Lightning wraps. Under manual optimisation weights can be moved
    by a raw optimizer, and the global step stands still; such a batch counts as a step. With several optimizers it
    moves several times a batch, while Lightning logs its own metrics by batches.

    Attributes:
        uncounted: Batches so far that changed the weights without the global step; part of checkpoints.
    """

    def __init__(self) -> None:
        self.uncounted = 0
        self._batches = 0
        self._before = 0
        self._versions = 0

    def start(self, trainer: Any, module: nn.Module) -> None:
        """Training begins, or goes on."""
        self._before = trainer.global_step
        self._batches = trainer.global_step
        if not getattr(module, "automatic_optimization", True):
            # Only here: a checkpoint saved as a batch ends holds one batch too few, and else these are the steps.
            self._batches = int(getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", self._batches))
        self._versions = _versions(module)

    def update(self, trainer: Any, module: Any) -> bool:
        """A batch is over; whether this is the first that changed the weights while the global step stood still."""
        moved, self._before = trainer.global_step != self._before, trainer.global_step
        if getattr(module, "automatic_optimization", True):
            self._batches += moved
            return False
        self._batches += 1  # Lightning knows of no accumulation here
        before, self._versions = self._versions, _versions(module)
        if moved or self._versions == before:
            return False
        self.uncounted += 1
        return self.uncounted == 1

    def now(self, trainer: Any) -> int:
        """Step that training is at."""
        return int(trainer.global_step) + self.uncounted

    def logged_at(self, trainer: Any) -> int | None:
        """Step by which Lightning logs its own metrics now; None where that is `now`."""
        return None if self._batches == self.now(trainer) else self._batches

    def scheduled(self, trainer: Any, in_batches: bool) -> int:
        """Where training is in the unit of a schedule."""
        return self._batches if in_batches else self.now(trainer)


def _versions(module: nn.Module) -> int:
    """What grows whenever a weight is written to in place, as optimizers do."""
    return sum(parameter._version for parameter in module.parameters())
