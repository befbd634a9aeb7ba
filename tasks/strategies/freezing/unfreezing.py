from __future__ import annotations

from abc import abstractmethod
from math import ceil

from pytorch_lightning import LightningModule, Trainer
from torch import nn

from tasks.strategies.phases import Phased, equal_phases
from tasks.strategies.requirements import LayeredTask, layered


class Unfreezing(Phased):
    """Trains what reads the last layer at first, and then more of the network with every phase.

    The phases share the step budget equally; in the last everything trains. The learning rate is that of the task:
    it does not start anew with a phase.

    Args:
        layers_at_a_time: Layers that each phase sets free; the stem counts as one.
    """

    restarts_schedule = False

    def __init__(self, layers_at_a_time: int = 1) -> None:
        super().__init__()
        if layers_at_a_time < 1:
            raise ValueError(f"layers_at_a_time must be 1 or more; got {layers_at_a_time}.")
        self.layers_at_a_time = layers_at_a_time

    @abstractmethod
    def order(self, task: LayeredTask) -> list[nn.Module]:
        """Stem and layers, in the order in which they are set free."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        layered(self, pl_module)
        super().setup(trainer, pl_module, stage)

    def plan(self, module: LightningModule, steps: int) -> tuple[int, ...]:
        phases = 1 + ceil(len(self.order(layered(self, module))) / self.layers_at_a_time)
        if steps < phases:
            raise ValueError(
                f"strategy {type(self).__name__} needs a step for each of {phases} phases, and there are {steps}: "
                "raise trainer.max_steps or layers_at_a_time."
            )
        return equal_phases(steps, phases)

    def enter(self, phase: int, trainer: Trainer, module: LightningModule) -> None:
        """Freezes all that is not yet due."""
        order = self.order(layered(self, module))
        free = phase * self.layers_at_a_time
        self.make_trainable(order[:free])
        self.freeze(order[free:], train_bn=False)
