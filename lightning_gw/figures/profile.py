"""The profile picture: how far each layer is from the next, now and at the start, and how that distance grew."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_gw.figures.matrix import new_figure, own_style, plain, title_and_reading
from lightning_gw.figures.style import INK, QUIET, thinned
from lightning_gw.records.record import Record

_BOUNDARY = "#D55E00"
_NOW = "#0072B2"


@own_style
def draw_profile(record: Record, start: Record | None = None) -> Figure:
    """Draw the distance from each layer to the next, and its growth since the start of training.

    Args:
        record: The look.
        start: The first look of the same run, drawn for comparison; left out when it is not given.

    Returns:
        A figure of two panels on one x axis: adjacent distances above, growth below.

    Raises:
        ValueError: If the two looks do not hold the same layers.
    """
    if start is not None and start.layers != record.layers:
        raise ValueError(
            f"The looks at steps {start.step} and {record.step} hold different layers "
            f"({len(start.layers)} and {len(record.layers)}), so their profiles cannot be compared."
        )
    figure = new_figure(8.6, 6.0)
    grid = figure.add_gridspec(2, 1, height_ratios=[2.0, 1.2])
    above = figure.add_subplot(grid[0])
    below = figure.add_subplot(grid[1], sharex=above)
    gaps = np.arange(len(record.layers) - 1)
    for axes in (above, below):
        axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
        for boundary in record.groups.boundaries:
            axes.axvline(boundary, color=_BOUNDARY, linewidth=9, alpha=0.22, zorder=0, gid="boundary")
        for end in record.groups.sequence_ends:
            axes.axvline(end, color=INK, linewidth=1.6, linestyle="-.", zorder=0, gid="sequence-end")
    if start is not None and start.step != record.step:
        above.plot(gaps, start.groups.adjacent, color=QUIET, linestyle="--", linewidth=1.5, label=f"step {start.step}")
    above.plot(gaps, record.groups.adjacent, color=_NOW, linewidth=2.2, marker="o", label=f"step {record.step}")
    above.set_ylim(bottom=0)
    above.set_ylabel("GW distance to next layer\n(found; no unit)", fontsize=10, color=QUIET)
    above.legend(fontsize=9.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _draw_growth(below, gaps, np.asarray(record.growth, dtype=float))
    shown = thinned(len(gaps), 12)
    below.set_xticks(shown, [f"{gap + 1}→{gap + 2}" for gap in shown])
    below.set_xlabel("from layer → to next layer", fontsize=10, color=QUIET)
    above.tick_params(labelbottom=False)
    for axes in (above, below):
        plain(axes)
    shaded = "shaded gaps are group boundaries" if record.groups.boundaries else "no gap stands out as a boundary"
    reading = (
        "How to read: a high point is a wide gap between two neighbouring layers; "
        f"{shaded}.\nBelow, 2 means twice as wide as at the first look: where training acted."
    )
    title_and_reading(figure, above, _title(record), reading)
    return figure


def _title(record: Record) -> str:
    adjacent = record.groups.adjacent
    if not np.isfinite(adjacent).any():
        return f"Step {record.step}: no two neighbouring layers could be compared"
    widest = int(np.nanargmax(adjacent))
    return f"Step {record.step}: the widest gap is between layers {widest + 1} and {widest + 2}"


def _draw_growth(axes: Axes, gaps: np.ndarray, growth: np.ndarray) -> None:
    axes.axhline(1, color=QUIET, linewidth=1)
    axes.plot(gaps, growth, color=INK, linewidth=1.8, marker="o", markersize=4, gid="growth")
    axes.set_ylabel("growth since start\n(× first look)", fontsize=10, color=QUIET)
    finite = growth[np.isfinite(growth)]
    high, low = (float(finite.max()), float(finite.min())) if finite.size else (1.0, 1.0)
    axes.set_ylim(min(0.8, low * 0.9), max(1.2, high * 1.08))
