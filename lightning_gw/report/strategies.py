"""The data of the charts over seeds: where boundaries fell, mean matrices and their spread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_gw.figures.mean_matrices import spread_limit
from lightning_gw.figures.style import short_names
from lightning_gw.report.rectangles import TaskRectangles
from lightning_gw.report.tasks import TaskAnswer
from lightning_gw.statistics.results import StrategySummary


def strategies_payload(answer: TaskAnswer) -> dict[str, Any] | None:
    """What the page's script draws of a task's strategies over their seeds; None where no run has finished."""
    comparison = answer.comparison
    if comparison is None:
        return None
    return {
        "layers": list(comparison.layers),
        "labels": list(short_names(comparison.layers)),
        "planted": [boundary for boundary in answer.planted if boundary < len(comparison.layers) - 1],
        "spreadTop": spread_limit(comparison),
        "strategies": {summary.strategy: _strategy(summary) for summary in comparison.strategies},
    }


def rectangles_payload(rectangles: TaskRectangles) -> dict[str, Any]:
    """What the page's script draws of the correspondences of a task."""
    return {
        other: {
            "rows": list(short_names(found.layers)),
            "columns": list(short_names(found.other_layers)),
            "similarity": cells(found.similarity),
            "best": list(found.best),
            "returned": list(found.returned),
            "runs": found.runs,
        }
        for other, found in rectangles.found.items()
    }


def cells(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    """A matrix for a chart, to 3 decimals; null where it is not finite."""
    return [[round(value, 3) if np.isfinite(value) else None for value in row] for row in matrix.tolist()]


def _strategy(summary: StrategySummary) -> dict[str, Any]:
    share = np.array([[e.value, e.low, e.high] for e in summary.boundary_share]).reshape(-1, 3)
    spread = summary.spread_similarity
    return {
        "runs": len(summary.findings),
        "share": cells(share),
        "mean": cells(summary.mean_similarity),
        "spread": cells(spread) if np.isfinite(spread).any() else None,
    }
