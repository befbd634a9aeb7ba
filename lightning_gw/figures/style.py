"""What all pictures share: colours, the names of layers as labels, and the scale of the step axis."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

from lightning_gw.groups.groups import Groups, Strength
from lightning_gw.gw.result import GWMatrix
from lightning_gw.records.record import Record
from lightning_gw.statistics.results import Estimate, StrategySummary, TaskComparison
from lightning_gw.utilities.text import short_names

#: Okabe and Ito's colours, told apart without colour vision, ordered so that neighbours differ in lightness too. Their
#: black is left out: it draws boundaries.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
INK = "#1b1f24"
QUIET = "#59626d"
NO_EVIDENCE = "#d3d7dc"
#: Most similarities of trained networks lie between .7 and 1. The scale always runs from 0 to 1; its colours, those of
#: cividis (perceptually uniform and readable without colour vision), change faster towards 1 by this exponent.
EMPHASIS = 2.5
#: Similarities from 0 to 1.
COLORMAP = ListedColormap(colormaps["cividis"](np.linspace(0, 1, 256) ** EMPHASIS), "similarity")


def group_colour(identity: int) -> str:
    """The colour a group keeps for life, from its lasting identity."""
    return OKABE_ITO[identity % len(OKABE_ITO)]


def pale(colour: str, towards: str = "#ffffff", amount: float = 0.62) -> str:
    """A colour mixed with a background, for groups that stand out weakly."""
    own, other = (tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (colour, towards))
    return "#" + "".join(f"{round(a + (b - a) * amount):02x}" for a, b in zip(own, other, strict=True))


def group_fill(identity: int, strength: Strength) -> tuple[str, str | None]:
    """Colour and hatch of a group: grey where there are none; an `identity` below 0 is of layers that have no group."""
    if identity < 0:
        return "#ffffff", "xx"
    if strength == "none":
        return NO_EVIDENCE, None
    own = group_colour(identity)
    return (pale(own), "///") if strength == "weak" else (own, None)


def group_identities(record: Record) -> tuple[int, ...]:
    """The lasting identity of every group of a look; the group's index where no tracker gave it one."""
    return record.group_ids or tuple(range(record.groups.count))


def runs_of_layers(groups: Groups) -> list[tuple[int, int, int]]:
    """Every group as unbroken stretches ``(group, first layer, last layer)``; degenerate layers interrupt a group."""
    stretches: list[tuple[int, int, int]] = []
    for layer, label in enumerate(groups.labels):
        if stretches and stretches[-1][0] == label and stretches[-1][2] == layer - 1:
            stretches[-1] = (label, stretches[-1][1], layer)
        else:
            stretches.append((label, layer, layer))
    return stretches


def viewable(gw: GWMatrix) -> GWMatrix:
    """The matrix in a geometry whose distortions read as similarities between 0 and 1.

    Raises:
        ValueError: If its geometry has no unit scale and no exact conversion to one that has.
    """
    return gw if gw.unit_scale else gw.to("standardized")


def axis_names(layers: Sequence[str]) -> tuple[str, ...]:
    """Layer names as axis labels, numbered from 1: ``4 blocks.3``."""
    return tuple(f"{place} {name}" for place, name in enumerate(short_names(layers), 1))


def thinned(count: int, most: int) -> list[int]:
    """Which of `count` labels to show so that at most `most` appear, evenly spaced and starting with the first."""
    return list(range(0, count, max(1, math.ceil(count / most))))


@dataclass(frozen=True)
class StepAxis:
    """Where training steps lie on a picture's x axis.

    Looks are often log-spaced and include step 0, which has no logarithm; position ``log(1 + step / unit)`` is linear
    near 0 and logarithmic beyond, with no free choice but `unit`, the first positive step.

    Attributes:
        unit: First positive step for a logarithmic axis; None for a linear one.
    """

    unit: float | None

    @classmethod
    def of(cls, steps: Iterable[float]) -> StepAxis:
        """The axis for looks at these steps: logarithmic where the gaps between them widen, linear elsewhere."""
        unique = np.unique(np.asarray(list(steps), dtype=float))
        gaps = np.diff(unique)
        if gaps.size < 2 or gaps.max() <= 3 * np.median(gaps[: max(1, gaps.size // 2)]):
            return cls(None)
        return cls(float(unique[unique > 0].min()))

    def position(self, steps: Iterable[float]) -> NDArray[np.float64]:
        """Steps → positions along the axis."""
        values = np.asarray(list(steps), dtype=float)
        return values if self.unit is None else np.log1p(np.maximum(values, 0) / self.unit)

    def edges(self, steps: Sequence[float]) -> NDArray[np.float64]:
        """``(len(steps) + 1,)`` positions where one look's column ends and the next begins, halfway between looks."""
        at = self.position(steps)
        if at.size == 1:
            return np.array([at[0] - 0.5, at[0] + 0.5])
        middle = (at[1:] + at[:-1]) / 2
        return np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])

    def ticks(self, steps: Sequence[int], most: int = 12) -> tuple[NDArray[np.float64], list[str]]:
        """Positions and labels of looks along the axis, thinned until no two of at most `most` crowd each other."""
        at = self.position(steps)
        if at.size < 2:
            return at, [f"{step}" for step in steps]
        room = (at[-1] - at[0]) / most
        kept = [at.size - 1]  # the first and the last look are always named
        for index in range(at.size - 2, 0, -1):
            if at[kept[-1]] - at[index] >= room and at[index] - at[0] >= room:
                kept.append(index)
        kept = [0, *reversed(kept)]
        return at[kept], [f"{steps[index]}" for index in kept]


def estimate_text(estimate: Estimate, digits: int = 2) -> str:
    """``0.95 (0.93–0.97)``; the value alone where there are too few runs for an interval, "–" where there is none."""
    if not math.isfinite(estimate.value):
        return "–"
    text = f"{estimate.value:.{digits}f}"
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return text
    low, high = f"{estimate.low:.{digits}f}", f"{estimate.high:.{digits}f}"
    told = text if low == text == high else f"{text} ({low}–{high})"
    return told.replace("-", "−")


def groups_text(summary: StrategySummary) -> str:
    """How many groups its runs ended with: ``3``, ``none``, or ``3 in 2 of 5 runs, none in 3``."""
    counts = Counter(0 if run.strength == "none" else run.count for run in summary.findings)
    told = [(str(count or "none"), times) for count, times in sorted(counts.items(), reverse=True)]
    if len(told) == 1:
        return told[0][0]
    first, *rest = told
    of = f"{first[0]} in {first[1]} of {len(summary.findings)} runs"
    return ", ".join([of, *(f"{count} in {times}" for count, times in rest)])


def convergence_text(summary: StrategySummary) -> str:
    """Since when the groups stood, and in how many runs they did: ``step 300 (280–320), in 4 of 5 runs``."""
    runs = len(summary.findings)
    if not math.isfinite(summary.converged.value):
        return "not yet" if any(finding.strength != "none" for finding in summary.findings) else "no groups"
    of = "" if summary.converged.runs == runs else f", in {summary.converged.runs} of {runs} runs"
    return f"step {estimate_text(summary.converged, 0)}{of}"


def p_text(p: float) -> str:
    """``p = 0.012``, ``p < 0.001``, or "no test" where nothing could be tested."""
    if not math.isfinite(p):
        return "no test"
    if p < 0.001:
        return "p < 0.001"
    text = f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
    return "p < 0.05" if text == "0.05" and p < 0.05 else f"p = {text}"  # rounding must not change the side


def effect_text(effect: float) -> str:
    """``1.8``, ``−0.3``, or "–" where it is not known how far seeds vary, so that there is no unit to measure in."""
    return f"{effect:.1f}".replace("-0.0", "0.0").replace("-", "−") if math.isfinite(effect) else "–"


def runs_text(comparison: TaskComparison) -> str:
    """``55 runs, 5 of each strategy``, or the least and the most where they differ."""
    counts = [len(summary.findings) for summary in comparison.strategies]
    runs = "1 run" if sum(counts) == 1 else f"{sum(counts)} runs"
    if len(counts) < 2:
        return runs
    each = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f"{runs}, {each} of each strategy"


def wrapped(name: str, width: int = 18) -> str:
    """A strategy's name on several lines, each broken after a separator, so that it fits beside its row."""
    lines = [""]
    for part in re.split(r"(?<=[_\-\s/.])", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
