"""The matrix picture: every layer against every other, GW above the diagonal and the paired measure below."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import Any, ParamSpec, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.style import context
from numpy.typing import NDArray

from lightning_gw.figures.style import (
    COLORMAP,
    INK,
    NO_EVIDENCE,
    QUIET,
    axis_names,
    group_colour,
    group_identities,
    runs_of_layers,
    thinned,
    viewable,
)
from lightning_gw.groups.finding import find_groups
from lightning_gw.gw.result import GWMatrix
from lightning_gw.records.record import Record
from lightning_gw.records.words.measure_names import paired_name
from lightning_gw.utilities.text import plural

P = ParamSpec("P")
#: Up to this many layers the cells hold their values; beyond, the digits would no longer be readable.
VALUES_UP_TO = 12
#: From this similarity on the cells are light enough for dark digits.
INK_FROM = 0.75
#: What a colour bar of similarities is called.
SIMILARITY = "similarity (1 = probe inputs arranged alike)"


class _OwnFigure(Figure):
    """Shows itself in a notebook, also where no ``%matplotlib inline`` was given, and looks alike everywhere."""

    def draw(self, renderer: RendererBase) -> None:
        with context("default"):
            super().draw(renderer)

    def savefig(self, *args: Any, **options: Any) -> None:
        with context("default"):
            super().savefig(*args, **options)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def own_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draws in Matplotlib's own style, whatever the user set; into axes of the user's, in theirs."""

    @wraps(draw)
    def drawn(*args: P.args, **options: P.kwargs) -> Figure:
        into = any(isinstance(value, Axes) for value in (*args, *options.values()))
        with nullcontext() if into else context("default"):
            return draw(*args, **options)

    return drawn


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, without pyplot: nothing global is touched, and nothing has to be closed."""
    figure = _OwnFigure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def title_and_reading(figure: Figure, axes: Axes, title: str, reading: str) -> None:
    """What the picture shows, above it, and one line on how to read it, below."""
    axes.set_title(title, loc="left", fontsize=13, color=INK, fontweight="bold", pad=10, parse_math=False)
    reading_below(figure, reading)


def reading_below(figure: Figure, reading: str) -> None:
    """How to read the picture, below it."""
    figure.supxlabel(reading, fontsize=9.5, color=QUIET, ha="left", x=0.01, parse_math=False)


def plain(axes: Axes) -> None:
    """No frame, and quiet ticks."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=9.5, labelcolor=INK)


def name_columns(axes: Axes, at: Sequence[float], names: Sequence[str], rotation: float = 55) -> None:
    """Names along the x axis, shown as they are: a layer's name is never read as mathematics."""
    axes.set_xticks(at, names, rotation=rotation, ha="right", rotation_mode="anchor", parse_math=False)


def name_rows(axes: Axes, at: Sequence[float], names: Sequence[str]) -> None:
    """Names along the y axis, likewise."""
    axes.set_yticks(at, names, parse_math=False)


def both_witnesses(record: Record) -> NDArray[np.float64]:
    """``(L, L)`` similarities: above the diagonal the matrix the groups were found in, below it the paired measure."""
    gw = viewable(record.gw)
    above = gw.similarity if record.found_in == "gw" else record.found_similarity()
    return np.asarray(np.triu(above) + np.tril(gw.identity_similarity, -1))


@own_style
def draw_matrix(found: Record | GWMatrix, ax: Axes | None = None) -> Figure:
    """Draw the similarity of every layer to every other at one look.

    The scale runs from 0 to 1 whatever the record holds, so that the pictures of all steps and runs compare.

    Args:
        found: The look, or a matrix by itself, whose groups are then found here, held against no reference.
        ax: Axes to draw into, without colour bar and reading; a figure of its own where None.

    Returns:
        The figure: above the diagonal the matrix that the groups were found in, below it the paired measure, groups
        outlined in their lasting colours.

    Raises:
        ValueError: If the geometry has no unit scale and no exact conversion to one that has, or if the matrix is one
            between two sets of layers.
    """
    matrix = found if isinstance(found, GWMatrix) else found.gw
    if matrix.other_layers is not None:
        raise ValueError(
            "This matrix is between two sets of layers, and a look is at one. Draw it with "
            "lightning_gw.figures.draw_rectangle(gw)."
        )
    record = _as_record(found) if isinstance(found, GWMatrix) else found
    count = len(record.layers)
    values = both_witnesses(record)
    figure = new_figure(8.2, 8.0) if ax is None else cast(Figure, ax.figure)
    axes = figure.add_subplot() if ax is None else ax
    axes.set_facecolor(NO_EVIDENCE)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=COLORMAP, vmin=0, vmax=1, interpolation="nearest")
    write_values(axes, values, diagonal=False)
    _outline_groups(axes, record)
    names, shown = axis_names(record.layers), thinned(count, 25)
    name_columns(axes, shown, [names[i] for i in shown])
    name_rows(axes, shown, [names[i] for i in shown])
    axes.set_xlabel("layer, in depth order", fontsize=10, color=QUIET)
    axes.set_ylabel("layer, in depth order", fontsize=10, color=QUIET)
    plain(axes)
    title = matrix_title(record)
    if isinstance(found, GWMatrix):  # it knows no steps
        title = title.removeprefix(f"Step {record.step}: ")
        title = title[:1].upper() + title[1:]
    if ax is None:
        similarity_bar(figure, axes, image)
        title_and_reading(figure, axes, title, _reading(record, viewable(record.gw)))
    else:
        axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    return figure


def _as_record(matrix: GWMatrix) -> Record:
    """The matrix with its groups, in the form that the pictures are drawn from."""
    return Record(
        step=0,
        epoch=0,
        layers=matrix.layers,
        gw=matrix,
        groups=find_groups(matrix),
        groups_paired=find_groups(matrix.identity_distance),
        group_ids=(),
        events=(),
        growth=np.ones(max(0, len(matrix.layers) - 1)),
        measures={},
        probe={},
    )


def similarity_bar(figure: Figure, axes: Axes, image: AxesImage) -> None:
    """The colour bar of a similarity picture."""
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label(SIMILARITY, fontsize=10, color=QUIET)
    bar.set_ticks([0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9.5, length=0)


def matrix_title(record: Record) -> str:
    """What the matrix shows, in one line."""
    groups = record.groups
    if record.before_training:
        steps = ", ".join(str(k + 1) for k in groups.built_in)
        own = f"largest steps of the architecture itself after layers {steps}" if steps else "an even architecture"
        return f"Step {record.step}, before training: {own}"
    if groups.strength == "none":
        beyond = ", beyond the architecture's own steps" if groups.built_in else ", similarity falls off smoothly"
        return f"Step {record.step}: no groups{beyond}"
    return f"Step {record.step}: {plural(groups.count, 'group')}, {groups.ranges()} ({groups.strength})"


def _reading(record: Record, gw: GWMatrix) -> str:
    above = {
        "gw": "GW similarity at the best matching found (the least it can be)",
        "gw_anchored": "anchored GW similarity, in which the groups were found",
        "gw_unpaired": "unpaired GW similarity, in which the groups were found",
    }.get(record.found_in, record.found_in)
    lines = [
        f"How to read: bright squares along the diagonal are layers that arrange the inputs alike. Above the diagonal\n"
        f"{above}, below it the paired view, {paired_name(gw)}.",
        "Colours change faster towards 1, where most similarities lie.",
    ]
    if record.groups.built_in:
        lines.append("Dashed grey: steps the architecture has by itself, which an untrained network takes as well.")
    if record.groups.sequence_ends:
        lines.append("Dash-dotted: one sequence of layers ends and another begins, such as encoder and decoder.")
    return "\n".join([*lines, *left_out(gw.degenerate)])


def left_out(degenerate: Mapping[str, str]) -> list[str]:
    """One line that names the grey layers and why they are grey; no line where there are none."""
    reasons = "; ".join(f"{name} ({reason})" for name, reason in degenerate.items())
    return [f"Grey, left out: {reasons}."] if reasons else []


def write_values(axes: Axes, values: NDArray[np.float64], diagonal: bool = True) -> None:
    """The values in their cells, where there are few enough to be read."""
    if max(values.shape) > VALUES_UP_TO:
        return
    for (row, column), value in np.ndenumerate(values):
        if (diagonal or row != column) and np.isfinite(value):
            colour = INK if value > INK_FROM else "white"
            text = axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color=colour)
            text.set_in_layout(False)  # it lies within the cells: no margin need be found for it


def _outline_groups(axes: Axes, record: Record) -> None:
    for boundary in sorted(set(record.groups.built_in) - set(record.groups.boundaries)):
        for across in (axes.axhline, axes.axvline):
            across(boundary + 0.5, color="white", linewidth=2.4, zorder=2.4)
            across(boundary + 0.5, color=QUIET, linewidth=1.5, dashes=(3, 2.5), zorder=2.5, gid="built-in")
    for end in record.groups.sequence_ends:
        for across in (axes.axhline, axes.axvline):
            across(end + 0.5, color="white", linewidth=3.4, zorder=2.6)
            across(end + 0.5, color=INK, linewidth=1.8, linestyle="-.", zorder=2.7, gid="sequence-end")
    if record.groups.strength == "none":
        return
    identities = group_identities(record)
    for group, first, last in runs_of_layers(record.groups):
        if group < 0:
            continue
        corner, size = (first - 0.5, first - 0.5), last - first + 1
        strong = record.groups.strength == "strong"
        for name, colour, width, dashes in (
            ("halo", "white", 6.5, "-"),  # tells the outline from cells of a similar colour
            (f"group-{identities[group]}", group_colour(identities[group]), 3.2, "-" if strong else (0, (2.2, 1.2))),
        ):
            outline = Rectangle(
                corner,
                size,
                size,
                fill=False,
                linewidth=width,
                edgecolor=colour,
                linestyle=dashes,
                zorder=3,
                clip_on=False,
            )
            outline.set_gid(name)
            axes.add_patch(outline)


@own_style
def draw_rectangle(gw: GWMatrix, ax: Axes | None = None) -> Figure:
    """Draw the similarity of every layer of one set to every layer of another.

    There are no groups in it, and no second measure: a layer is not paired with itself anywhere.

    Args:
        gw: ``gw_matrix(representations, others)``.
        ax: Axes to draw into, without colour bar and reading; a figure of its own where None.

    Returns:
        A figure: rows are the first set, columns the second, on a scale from 0 to 1.

    Raises:
        ValueError: If the geometry has no unit scale and no exact conversion to one that has.
    """
    gw = viewable(gw)
    rows, columns = gw.distortion.shape
    longest = max(rows, columns)  # cells are square; the floors leave room for title and reading
    size = 3.2 + 5.0 * max(0.7, columns / longest), 3.0 + 5.0 * max(0.4, rows / longest)
    figure = new_figure(*size) if ax is None else cast(Figure, ax.figure)
    axes = figure.add_subplot() if ax is None else ax
    axes.set_facecolor(NO_EVIDENCE)
    values = gw.similarity
    image = axes.imshow(np.ma.masked_invalid(values), cmap=COLORMAP, vmin=0, vmax=1, interpolation="nearest")
    write_values(axes, values)
    row_names, column_names = axis_names(gw.layers), axis_names(gw.columns)
    shown = thinned(columns, 25)
    name_columns(axes, shown, [column_names[i] for i in shown])
    shown = thinned(rows, 25)
    name_rows(axes, shown, [row_names[i] for i in shown])
    axes.set_xlabel("layers of the second set, in depth order", fontsize=10, color=QUIET)
    axes.set_ylabel("layers of the first set, in depth order", fontsize=10, color=QUIET)
    plain(axes)
    count = plural(rows, "layer")
    reading = (
        "How to read: a bright cell is a layer of each set that arrange the inputs alike,\n"
        "by GW similarity at the best matching found (the least it can be)."
    )
    degenerate = {**gw.degenerate, **{f"{name} of the second set": why for name, why in gw.other_degenerate.items()}}
    title = f"{count[:1].upper()}{count[1:]} against {plural(columns, 'layer')} of another set"
    if ax is None:
        similarity_bar(figure, axes, image)
        title_and_reading(figure, axes, title, "\n".join([reading, *left_out(degenerate)]))
    else:
        axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    return figure


def headline_and_reading(figure: Figure, title: str, reading: str) -> None:
    """What the picture shows, above all panels, and how to read it, below them."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold", color=INK, parse_math=False)
    reading_below(figure, reading)


def shared_bar(figure: Figure, grid: NDArray[np.object_], image: AxesImage, label: str) -> None:
    """The colour bar that all panels of a grid, an array of axes, share."""
    bar = figure.colorbar(image, ax=grid, fraction=0.02, pad=0.01, shrink=min(1.0, 1.6 / len(grid) + 0.2))
    bar.set_label(label, fontsize=10, color=QUIET)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9.5, length=0)
