from __future__ import annotations

from pytorch_lightning import LightningModule, Trainer

from tasks.strategies.phases import Phased, equal_phases
from tasks.strategies.requirements import StagedTask, stage_ends, staged


class Greedy(Phased):
    """Trains one planted block after another: a block learns its stage with a head at its end, is then frozen for
    good, and the next block is trained on top of it.

    It asks: do boundaries appear bottom-up, one phase at a time, and does a frozen block stay the group it was?

    The phases share the step budget equally, and each has its own learning rate warm-up and decay; the first trains
    the stem too. Stages already learnt stay in the loss as constants, so that their held-out accuracy is reported.

    On several processes it needs ``trainer.strategy: ddp_find_unused_parameters_true``: what trains changes underway.
    """

    def ends(self, task: StagedTask) -> dict[int, int]:
        """The last layer of what each phase trains, with the stage it is trained for."""
        return stage_ends(task)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        task = staged(self, pl_module)
        task.supervise(self.ends(task))
        super().setup(trainer, pl_module, stage)

    def plan(self, module: LightningModule, steps: int) -> tuple[int, ...]:
        return equal_phases(steps, len(self.ends(staged(self, module))))

    def enter(self, phase: int, trainer: Trainer, module: LightningModule) -> None:
        """Makes the block of this phase, with its head, the only thing that trains."""
        task = staged(self, module)
        ends = list(self.ends(task).items())
        task.supervise(dict(ends[: phase + 1]))
        self.freeze([task.stem, task.layers, *(task.heads[layer] for layer, _ in ends[:phase])])
        begin = ends[phase - 1][0] + 1 if phase else 0
        block = list(task.layers)[begin : ends[phase][0] + 1]
        self.make_trainable([task.stem, *block] if phase == 0 else block)
