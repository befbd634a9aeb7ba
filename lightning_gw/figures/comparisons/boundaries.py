"""Where boundaries fell: for every strategy the share of its runs with one in each gap between layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_gw.figures.matrix import headline_and_reading, new_figure, own_style, plain
from lightning_gw.figures.style import (
    INK,
    OKABE_ITO,
    QUIET,
    convergence_text,
    estimate_text,
    groups_text,
    runs_text,
    thinned,
    wrapped,
)
from lightning_gw.statistics.results import StrategySummary, TaskComparison

_PLANTED = OKABE_ITO[5]
_ROW_HEIGHT = 0.86


@own_style
def draw_boundaries(comparison: TaskComparison, planted: Sequence[int] | None = None) -> Figure:
    """Draw how often a boundary stood in each gap between layers, one row a strategy.

    Args:
        comparison: The strategies of one task.
        planted: Boundaries the experiment built in on purpose (0-based, "after layer k"), marked through all rows.

    Returns:
        A figure whose rows share the gaps as their x axis, with accuracy, number of groups and step of convergence
        beside each.

    Raises:
        ValueError: If the comparison holds no strategy.
    """
    if not comparison.strategies:
        raise ValueError(f"The comparison of {comparison.task!r} holds no strategy; a picture needs one at least.")
    rows = len(comparison.strategies)
    gaps = len(comparison.layers) - 1
    figure = new_figure(12.4, 1.9 + _ROW_HEIGHT * rows)
    grid = figure.subplots(rows, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, summary in zip(grid, comparison.strategies, strict=True):
        _draw_row(axes, summary, [k for k in planted or () if 0 <= k < gaps])
    shown = thinned(gaps, 24)
    grid[-1].set_xticks(shown, [f"{k + 1}→{k + 2}" for k in shown])
    grid[-1].set_xlim(-0.6, gaps - 0.4)
    grid[-1].set_ylim(0, 1.08)
    grid[-1].set_xlabel("gap between neighbouring layers", fontsize=10, color=QUIET)
    for axes in grid:
        plain(axes)
    marked = " Dashed lines are boundaries planted on purpose." if planted else ""
    headline_and_reading(
        figure,
        f"Where boundaries fell, by training strategy: {comparison.task}, {runs_text(comparison)}",
        "How to read: the higher a bar, the more runs of that strategy ended with a boundary in that gap "
        f"(top: all of them).\nWhiskers and brackets are 95 % intervals.{marked}",
    )
    return figure


def _draw_row(axes: Axes, summary: StrategySummary, planted: Sequence[int]) -> None:
    for boundary in planted:
        axes.axvline(boundary, color=_PLANTED, linewidth=1.6, linestyle=(0, (4, 2)), zorder=0, gid="planted")
    share = [estimate.value if math.isfinite(estimate.value) else 0.0 for estimate in summary.boundary_share]
    axes.bar(range(len(share)), share, width=0.62, color=OKABE_ITO[4], gid="share")
    for gap, estimate in enumerate(summary.boundary_share):
        if math.isfinite(estimate.low) and math.isfinite(estimate.high) and estimate.value > 0:
            axes.plot([gap, gap], [estimate.low, estimate.high], color=INK, linewidth=1.2, gid="interval")
    axes.set_yticks([0, 1], ["0", "1"])
    axes.axhline(0, color="#c8ccd1", linewidth=0.8)
    axes.set_ylabel(
        wrapped(summary.strategy),
        fontsize=10.5,
        color=INK,
        rotation=0,
        ha="right",
        va="center",
        labelpad=6,
        parse_math=False,
    )
    beside = (
        f"accuracy {estimate_text(summary.accuracy)}\n"
        f"groups: {groups_text(summary)}\n"
        f"settled: {convergence_text(summary)}"
    )
    axes.annotate(beside, (1.01, 0.5), xycoords="axes fraction", fontsize=9, color=QUIET, va="center", parse_math=False)
