"""The run's own scalars, gathered for drawing beside the groups."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning_gw.records.record import Record

Series = dict[str, list[tuple[int, float]]]

_ACCURACY = re.compile(r"acc|f1|auroc|auc|precision|recall", re.IGNORECASE)
_LOSS = re.compile(r"loss|nll|entropy|perplexity", re.IGNORECASE)
_HELD_OUT = re.compile(r"val|valid|test|held", re.IGNORECASE)


def metric_series(history: Sequence[Record]) -> Series:
    """Every scalar of a run over its steps.

    Args:
        history: A run's looks. A `History` also offers ``metrics``, the scalars of every validation; a record holds
            what was last known at its step. What is measured in validation is therefore taken from the validations
            alone: between two of them nothing was measured, and nothing is drawn.

    Returns:
        Metric name to ``[(step, value), ...]`` in the order of steps; values that are not finite are left out.
    """
    points: dict[str, dict[int, float]] = {}
    rows: Sequence[Mapping[str, Any]] = getattr(history, "metrics", ())
    validated = {name for row in rows for name in row if _HELD_OUT.search(name)}
    for record in history:
        for name, value in record.metrics.items():
            if name in validated:
                continue
            points.setdefault(name, {})[record.step] = float(value)
    for row in rows:
        for name, value in row.items():
            if name not in ("step", "epoch") and isinstance(value, (int, float)):
                points.setdefault(name, {})[int(row["step"])] = float(value)
    return {
        name: finite
        for name, values in sorted(points.items())
        if (finite := sorted((step, value) for step, value in values.items() if math.isfinite(value)))
    }


def logged_names(history: Sequence[Record]) -> list[str]:
    """Names of all scalars a run logged, whatever their values."""
    rows: Sequence[Mapping[str, Any]] = getattr(history, "metrics", ())
    found = {name for record in history for name in record.metrics} | {name for row in rows for name in row}
    return sorted(found - {"step", "epoch"})


def accuracy_names(series: Mapping[str, Any], preferred: str | None = None, most: int = 4) -> list[str]:
    """The metrics to draw as accuracy, the preferred one first, held-out ones before the rest."""
    return _chosen(series, _ACCURACY, preferred, most)


def loss_names(series: Mapping[str, Any], most: int = 3) -> list[str]:
    """The metrics to draw as loss, held-out ones first."""
    return _chosen([name for name in series if not _ACCURACY.search(name)], _LOSS, None, most)


def axis_range(values: Iterable[float], shares: bool = False) -> tuple[float, float]:
    """Ends of the axis that these values are drawn on: 0 is always on it, and of shares alone 1 is too.

    Args:
        values: Everything that is drawn.
        shares: Whether the metric usually lies between 0 and 1; one in percent, or below 0, is drawn where it lies.
    """
    drawn = [0.0, *values]
    low, high = min(drawn), max(drawn)
    if shares and low == 0 and high <= 1:
        return -0.03, 1.03
    room = 0.04 * (high - low) or 1.0
    return low - room * (low < 0), high + room


def _chosen(names: Iterable[str], kind: re.Pattern[str], preferred: str | None, most: int) -> list[str]:
    found = [name for name in names if kind.search(name) or name == preferred]
    return sorted(found, key=lambda name: (name != preferred, not _HELD_OUT.search(name), name))[:most]
