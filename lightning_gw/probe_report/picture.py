"""The picture of a probe report: settings and their draws as rows, layers as columns, cells coloured by group."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.optimize import linear_sum_assignment

from lightning_gw.figures.matrix import name_columns, name_rows, new_figure, own_style, plain, title_and_reading
from lightning_gw.figures.style import (
    INK,
    NO_EVIDENCE,
    QUIET,
    axis_names,
    group_fill,
    thinned,
)
from lightning_gw.figures.timeline import draw_block, group_legend
from lightning_gw.measures.agreement import adjusted_rand_index
from lightning_gw.probe_report.findings import ProbeLook, ProbeReport

#: Space between the rows of two settings, in rows.
_GAP = 0.5
#: Letters of a row that could not be looked through.
_LONGEST_REASON = 110


@own_style
def draw_probe_report(report: ProbeReport) -> Figure:
    """Draw which group each layer belongs to under every setting and draw.

    Args:
        report: The report.

    Returns:
        A figure: one row a draw, the rows of a setting together, one column a layer. Groups have the colour of the
        group of the first look that they share most layers with, which is the run's own where it has groups; weak ones
        are hatched, and grey are draws without groups.
    """
    layers, rows = len(report.layers), sum(max(len(found.looks), 1) for found in report.settings)
    figure = new_figure(max(8.6, 0.5 * layers + 4.2), 0.24 * rows + 0.13 * len(report.settings) + 2.4)
    axes = figure.add_subplot()
    grouped = [look for found in report.settings for look in found.looks if look.strength != "none"]
    named = (grouped or report.own.looks)[0]  # the run's own wherever it has groups
    top, ticks = 0.0, []
    for found in report.settings:
        height = max(len(found.looks), 1)
        ticks.append((top + height / 2, found.label))
        for place, look in enumerate(found.looks):
            _draw_look(axes, look, named, top + place)
        if not found.looks:
            reason = textwrap.shorten(f"not looked through: {found.why}", _longest(layers), placeholder=" …")
            axes.text(-0.42, top + 0.5, reason, va="center", fontsize=8.5, color=QUIET, parse_math=False)
        top += height + _GAP
    axes.set_xlim(-0.5, layers - 0.5)
    axes.set_ylim(top - _GAP + 0.05, -0.05)
    name_rows(axes, [at for at, _ in ticks], [label for _, label in ticks])
    names, shown = axis_names(report.layers), thinned(layers, 25)
    name_columns(axes, shown, [names[i] for i in shown], rotation=40)
    axes.set_xlabel("layer, in depth order", fontsize=10, color=QUIET)
    axes.set_ylabel("setting; one row a draw of the probe", fontsize=10, color=QUIET)
    plain(axes)
    group_legend(axes, Patch(facecolor="white", edgecolor=NO_EVIDENCE, hatch="xx", label="left out"))
    reading = (
        "How to read: rows that look like those at the top find the groups of the run. Rows of one setting differ in "
        "the probe\ninputs alone. Dark lines are boundaries; alike colours are alike groups."
    )
    title_and_reading(figure, axes, _title(report), reading)
    return figure


def _title(report: ProbeReport) -> str:
    looks = [look for found in report.settings for look in found.looks]
    own = report.own.looks[0]
    same = sum(adjusted_rand_index(look.labels, own.labels) == 1 for look in looks)
    found = "no groups, like the run" if own.strength == "none" else "the groups of the run"
    return f"{same} of {len(looks)} look{'s' if len(looks) > 1 else ''} find {found}"


def _longest(layers: int) -> int:
    return min(_LONGEST_REASON, max(60, 9 * layers))


def colours(look: ProbeLook, own: ProbeLook) -> list[int]:
    """For each group of `look` the group of `own` that it shares most layers with, each taken once; others are new."""
    groups, known = (max(max(labels.labels, default=0), 0) + 1 for labels in (look, own))
    overlap = np.zeros((groups, known))
    for here, there in zip(look.labels, own.labels, strict=True):
        if here >= 0 and there >= 0:
            overlap[here, there] += 1
    matched = dict(zip(*linear_sum_assignment(-overlap), strict=True))
    new = iter(range(known, known + groups))
    return [
        int(matched[group]) if group in matched and overlap[group, matched[group]] > 0 else next(new)
        for group in range(groups)
    ]


def _draw_look(axes: Axes, look: ProbeLook, own: ProbeLook, top: float) -> None:
    identities = colours(look, own)
    for layer, label in enumerate(look.labels):
        identity = identities[label] if label >= 0 else label
        colour, hatch = group_fill(identity, look.strength)
        named = "none" if look.strength == "none" else f"group-{identity}"
        draw_block(axes, (layer - 0.5, top + 0.03), 1.0, 0.94, colour, hatch, "left-out" if label < 0 else named)
    for boundary in look.boundaries:
        axes.plot([boundary + 0.5] * 2, [top + 0.03, top + 0.97], color=INK, linewidth=2.2, zorder=3, gid="boundary")
