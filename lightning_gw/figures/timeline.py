"""The timeline picture: which group each layer belongs to as training goes on, with accuracy and loss below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from lightning_gw.figures.matrix import name_rows, new_figure, own_style, plain, title_and_reading
from lightning_gw.figures.series import Series, accuracy_names, axis_range, loss_names, metric_series
from lightning_gw.figures.style import (
    INK,
    NO_EVIDENCE,
    QUIET,
    StepAxis,
    axis_names,
    group_colour,
    group_fill,
    group_identities,
    pale,
    runs_of_layers,
    thinned,
)
from lightning_gw.groups.tracking.events import Event
from lightning_gw.records.record import Record

_LINES = (INK, "#0072B2", "#D55E00", "#009E73")
#: Columns that a picture of this width can show; of more looks it would only take longer to draw.
MOST_COLUMNS = 60


@own_style
def draw_timeline(history: Sequence[Record]) -> Figure:
    """Draw one run's groups over training, and how well it learned on the same axis.

    Args:
        history: Every look of one run, at least one.

    Returns:
        A figure: one column a look, one row a layer, each group in the colour it keeps for life; below it the accuracy
        and loss panels for which the run has scalars. Of more than `MOST_COLUMNS` looks as many are drawn, evenly along
        the axis, and the picture says so.

    Raises:
        ValueError: If the history is empty.
    """
    if not history:
        raise ValueError("A timeline needs at least one look; this history holds none.")
    series = metric_series(history)
    panels = [(label, names) for label, names in _panels(series) if names]
    layers = len(history[-1].layers)
    strips = min(6.5, max(2.6, 0.34 * layers))
    figure = new_figure(9.6, strips + 1.45 * len(panels) + 1.6)
    grid = figure.add_gridspec(1 + len(panels), 1, height_ratios=[strips, *(1.3 for _ in panels)])
    axes = figure.add_subplot(grid[0])
    scale = StepAxis.of(record.step for record in history)
    columns = columns_of(history, scale)
    steps = [record.step for record in columns]
    draw_strips(axes, columns, scale)
    names, shown = axis_names(history[-1].layers), thinned(layers, 25)
    name_rows(axes, shown, [names[i] for i in shown])
    axes.set_ylabel("layer, depth downwards", fontsize=10, color=QUIET)
    plain(axes)
    own = Line2D([], [], color=QUIET, linewidth=1.2, dashes=(3, 2), label="the architecture's\nown step")
    ends = Line2D([], [], color=INK, linewidth=1.6, linestyle="-.", label="one sequence ends,\nanother begins")
    group_legend(
        axes,
        *([own] if any(record.groups.built_in for record in columns) else []),
        *([ends] if any(record.groups.sequence_ends for record in columns) else []),
    )
    lowest = axes
    for row, (label, chosen) in enumerate(panels, 1):
        lowest = figure.add_subplot(grid[row], sharex=axes)
        _draw_series(lowest, series, chosen, scale, label)
    for upper in figure.axes:
        upper.tick_params(labelbottom=upper is lowest)
    at, texts = scale.ticks(steps)
    axes.set_xticks(at, texts)
    axes.set_xlim(*scale.edges(steps)[[0, -1]])
    spacing = "logarithmic" if scale.unit else "linear"
    lowest.set_xlabel(f"training step ({spacing}; ticks are looks)", fontsize=10, color=QUIET)
    missing = "" if panels else "\nNeither accuracy nor loss was logged by this run."
    if left_out := sorted({name for record in history for name in record.gw.degenerate}):
        missing += f"\nCrossed out: {', '.join(left_out)}, which could not be measured at some looks."
    if len(columns) < len(history):
        missing += f"\nDrawn are {len(columns)} of {len(history)} looks, evenly along the axis."
    reading = (
        "How to read: one column is one look at the network; layers of one colour form a group and keep it for life.\n"
        f"Dark lines are boundaries; where they step up or down, a boundary moved.{missing}"
    )
    title_and_reading(figure, axes, timeline_title(history), reading)
    return figure


def columns_of(history: Sequence[Record], scale: StepAxis) -> list[Record]:
    """The looks that are drawn: all, or of many as many as a picture can show, with the events of those left out."""
    if len(history) <= MOST_COLUMNS:
        return list(history)
    at = scale.position(record.step for record in history)
    wanted = np.linspace(at[0], at[-1], MOST_COLUMNS)
    chosen = sorted({0, len(history) - 1, *np.searchsorted(at, wanted).clip(0, len(history) - 1).tolist()})
    steps = [history[look].step for look in chosen]
    told: list[list[Event]] = [[] for _ in chosen]
    for event in (event for record in history for event in record.events):
        column = min(int(np.searchsorted(steps, event.step)), len(chosen) - 1)
        told[column].append(replace(event, step=steps[column]))
    return [replace(history[look], events=tuple(events)) for look, events in zip(chosen, told, strict=True)]


def timeline_title(history: Sequence[Record]) -> str:
    """What the timeline shows, in one line."""
    last = history[-1]
    looks = f"{len(history)} looks" if len(history) > 1 else "one look"
    return f"{looks} up to step {last.step}: {last.summary().replace('  ', ', ')} at the end"


def draw_strips(axes: Axes, history: Sequence[Record], scale: StepAxis) -> None:
    """Draw a run's groups into axes: colours, grey where there are none, boundaries, and a tick at every look."""
    edges = scale.edges([record.step for record in history])
    for column, record in enumerate(history):
        left, width = edges[column], edges[column + 1] - edges[column]
        for first, last, colour, hatch, name in strips_of(record):
            draw_block(axes, (left, first - 0.5), width, last - first + 1, colour, hatch, name)
    _draw_boundaries(axes, history, edges)
    layers = len(history[-1].layers)
    axes.set_ylim(layers - 0.5, -0.5)
    at = scale.position([record.step for record in history])
    axes.plot(at, [layers - 0.5] * len(at), "|", color=INK, markersize=7, clip_on=False, zorder=4, gid="looks")


def strips_of(record: Record) -> list[tuple[int, int, str, str | None, str]]:
    """What one column of the timeline holds: ``(first layer, last layer, colour, hatch, name)`` from top to bottom."""
    identities = group_identities(record)
    strips: list[tuple[int, int, str, str | None, str]] = []
    for group, first, last in runs_of_layers(record.groups):
        identity = identities[group] if group >= 0 else group
        colour, hatch = group_fill(identity, record.groups.strength)
        named = "none" if record.groups.strength == "none" else f"group-{identity}"
        strips.append((first, last, colour, hatch, "degenerate" if group < 0 else named))
    return strips


def draw_block(
    axes: Axes, corner: tuple[float, float], width: float, height: float, colour: str, hatch: str | None, name: str
) -> None:
    """Fill a rectangle as part of a group (see `style.group_fill`), found again by its name.

    Args:
        axes: Where to draw.
        corner: Its smallest x and y.
        width: Along x.
        height: Along y.
        colour: Fill.
        hatch: Hatch; None for none.
        name: Its id in the picture.
    """
    bar = axes.bar(
        corner[0],
        height,
        width,
        bottom=corner[1],
        align="edge",
        color=colour,
        hatch=hatch,
        edgecolor=NO_EVIDENCE if hatch == "xx" else "white" if hatch else colour,
        linewidth=0,
        zorder=1,
    )
    bar[0].set_gid(name)


def _draw_boundaries(axes: Axes, history: Sequence[Record], edges: NDArray[np.float64]) -> None:
    told = [event for record in history for event in record.events]
    own = [set(record.groups.built_in) - set(record.groups.boundaries) for record in history]
    for layer, first, last in _stretches(own):
        axes.plot(
            edges[[first, last + 1]], [layer + 0.5] * 2, color=QUIET, linewidth=1.2, dashes=(3, 2), gid="built-in"
        )
    for layer, first, last in _stretches([set(record.groups.sequence_ends) for record in history]):
        axes.plot(
            edges[[first, last + 1]], [layer + 0.5] * 2, color=INK, linewidth=1.6, linestyle="-.", gid="sequence-end"
        )
    for column, record in enumerate(history):
        for boundary in record.groups.boundaries:
            y = boundary + 0.5
            axes.plot([edges[column], edges[column + 1]], [y, y], color=INK, linewidth=2.4, zorder=3, gid="boundary")
        # A later look may have confirmed what this one showed first.
        for event in (event for event in told if event.step == record.step):
            if event.kind == "boundary_moved" and event.boundary_from is not None and event.boundary_to is not None:
                ends = [event.boundary_from + 0.5, event.boundary_to + 0.5]
                axes.plot([edges[column]] * 2, ends, color=INK, linewidth=2.4, zorder=3, gid="boundary-moved")


def _stretches(marks: Sequence[set[int]]) -> list[tuple[int, int, int]]:
    """``(layer, first column, last column)`` of every unbroken run of columns in which a layer is marked.

    A dashed line that began anew at every narrow column would look like a whole one.
    """
    found: list[tuple[int, int, int]] = []
    for layer in sorted(set[int]().union(*marks)):
        columns = [column for column, marked in enumerate(marks) if layer in marked]
        for _, run in groupby(enumerate(columns), lambda pair: pair[1] - pair[0]):
            places = [column for _, column in run]
            found.append((layer, places[0], places[-1]))
    return found


def group_legend(axes: Axes, *more: Artist) -> None:
    """What the fillings of groups mean, and whatever else the picture holds."""
    example = group_colour(0)
    handles: list[Artist] = [
        Patch(facecolor=example, label="strong group"),
        Patch(facecolor=pale(example), edgecolor="white", hatch="///", label="weak"),
        Patch(facecolor=NO_EVIDENCE, label="no groups"),
        *more,
    ]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), fontsize=9.5, frameon=False)


def _panels(series: Series) -> list[tuple[str, list[str]]]:
    return [("accuracy", accuracy_names(series)), ("loss", loss_names(series))]


def _draw_series(axes: Axes, series: Series, chosen: list[str], scale: StepAxis, label: str) -> None:
    for name, colour in zip(chosen, _LINES, strict=False):
        steps, values = zip(*series[name], strict=True)
        marker = "o" if len(steps) <= 40 else None
        axes.plot(scale.position(steps), values, color=colour, linewidth=1.8, marker=marker, markersize=3.5, label=name)
    drawn = [value for name in chosen for _, value in series[name]]
    axes.set_ylim(axis_range(drawn, shares=label == "accuracy"))
    axes.set_ylabel(label, fontsize=10, color=QUIET)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
    plain(axes)
    legend = axes.legend(fontsize=9.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(False)
