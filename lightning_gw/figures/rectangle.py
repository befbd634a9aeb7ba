"""The picture of a matrix between two sets of layers: the layers of one network against those of another."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lightning_gw.figures.matrix import (
    left_out,
    name_columns,
    name_rows,
    new_figure,
    plain,
    similarity_bar,
    title_and_reading,
    write_values,
)
from lightning_gw.figures.style import COLORMAP, NO_EVIDENCE, QUIET, short_names, thinned, viewable
from lightning_gw.gw.result import GWMatrix
from lightning_gw.records.description import plural


def draw_rectangle(gw: GWMatrix) -> Figure:
    """Draw the similarity of every layer of one set to every layer of another.

    There are no groups in it, and no second measure: a layer is not paired with itself anywhere.

    Args:
        gw: ``gw_matrix(representations, others)``.

    Returns:
        A figure: rows are the first set, columns the second, on a scale from 0 to 1.

    Raises:
        ValueError: If the geometry has no unit scale and no exact conversion to one that has.
    """
    gw = viewable(gw)
    rows, columns = gw.distortion.shape
    longest = max(rows, columns)  # cells are square; the floors leave room for title and reading
    figure = new_figure(3.2 + 5.0 * max(0.7, columns / longest), 3.0 + 5.0 * max(0.4, rows / longest))
    axes = figure.add_subplot()
    axes.set_facecolor(NO_EVIDENCE)
    values = gw.similarity
    image = axes.imshow(np.ma.masked_invalid(values), cmap=COLORMAP, vmin=0, vmax=1, interpolation="nearest")
    write_values(axes, values)
    row_names, column_names = short_names(gw.layers), short_names(gw.columns)
    shown = thinned(columns, 25)
    name_columns(axes, shown, [column_names[i] for i in shown])
    shown = thinned(rows, 25)
    name_rows(axes, shown, [row_names[i] for i in shown])
    axes.set_xlabel("layers of the second set, in depth order", fontsize=10, color=QUIET)
    axes.set_ylabel("layers of the first set, in depth order", fontsize=10, color=QUIET)
    plain(axes)
    similarity_bar(figure, axes, image)
    count = plural(rows, "layer")
    reading = (
        "How to read: a bright cell is a layer of each set that arrange the inputs alike,\n"
        "by GW similarity at the best matching found (the least it can be)."
    )
    degenerate = {**gw.degenerate, **{f"{name} of the second set": why for name, why in gw.other_degenerate.items()}}
    title = f"{count[:1].upper()}{count[1:]} against {plural(columns, 'layer')} of another set"
    title_and_reading(figure, axes, title, "\n".join([reading, *left_out(degenerate)]))
    return figure
