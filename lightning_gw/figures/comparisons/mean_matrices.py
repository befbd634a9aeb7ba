"""The mean matrix of every strategy over its seeds, and beside it how far the seeds spread."""

from __future__ import annotations

import math
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from lightning_gw.figures.matrix import headline_and_reading, new_figure, own_style, plain, shared_bar
from lightning_gw.figures.style import COLORMAP, INK, NO_EVIDENCE, QUIET, estimate_text, runs_text, thinned, wrapped
from lightning_gw.statistics.results import FloatArray, StrategySummary, TaskComparison

#: Spread is another quantity than similarity and takes another scale, of one hue.
SPREAD_COLORMAP = "Purples"

#: Letters of the text below a picture for each inch of its width.
_LETTERS = 10.5


def spread_limit(comparison: TaskComparison) -> float:
    """Top of the scale on which the spreads of all strategies of a task are shown, at least 0.05.

    The largest standard deviation, rounded up to the next 0.05, so that seeds that agree do not look as if they spread.
    """
    largest = max((float(np.nanmax(s.spread_similarity, initial=0.0)) for s in comparison.strategies), default=0.0)
    return max(0.05, math.ceil(round(largest / 0.05, 6)) * 0.05)


@own_style
def draw_mean_matrices(comparison: TaskComparison) -> Figure:
    """Draw the mean similarity matrix of every strategy, and beside it the standard deviation over its seeds.

    Args:
        comparison: The strategies of one task.

    Returns:
        A figure with two squares per strategy: mean similarity from 0 to 1, and spread on one scale for all.

    Raises:
        ValueError: If the comparison holds no strategy.
    """
    if not comparison.strategies:
        raise ValueError(f"The comparison of {comparison.task!r} holds no strategy; a picture needs one at least.")
    strategies, top = comparison.strategies, spread_limit(comparison)
    across = min(len(strategies), 3)
    down = math.ceil(len(strategies) / across)
    figure = new_figure(max(7.5, 1.4 + 4.5 * across), 1.9 + 2.65 * down)
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, 0, 0.99, 1))  # type: ignore[call-arg]  # a bar's label would touch the edge
    grid = figure.subplots(down, 2 * across, squeeze=False)
    for axes in grid.flat[2 * len(strategies) :]:
        axes.set_axis_off()
    for place, summary in enumerate(strategies):
        mean, spread = grid.flat[2 * place], grid.flat[2 * place + 1]
        similarity = _square(mean, summary.mean_similarity, COLORMAP, 1.0)
        deviation = _square(spread, summary.spread_similarity, SPREAD_COLORMAP, top)
        mean.set_title(_title(summary), loc="left", fontsize=10.5, color=INK, parse_math=False)
        spread.set_title("spread\n", loc="left", fontsize=10, color=QUIET)
        spread.set_yticks([])
        if not np.isfinite(summary.spread_similarity).any():
            count = len(summary.findings)
            spread.text(
                0.5, 0.5, f"{count} run:\nno spread", ha="center", va="center", transform=spread.transAxes, fontsize=9.5
            )
    bars = [(similarity, "mean similarity"), (deviation, "standard deviation over seeds")]
    for drawn, label in bars if any(np.isfinite(s.spread_similarity).any() for s in strategies) else bars[:1]:
        shared_bar(figure, grid, drawn, label)
    headline_and_reading(
        figure,
        f"How alike the layers are, on average over seeds: {comparison.task}, {runs_text(comparison)}",
        fill(
            "How to read: left, bright squares along the diagonal are layers that arrange the inputs alike in most "
            "runs; right, dark cells are where runs of other seeds differ. Layers are numbered in depth order, top "
            "left to bottom right. One scale of similarity and one of spread for all strategies.",
            round(_LETTERS * figure.get_figwidth()),
        ),
    )
    return figure


def _square(axes: Axes, values: FloatArray, colours: str | Colormap, top: float) -> AxesImage:
    axes.set_facecolor(NO_EVIDENCE)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=top, interpolation="nearest")
    shown = thinned(len(values), 9)
    axes.set_xticks(shown, [f"{layer + 1}" for layer in shown])
    axes.set_yticks(shown, [f"{layer + 1}" for layer in shown])
    plain(axes)
    return image


def _title(summary: StrategySummary) -> str:
    return f"{wrapped(summary.strategy, 26)}\naccuracy {estimate_text(summary.accuracy)}"
