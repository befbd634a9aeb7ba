from __future__ import annotations

from collections.abc import Sequence

from pytorch_lightning import LightningModule, Trainer

from tasks.strategies.phases import Phased, second_phase
from tasks.strategies.requirements import StagedTask, staged


class PlantedShift(Phased):
    """Trains a head on every layer, as `StageSupervised` does, and underway plants blocks of other lengths.

    It asks: when what the layers are told to compute changes, how soon do the groups follow?

    Warm-up and decay of the learning rate begin anew at the shift.

    Args:
        block_lengths: Layers planted for each stage from the shift on.
        at: Share of the steps after which the shift comes.
    """

    def __init__(self, block_lengths: Sequence[int] = (4, 3, 2), at: float = 0.5) -> None:
        super().__init__()
        self.block_lengths = tuple(block_lengths)
        self.at = at

    def planted(self, task: StagedTask) -> list[tuple[int, ...]]:
        """The stage of every layer, before and after the shift."""
        before = tuple(task.stage_of_layer)
        stages = max(before) + 1
        if len(self.block_lengths) != stages or sum(self.block_lengths) != len(before) or min(self.block_lengths) < 1:
            raise ValueError(
                f"strategy {type(self).__name__} was given block_lengths={list(self.block_lengths)}, but task "
                f"{type(task).__name__} has {stages} stages over {len(before)} layers: give {stages} lengths of 1 or "
                f"more with the sum {len(before)}."
            )
        after = tuple(stage for stage, length in enumerate(self.block_lengths) for _ in range(length))
        if after == before:
            raise ValueError(
                f"strategy {type(self).__name__} was given block_lengths={list(self.block_lengths)}, the ones already "
                "planted: nothing would shift. Give others."
            )
        return [before, after]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        task = staged(self, pl_module)
        task.supervise(dict(enumerate(self.planted(task)[0])))
        super().setup(trainer, pl_module, stage)

    def plan(self, module: LightningModule, steps: int) -> tuple[int, int]:
        return second_phase(self, self.at, steps)

    def enter(self, phase: int, trainer: Trainer, module: LightningModule) -> None:
        task = staged(self, module)
        task.supervise(dict(enumerate(self.planted(task)[phase])))
