"""Strategy against strategy: how much further apart than seeds, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Iterable

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lightning_gw.figures.matrix import name_columns, name_rows, new_figure, own_style, plain, reading_below
from lightning_gw.figures.style import INK, NO_EVIDENCE, QUIET, effect_text, estimate_text, p_text, runs_text
from lightning_gw.statistics.results import Contrast, TaskComparison

#: A corrected p-value below this counts as more than chance.
LEVEL = 0.05
#: Effects are magnitudes of another kind than similarity, so they take the other of the two scales.
EFFECT_COLORMAP = "viridis"


def effect_limit(contrasts: Iterable[Contrast]) -> float:
    """Top of the scale of effects: the largest one rounded up, at least 1 standard deviation and at most 10."""
    largest = max((c.effect for c in contrasts if math.isfinite(c.effect)), default=0.0)
    return float(min(10, max(1, math.ceil(largest))))


def is_significant(contrast: Contrast) -> bool:
    """Whether two strategies lie further apart than their seeds, beyond chance over all pairs of the task."""
    return contrast.p_corrected < LEVEL and contrast.between > contrast.within


def effect_colour(contrast: Contrast, limit: float) -> str | None:
    """The colour of a pair: by its effect where it is significant, that of no evidence elsewhere.

    None where a significant difference has no size, because it is not known how far seeds vary.
    """
    if not is_significant(contrast):
        return NO_EVIDENCE
    if not math.isfinite(contrast.effect):
        return None
    return to_hex(colormaps[EFFECT_COLORMAP](min(1.0, contrast.effect / limit)))


def ink_on(colour: str) -> str:
    """Black or white, whichever contrasts more with a background: 4.5 to 1 at least (luminance of WCAG 2)."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


@own_style
def draw_contrasts(comparison: TaskComparison) -> Figure:
    """Draw the effect size of every pair of strategies, with its corrected p-value.

    Args:
        comparison: The strategies of one task.

    Returns:
        A figure with one cell per pair: above the diagonal by their groups, below it by their matrices; grey where the
        difference is not more than chance.

    Raises:
        ValueError: If there are not two strategies to compare.
    """
    names = [summary.strategy for summary in comparison.strategies]
    if len(names) < 2:
        raise ValueError(f"The comparison of {comparison.task!r} holds {len(names)} strategy; a pair needs two.")
    limit = effect_limit(comparison.contrasts)
    size = 0.78 * len(names)
    figure = new_figure(max(8.4, 4.6 + size), max(4.2, 3.0 + size))
    axes = figure.add_subplot()
    for contrast in comparison.contrasts:
        low, high = sorted((names.index(contrast.one), names.index(contrast.other)))
        _draw_cell(axes, *((high, low) if contrast.by == "groups" else (low, high)), contrast, limit)
    for place in range(len(names)):
        axes.text(place, place, "·", ha="center", va="center", fontsize=12, color=QUIET)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_aspect("equal")
    accuracy = [estimate_text(summary.accuracy) for summary in comparison.strategies]
    name_rows(axes, range(len(names)), [f"{name}\naccuracy {a}" for name, a in zip(names, accuracy, strict=True)])
    name_columns(axes, range(len(names)), names)
    plain(axes)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, limit), colormaps[EFFECT_COLORMAP]), ax=axes, fraction=0.04, pad=0.02
    )
    bar.set_label(
        "effect size: further apart than seeds,\nin standard deviations between seeds", fontsize=10, color=QUIET
    )
    if any(contrast.effect > limit for contrast in comparison.contrasts):
        bar.set_ticks(range(int(limit) + 1), labels=[*(f"{t}" for t in range(int(limit))), f"≥ {limit:g}"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9.5, length=0)
    axes.set_title(
        f"How far strategies lie apart: {comparison.task}\n{runs_text(comparison)}",
        loc="left",
        fontsize=13,
        fontweight="bold",
        color=INK,
        pad=10,
        parse_math=False,
    )
    sizeless = any(effect_colour(contrast, limit) is None for contrast in comparison.contrasts)
    outlined = "\nOutlined: more than chance, but too few seeds to tell how far they vary." if sizeless else ""
    reading_below(
        figure,
        "How to read: each cell is a pair, with its effect size and corrected p-value. Above the diagonal the pairs\n"
        f"differ in their groups, below it in their matrices. Grey: no more than chance (p ≥ {LEVEL:g}).{outlined}",
    )
    return figure


def _draw_cell(axes: Axes, column: int, row: int, contrast: Contrast, limit: float) -> None:
    colour = effect_colour(contrast, limit)
    outlined = colour is None
    axes.add_patch(
        Rectangle(
            (column - 0.48, row - 0.48),
            0.96,
            0.96,
            facecolor="white" if outlined else colour,
            edgecolor=INK if outlined else "none",
            linewidth=1.6 if outlined else 0,
            gid="pair",
        )
    )
    p = p_text(contrast.p_corrected).replace("p = ", "p ").replace("p < ", "p<")
    ink = ink_on(colour or "#ffffff")
    axes.text(column, row, f"{effect_text(contrast.effect)}\n{p}", ha="center", va="center", fontsize=9, color=ink)
