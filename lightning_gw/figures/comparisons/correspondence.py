"""Which layers of one strategy correspond to which of others, as rectangles side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lightning_gw.figures.matrix import SIMILARITY, headline_and_reading, new_figure, own_style, plain, shared_bar
from lightning_gw.figures.style import COLORMAP, INK, NO_EVIDENCE, OKABE_ITO, QUIET, thinned, wrapped
from lightning_gw.statistics.correspondence import Correspondence


@own_style
def draw_correspondence(found: Mapping[str, Correspondence], reference: str, *, task: str = "") -> Figure:
    """Draw which layers of a strategy correspond to which of others.

    Args:
        found: What to call the other strategy to the correspondence of the reference with it.
        reference: What to call the strategy whose layers are the rows.
        task: What was trained; named in the title where given.

    Returns:
        A figure with one rectangle per strategy, all on the scale from 0 to 1, with a dot on each layer's best partner.

    Raises:
        ValueError: If `found` is empty.
    """
    if not found:
        raise ValueError(f"There is no correspondence of {reference!r} to draw; a picture needs one at least.")
    across = min(len(found), 4)
    down = math.ceil(len(found) / across)
    figure = new_figure(max(7.5, 1.9 + 2.9 * across), 1.9 + 3.1 * down)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(found) :]:
        axes.set_axis_off()
    for place, (axes, (other, each)) in enumerate(zip(grid.flat, found.items(), strict=False)):
        axes.set_facecolor(NO_EVIDENCE)
        image = axes.imshow(
            np.ma.masked_invalid(each.similarity), cmap=COLORMAP, vmin=0, vmax=1, interpolation="nearest"
        )
        rows = [layer for layer, best in enumerate(each.best) if best >= 0]
        axes.scatter(
            [each.best[layer] for layer in rows],
            rows,
            s=34,
            color=OKABE_ITO[5],
            edgecolor="white",
            linewidth=0.8,
            gid="partner",
        )
        shown = thinned(len(each.other_layers), 12)
        axes.set_xticks(shown, [f"{layer + 1}" for layer in shown])
        shown = thinned(len(each.layers), 12)
        axes.set_yticks(shown, [f"{layer + 1}" for layer in shown])
        if place % across == 0:
            axes.set_ylabel(f"layer of\n{wrapped(reference)}", fontsize=10, color=QUIET, parse_math=False)
        name = f"{other}, other seeds" if other == reference else other
        axes.set_title(wrapped(name, 30), loc="left", fontsize=10.5, color=INK, parse_math=False)
        order = f", order {each.order:.2f}" if math.isfinite(each.order) else ""
        pairs = "1 pair of runs" if each.runs == 1 else f"{each.runs} pairs of runs"
        axes.set_xlabel(f"{pairs}{order}", fontsize=9.5, color=QUIET)
        plain(axes)
    shared_bar(figure, grid, image, SIMILARITY)
    headline_and_reading(
        figure,
        f"Which layers of {reference} correspond to which of other strategies" + (f": {task}" if task else ""),
        "How to read: each row is a layer, each column a layer of the strategy named above the square;\n"
        "bright cells arrange the inputs alike (mean over pairs of runs). A dot marks the best partner.\n"
        "Order is the rank correlation of depths: 1 where deeper layers have deeper partners.",
    )
    return figure
