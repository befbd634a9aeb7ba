"""The table of strategy against strategy: effect sizes and corrected p-values, with every cell in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_gw.figures.comparisons.contrasts import effect_colour, ink_on, is_significant
from lightning_gw.figures.style import effect_text, estimate_text, p_text
from lightning_gw.statistics.results import Contrast, TaskComparison


@dataclass(frozen=True)
class PairCell:
    """One pair of strategies by one way to measure.

    Attributes:
        effect: Effect size, or "–".
        p: Corrected p-value in short.
        spoken: The whole in words.
        significant: Whether the difference is more than chance.
        colour: Of the cell by its effect; None where it is not significant, or has no size.
        ink: Of its text on that colour.
    """

    effect: str
    p: str
    spoken: str
    significant: bool
    colour: str | None
    ink: str | None


@dataclass(frozen=True)
class PairTable:
    """Strategy against strategy: groups above the diagonal, matrices below.

    Attributes:
        rows: Name and accuracy of every strategy, and its cells; None on the diagonal and where nothing was compared.
    """

    rows: tuple[tuple[str, str, tuple[PairCell | None, ...]], ...]


def pair_table(comparison: TaskComparison, limit: float) -> PairTable | None:
    """The table of a task, or None where there are not two strategies.

    Args:
        comparison: The strategies of the task.
        limit: Top of the scale of effects, the same for all tasks of a page.
    """
    names = [summary.strategy for summary in comparison.strategies]
    if len(names) < 2:
        return None
    cells: dict[tuple[int, int], PairCell] = {}
    for contrast in comparison.contrasts:
        low, high = sorted((names.index(contrast.one), names.index(contrast.other)))
        cells[(low, high) if contrast.by == "groups" else (high, low)] = _cell(contrast, limit)
    rows = tuple(
        (
            summary.strategy,
            estimate_text(summary.accuracy),
            tuple(cells.get((row, column)) for column in range(len(names))),
        )
        for row, summary in enumerate(comparison.strategies)
    )
    return PairTable(rows)


def _cell(contrast: Contrast, limit: float) -> PairCell:
    significant = is_significant(contrast)
    colour = effect_colour(contrast, limit) if significant else None
    return PairCell(
        effect=effect_text(contrast.effect),
        p=p_text(contrast.p_corrected).removeprefix("p ").removeprefix("= "),
        spoken=_spoken(contrast),
        significant=significant,
        colour=colour,
        ink=None if colour is None else ink_on(colour),
    )


def _spoken(contrast: Contrast) -> str:
    pair = f"{contrast.one} and {contrast.other}, by {contrast.by}"
    if not math.isfinite(contrast.between):
        return f"{pair}: not compared, for want of runs with different seeds."
    parts = [f"{contrast.between:.2f} apart between the two"]
    if math.isfinite(contrast.within):
        parts[0] += f" and {contrast.within:.2f} within one"
    parts.append(
        f"effect {effect_text(contrast.effect)}"
        if math.isfinite(contrast.effect)
        else "no effect size, since it is not known how far seeds vary"
    )
    if math.isfinite(contrast.p_corrected):
        verdict = "more than chance" if is_significant(contrast) else "no more than chance"
        parts.append(f"{p_text(contrast.p_corrected)} corrected for all pairs, {verdict}")
    else:
        parts.append("too few runs for a test")
    return f"{pair}: {'; '.join(parts)}."
