"""Schedules of ``finetuning-scheduler``: which parameters are thawed in which phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_gw.export.names import to_patterns


def to_finetuning_scheduler(
    layers: Sequence[str], others: Sequence[Sequence[str]] = (), also: Sequence[str] = ()
) -> dict[int, dict[str, Any]]:
    """Phases, each with regular expressions for the parameters it thaws; what no phase names stays frozen.

    Args:
        layers: Thawed in the first phase.
        others: Thawed after them, a phase each.
        also: Further names or regular expressions for the first phase, such as that of a new head.

    Example:
        >>> to_finetuning_scheduler(["layers.2"], [["layers.0", "layers.1"]], ["head\\\\..*"])[1]
        {'params': ['^layers\\\\.(?:0|1)\\\\..*']}
    """
    phases = [[*to_patterns(layers), *also], *(to_patterns(other) for other in others)]
    return {number: {"params": patterns} for number, patterns in enumerate(phases)}
