from __future__ import annotations

from torch import nn

from tasks.strategies.freezing.unfreezing import Unfreezing
from tasks.strategies.requirements import LayeredTask


class UnfreezeTopDown(Unfreezing):
    """Trains what reads the last layer, then the last layer too, then the one below, and at the end the stem.

    It asks: do boundaries move down with the layers that are set free?

    It follows gradual unfreezing (Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification").
    """

    def order(self, task: LayeredTask) -> list[nn.Module]:
        return [*reversed(list(task.layers)), task.stem]
