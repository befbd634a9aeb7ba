"""The pictures of one task's comparison, for W&B and for documents; the page draws its own."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from lightning_gw.figures import (
    draw_boundaries,
    draw_comparison,
    draw_contrasts,
    draw_correspondence,
    draw_mean_matrices,
)
from lightning_gw.records.history import History
from lightning_gw.report.comparisons.rectangles import TaskRectangles
from lightning_gw.report.comparisons.tasks import TaskAnswer
from lightning_gw.report.run.loading import ReportRun

#: Their names, in the order in which to look at them.
PICTURES = ("timelines", "boundary_histograms", "mean_matrices", "differences", "corresponding_layers")


def task_pictures(
    runs: Sequence[ReportRun], answer: TaskAnswer, rectangles: TaskRectangles | None = None
) -> dict[str, Figure]:
    """Draw how the strategies of a task compare.

    Args:
        runs: All runs of the comparison.
        answer: What was found of one of its tasks.
        rectangles: Which layers of its strategies correspond, where that was asked.

    Returns:
        Name (of `PICTURES`) to figure; without ``differences`` where there is a single strategy, without
        ``corresponding_layers`` where there are no rectangles, and empty where no run has finished.
    """
    comparison = answer.comparison
    if comparison is None:
        return {}
    mine = [run for run in runs if run.task == answer.task and run.seed is not None]
    histories: dict[str, dict[int, History]] = {}
    for run in mine:
        assert run.seed is not None
        histories.setdefault(run.strategy, {})[run.seed] = run.history
    drawn = {
        "timelines": draw_comparison(histories, accuracy=mine[0].accuracy),
        "boundary_histograms": draw_boundaries(comparison, answer.planted or None),
        "mean_matrices": draw_mean_matrices(comparison),
    }
    if len(comparison.strategies) > 1:
        drawn["differences"] = draw_contrasts(comparison)
    if rectangles is not None and rectangles.found:
        drawn["corresponding_layers"] = draw_correspondence(rectangles.found, rectangles.reference, task=answer.task)
    return drawn
