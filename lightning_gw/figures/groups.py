"""The picture of groups alone: how far each layer is from the next, and which layers belong together."""

from __future__ import annotations

from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_gw.figures.matrix import new_figure, own_style, plain, title_and_reading
from lightning_gw.figures.style import INK, QUIET, group_colour, group_fill, runs_of_layers, thinned
from lightning_gw.figures.timeline import draw_block
from lightning_gw.groups.groups import Groups


@own_style
def draw_groups(groups: Groups, ax: Axes | None = None) -> Figure:
    """Draw the distance from each layer to the next, with the groups as a strip of colours below.

    Args:
        groups: The groups, of at least two layers.
        ax: Axes to draw into; a figure of its own where None.

    Returns:
        The figure.

    Raises:
        ValueError: If there is a single layer.
    """
    layers = len(groups.labels)
    if layers < 2:
        raise ValueError("Groups of a single layer have no distance to draw.")
    figure = new_figure(7.2, 3.6) if ax is None else cast(Figure, ax.figure)
    axes = figure.add_subplot() if ax is None else ax
    gaps = np.arange(layers - 1) + 0.5
    top = float(np.nanmax(groups.adjacent, initial=0.0)) or 1.0
    for index, first, last in runs_of_layers(groups):
        fill = group_fill(index, groups.strength)
        draw_block(axes, (first - 0.5, -0.14 * top), last - first + 1, 0.1 * top, *fill, f"group-{index}")
    for boundary in groups.boundaries:
        axes.axvline(boundary + 0.5, color=group_colour(5), linewidth=7, alpha=0.22, zorder=0, gid="boundary")
    for boundary in sorted(set(groups.built_in) - set(groups.boundaries)):
        axes.axvline(boundary + 0.5, color=QUIET, linewidth=1.2, dashes=(3, 2), zorder=0, gid="built-in")
    for end in groups.sequence_ends:
        axes.axvline(end + 0.5, color=INK, linewidth=1.6, linestyle="-.", zorder=0, gid="sequence-end")
    axes.plot(gaps, groups.adjacent, color=group_colour(0), linewidth=2.0, marker="o", markersize=5)
    shown = thinned(layers, 25)
    axes.set_xticks(shown, [str(layer + 1) for layer in shown])
    axes.set_xlim(-0.6, layers - 0.4)
    axes.set_ylim(-0.16 * top, 1.06 * top)
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= top])
    axes.set_xlabel("layer, in depth order", fontsize=10, color=QUIET)
    axes.set_ylabel("distance to the next layer", fontsize=10, color=QUIET)
    plain(axes)
    title = "No groups" if groups.strength == "none" else f"{groups.count} {groups.strength} groups, {groups.ranges()}"
    if ax is None:
        reading = "How to read: a peak is a wide gap between neighbours; shaded gaps are boundaries between groups."
        title_and_reading(figure, axes, title, reading)
    else:
        axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    return figure
