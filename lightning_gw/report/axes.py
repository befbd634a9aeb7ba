"""What the runs of one task share on the page: the step axis, and the scales of its colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lightning_gw.figures.series import accuracy_names, axis_range, metric_series
from lightning_gw.figures.style import StepAxis
from lightning_gw.report.run.loading import ReportRun


def compact(values: Iterable[float]) -> list[float | None]:
    """Numbers to 5 significant digits, more than any chart shows; what is not finite becomes null."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in map(float, values)]


def task_axis(runs: Sequence[ReportRun]) -> tuple[StepAxis, dict[str, Any]]:
    steps = sorted({record.step for run in runs for record in run.history})
    scale = StepAxis.of(steps)
    edges = np.concatenate([scale.edges([record.step for record in run.history]) for run in runs])
    layout = {
        "range": compact([edges.min(), edges.max()]),
        "growthLimit": _growth_limit(runs),
        "movedLimit": _moved_limit(runs),
        "accuracy": compact(axis_range(_accuracies(runs), shares=True)),
        "logarithmic": scale.unit is not None,
        "few": ticks(scale, steps, 4),
    }
    return scale, layout


def ticks(scale: StepAxis, steps: Sequence[int], most: int) -> dict[str, Any]:
    at, texts = scale.ticks(steps, most)
    return {"at": compact(at), "text": texts}


def _growth_limit(runs: Sequence[ReportRun]) -> float:
    """Largest |log₂ growth| of a task, at least one doubling, so that noise is not blown up to full colour."""
    growth = [record.growth for run in runs for record in run.history]
    logs = np.abs(np.log2(np.concatenate([g[np.isfinite(g) & (g > 0)] for g in growth] or [np.ones(1)])))
    return float(max(1.0, math.ceil(logs.max(initial=0.0) * 2) / 2))


def _accuracies(runs: Sequence[ReportRun]) -> Iterator[float]:
    """Every value that is drawn as accuracy."""
    for run in runs:
        series = metric_series(run.history)
        for name in accuracy_names(series, run.accuracy):
            yield from (value for _, value in series[name])


def _moved_limit(runs: Sequence[ReportRun]) -> float:
    """Furthest that a layer of a task moved, at least a tenth, so that noise is not blown up to full colour."""
    moved = [record.moved for run in runs for record in run.history if record.moved is not None]
    return float(f"{max([0.1, *(np.nanmax(far, initial=0.0) for far in moved)]):.3g}")
