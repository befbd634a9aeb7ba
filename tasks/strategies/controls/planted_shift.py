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
        block_lengths: Layers planted for each stage from the shift on; when left out, those of the task moved on by one
            stage: blocks of 2, 4 and 3 layers become blocks of 4, 3 and 2.
        at: Share of the steps after which the shift comes.
    """

    def __init__(self, block_lengths: Sequence[int] | None = None, at: float = 0.5) -> None:
        super().__init__()
        self.block_lengths = None if block_lengths is None else tuple(block_lengths)
        self.at = at

    def planted(self, task: StagedTask) -> list[tuple[int, ...]]:
        """The stage of every layer, before and after the shift."""
        before = tuple(task.stage_of_layer)
        stages = max(before) + 1
        planted = [before.count(stage) for stage in range(stages)]
        lengths = [*planted[1:], planted[0]] if self.block_lengths is None else list(self.block_lengths)
        if len(lengths) != stages or sum(lengths) != len(before) or min(lengths) < 1:
            raise ValueError(
                f"strategy {type(self).__name__} was given block_lengths={lengths}, but task {type(task).__name__} has "
                f"{stages} stages over {len(before)} layers: give {stages} lengths of 1 or more with the sum "
                f"{len(before)}."
            )
        if lengths == planted:
            raise ValueError(
                f"strategy {type(self).__name__} was given block_lengths={lengths}, the ones already planted: nothing "
                "would shift. Give others."
            )
        after = tuple(stage for stage, length in enumerate(lengths) for _ in range(length))
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
