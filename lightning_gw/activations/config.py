"""What is looked at, and through which inputs, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_gw.activations.probe.probe import Balance
from lightning_gw.activations.probe.rows import RowsOption
from lightning_gw.activations.reading.pooling import Pooling, check_pooling
from lightning_gw.activations.running.forward import ProbeStep
from lightning_gw.activations.running.settle import Layout, check_layout


@dataclass(frozen=True)
class ProbeConfig:
    """The layers that are looked at, the inputs they are looked at through, and how.

    Attributes:
        layers: Names or globs of modules (see `layers.match_layers`); None takes what `choice.choose_layers` does.
        data: A batch, data set, loader, function that returns one, ``"train"`` or ``"validation"``; None takes the
            validation data, else the training data.
        size: Number of probe inputs; None takes 128, or all there are.
        batch_size: Inputs per forward pass; None takes the data loader's.
        balance: Draw evenly over classes: the index or key of the label in an item, or a function of the item. A label
            that is a vector makes one class of every distinct vector.
        pooling: How an output becomes one vector per input; see `pooling.pool`.
        step: ``function(module, batch)`` that runs the network, or the name of a method of the module that does; None
            takes what `forward.ways_to_run` does.
        seed: Seed of the draw.
        rows: What of a batch has one entry per input: its key or place, or a function of the batch that gives the
            number of inputs, or ``(m,)`` integers that say of every row of the layers which input it belongs to. None
            takes the number of items that were put together.
        layout: The axes of what layers put out, such as ``"n h w c"``, for all of them or by name or glob; None has
            them told by passes of other sizes. See `settle.check_layout`.

    Raises:
        ValueError: If the pooling is unknown.
        ArgumentError: If a layout is not understood.
    """

    layers: str | Sequence[str] | None = None
    data: Any = None
    size: int | None = None
    batch_size: int | None = None
    balance: Balance | None = None
    pooling: Pooling = "auto"
    step: ProbeStep | None = None
    seed: int = 0
    rows: RowsOption | None = None
    layout: Layout | None = None

    def __post_init__(self) -> None:
        check_pooling(self.pooling)
        check_layout(self.layout)
