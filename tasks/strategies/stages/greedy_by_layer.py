from __future__ import annotations

from tasks.strategies.requirements import StagedTask
from tasks.strategies.stages.greedy import Greedy


class GreedyByLayer(Greedy):
    """Trains one layer after another: a layer learns its stage with a head of its own, is then frozen for good, and the
    next layer is trained on top of it.

    It asks: when no layer can adapt to those above it, do layers with one stage still form a group?

    The phases share the step budget equally, one for each layer; the first trains the stem too.
    """

    def ends(self, task: StagedTask) -> dict[int, int]:
        return dict(enumerate(task.stage_of_layer))
