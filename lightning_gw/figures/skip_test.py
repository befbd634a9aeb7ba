"""The skip test's picture: what the network loses without each layer, over depth, and what measures say of it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from lightning_gw.figures.matrix import name_columns, new_figure, own_style, plain, title_and_reading
from lightning_gw.figures.style import NO_EVIDENCE, OKABE_ITO, QUIET, group_colour, short_names, thinned
from lightning_gw.groups.groups import layer_ranges
from lightning_gw.interventions.passing import PASSING_MEASURES
from lightning_gw.interventions.skips import WORDS, SkipTest, signed
from lightning_gw.utilities.text import plural

#: From this ratio of the largest damage to the middle one on, small damages would not be seen on a linear axis.
SPREAD = 25.0
_DASHES = ("-", "--", ":")


@own_style
def draw_skip_test(found: SkipTest) -> Figure:
    """Draw the damage without each layer as bars over depth, with the groups' outlines, above what measures say.

    Args:
        found: What `skip_test` gave.

    Returns:
        A figure of two panels on one x axis.
    """
    count = len(found.layers)
    figure = new_figure(max(8.6, 3.4 + 0.22 * count), 6.4)
    grid = figure.add_gridspec(2, 1, height_ratios=[2.0, 1.1])
    above = figure.add_subplot(grid[0])
    below = figure.add_subplot(grid[1], sharex=above)
    _draw_damage(above, found)
    _draw_measures(below, found)
    shown = thinned(count, 25)
    names = short_names([row.layer for row in found.layers])
    name_columns(below, shown, [names[place] for place in shown])
    below.set_xlabel("layer, in depth order", fontsize=10, color=QUIET)
    below.set_xlim(-0.7, count - 0.3)
    above.tick_params(labelbottom=False)
    plain(above)
    plain(below)
    title_and_reading(figure, above, _title(found), _reading(found))
    return figure


def _draw_damage(axes: Axes, found: SkipTest) -> None:
    damage, errors = found.damage, np.array([row.error for row in found.layers])
    known = np.flatnonzero(np.isfinite(damage))
    labels = found.labels or (-1,) * len(damage)
    colours = [group_colour(labels[place]) if labels[place] >= 0 else QUIET for place in known]
    bars = axes.bar(known, damage[known], width=0.72, color=colours, zorder=2)
    for place, bar in zip(known, bars, strict=True):
        bar.set_gid(f"layer-{place}")
    if np.isfinite(errors[known]).all() and len(known):
        axes.errorbar(known, damage[known], yerr=errors[known], fmt="none", ecolor="#1b1f24", elinewidth=1, zorder=3)
    sizes = np.abs(damage[known])
    middle = float(np.median(sizes)) if len(known) else 0.0
    if middle > 0 and sizes.max() > SPREAD * middle:
        axes.set_yscale("symlog", linthresh=middle)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = axes.get_ylim()
    for place in np.flatnonzero(~np.isfinite(damage)):
        axes.axvspan(place - 0.36, place + 0.36, color=NO_EVIDENCE, hatch="xx", alpha=0.5, gid=f"kept-{place}")
    for group in found.groups if found.labels else ():
        first, last = group.members[0], group.members[-1]
        outline = Rectangle(
            (first - 0.48, low),
            last - first + 0.96,
            high - low,
            fill=False,
            linewidth=2,
            linestyle="-" if found.strength == "strong" else "--",
            edgecolor=group_colour(found.labels[first]) if found.labels else QUIET,
            gid=f"group-{first}",
        )
        axes.add_patch(outline)
    axes.set_ylim(low, high)
    axes.axhline(0, color=QUIET, linewidth=1)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8, zorder=0)
    word = "rise" if found.mode == "min" else "fall"
    axes.set_ylabel(f"{word} of {found.metric}\nwithout the layer", fontsize=10, color=QUIET, parse_math=False)


def _draw_measures(axes: Axes, found: SkipTest) -> None:
    correlations = found.correlations()
    for measure, dashes, colour in zip(
        PASSING_MEASURES, _DASHES, (OKABE_ITO[0], OKABE_ITO[5], OKABE_ITO[2]), strict=True
    ):
        values = np.array([getattr(row, measure) for row in found.layers])
        most = np.nanmax(values, initial=0.0) if np.isfinite(values).any() else 0.0
        if most > 0:
            rank = correlations[measure]
            told = f"{WORDS[measure]} (rank correlation {signed(rank)})" if np.isfinite(rank) else WORDS[measure]
            axes.plot(
                values / most, dashes, color=colour, marker="o", markersize=3.5, linewidth=1.6, label=told, gid=measure
            )
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
    axes.set_ylabel("change through the layer\n(share of the largest)", fontsize=10, color=QUIET)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=9.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _title(found: SkipTest) -> str:
    damage = found.damage
    if not np.isfinite(damage).any():
        return "No layer could be left out"
    worst = int(np.nanargmax(damage))
    return f"{found.metric} suffers most without layer {worst + 1}, {found.layers[worst].layer}"


def _reading(found: SkipTest) -> str:
    lines = ["How to read: a high bar is a layer the network cannot do without; hatched layers cannot be left out."]
    if found.labels and found.groups:
        lines.append(
            f"Layers of one colour and box are a group{'' if found.strength == 'strong' else ' (dashed: weak)'}."
        )
    for group in found.groups:
        where = f"{layer_ranges(group.members)}: without its {plural(len(group.interior), 'interior layer')}"
        if group.reason:
            lines.append(f"Group {where}: not possible.")
            continue
        blocks = "the one other such block" if len(group.controls) == 1 else f"{len(group.controls)} other such blocks"
        control = f", without {blocks} {signed(group.control_rise)} on average" if group.controls else ""
        lines.append(f"Group {where} {signed(group.rise)}{control} ({found.metric} of the whole: {found.whole:.3g}).")
    return "\n".join(lines)
