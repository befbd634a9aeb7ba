from __future__ import annotations

from torch import nn

from tasks.strategies.freezing.unfreezing import Unfreezing
from tasks.strategies.requirements import LayeredTask


class UnfreezeBottomUp(Unfreezing):
    """Trains what reads the last layer, then the stem too, then the first layer, and at the end the last one.

    It asks: do boundaries move up with the layers that are set free, and do the layers above pass them on?
    """

    def order(self, task: LayeredTask) -> list[nn.Module]:
        return [task.stem, *task.layers]
