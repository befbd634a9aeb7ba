"""What a comparison of strategies found, in words: every claim with its figures, its p-value and its number of runs.

Layers are counted from 1 here, as people count; findings count from 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lightning_gw.statistics.permutation_test import FEWEST_SEEDS
from lightning_gw.statistics.results import (
    DIFFERENCES,
    Contrast,
    Estimate,
    Overall,
    StrategySummary,
    TaskComparison,
)
from lightning_gw.statistics.verdict import CHANGES, LEVEL, next_step, verdict
from lightning_gw.utilities.text import listed, number_word, plural

#: So many pairs, and boundaries of a strategy, are named; the rest is counted.
MOST_NAMED = 5

_UNITS = {
    "groups": "one minus the adjusted Rand index of their groups",
    "matrices": "root mean square between their similarity matrices",
}


def task_sentences(comparison: TaskComparison) -> list[str]:
    """The answer of a comparison, the most important first.

    Args:
        comparison: The strategies of one task against each other.

    Returns:
        Sentences: the `verdict`; where the boundaries of each strategy sit; for groups and for matrices, by how much
        strategies and seeds differ and which pairs of strategies do after correction; how small the p-value of a pair
        can be where that keeps a difference from being told; what to do next. What must be known besides is in the
        comparison's ``notes``.
    """
    sentences = [verdict(comparison), *_boundaries_sentence(comparison.strategies)]
    if all(len(summary.findings) < FEWEST_SEEDS for summary in comparison.strategies):
        return [*sentences, next_step(comparison)]
    for by in DIFFERENCES:
        if by in comparison.overall:
            sentences.append(_overall_sentence(comparison.overall[by], comparison))
            sentences += _pair_sentences([contrast for contrast in comparison.contrasts if contrast.by == by])
    return [*sentences, *_limit_sentence(comparison), next_step(comparison)]


def strategy_sentence(summary: StrategySummary) -> str:
    """One strategy in a sentence: its groups, boundaries, convergence and accuracy, each with its interval.

    Args:
        summary: The strategy over its seeds.
    """
    runs = len(summary.findings)
    parts = [_groups_phrase(summary)]
    shares = _most_often(summary)
    if shares:
        named = [f"after layer {gap + 1}{_share(share)}" for gap, share in shares[:MOST_NAMED]]
        rest = len(shares) - MOST_NAMED
        named += [f"at {plural(rest, 'further place')} no more often"] if rest > 0 else []
        parts.append(f"{'boundaries' if len(shares) > 1 else 'a boundary'} {listed(named)}")
    if summary.converged.runs:
        step = f"step {summary.converged.value:.0f}{_interval(summary.converged, '.0f')}"
        parts.append(f"groups unchanged from {step} on{_in(summary.converged.runs, runs)}")
    moving = sum(run.strength != "none" and run.converged is None for run in summary.findings)
    if moving:
        parts.append(f"groups not seen to settle by the last look{_in(moving, runs)}")
    if summary.accuracy.runs:
        known = "" if summary.accuracy.runs == runs else f", known of {plural(summary.accuracy.runs, 'run')}"
        parts.append(f"accuracy {summary.accuracy.value:.3f}{_interval(summary.accuracy, '.3f')}{known}")
    if np.isfinite(summary.agreement.value):
        agreement = f"{summary.agreement.value:.2f}{_interval(summary.agreement, '.2f')}"
        parts.append(f"adjusted Rand index between the groups of two runs {agreement}")
    return f"{summary.strategy} ({plural(runs, 'run')}): {'; '.join(parts)}."


def _overall_sentence(overall: Overall, comparison: TaskComparison) -> str:
    changes = CHANGES[overall.by]
    who = f"{plural(overall.runs, 'run')} of {_strategies(overall.strategies)}"
    if np.isnan(overall.p):
        return f"Whether the strategy changes {changes} was not tested: {_runs_there_are(comparison)}."
    figures = (
        f"runs of different strategies differ by {overall.between:.3f}, runs of one strategy by {overall.within:.3f} "
        f"({_UNITS[overall.by]}, pairs of different seeds), and the strategy explains {overall.share:.0%} of the "
        f"variance of runs"
    )
    test = f"p = {overall.p:.2g} from {overall.permutations} relabellings within seeds; {who}"
    if overall.between == overall.within == 0:
        return f"All runs are alike in {changes} ({test})."
    return f"In {changes}, {figures} ({test})."


def _pair_sentences(contrasts: Sequence[Contrast]) -> list[str]:
    """Which pairs of strategies differ after correction; nothing where there is but one, or all runs are alike."""
    tested = sorted(
        (contrast for contrast in contrasts if np.isfinite(contrast.p_corrected)),
        key=lambda contrast: (contrast.p_corrected, contrast.within - contrast.between),
    )
    if len(tested) < 2 or not any(contrast.between or contrast.within for contrast in tested):
        return []
    changes = CHANGES[tested[0].by]
    differ = [contrast for contrast in tested if contrast.p_corrected < LEVEL]
    corrected = f"Corrected for all {number_word(len(tested))} pairs of strategies"
    if not differ:
        return [f"{corrected}, no two can be told apart in {changes}; nearest to it are {_pair(tested[0])}."]
    named = "; ".join(_pair(contrast) for contrast in differ[:MOST_NAMED])
    rest = len(differ) - MOST_NAMED
    more = f"; and {plural(rest, 'more pair')}" if rest > 0 else ""
    pairs = "pair differs" if len(differ) == 1 else "pairs differ"
    return [f"{corrected}, {number_word(len(differ))} {pairs} in {changes}: {named}{more}."]


def _pair(contrast: Contrast) -> str:
    effect = f", effect {contrast.effect:.1f}" if np.isfinite(contrast.effect) else ""
    return (
        f"{contrast.one} and {contrast.other} ({contrast.between:.3f} apart against {contrast.within:.3f} within"
        f"{effect}, corrected p = {contrast.p_corrected:.2g})"
    )


def _limit_sentence(comparison: TaskComparison) -> list[str]:
    """How small the p-value of a pair by itself can get, where so few seeds keep it from telling anything."""
    smallest = [pair.smallest for pair in comparison.contrasts if np.isfinite(pair.smallest)]
    if len(comparison.strategies) < 3 or not smallest or min(smallest) < LEVEL:  # of two, the verdict says it
        return []
    most = max(len(summary.findings) for summary in comparison.strategies)
    return [
        f"With {plural(most, 'seed')} no pair of strategies by itself can reach p below {min(smallest):.2g}; corrected "
        "p-values learn the noise from all strategies, and can be smaller."
    ]


def _boundaries_sentence(strategies: Sequence[StrategySummary]) -> list[str]:
    """Where boundaries sit in most runs of each strategy, or that they do nowhere.

    Strategies of which the same is true are named together, those without a boundary last.
    """
    alike: dict[tuple[int, tuple[tuple[int, int], ...]], list[str]] = {}
    for summary in strategies:
        runs = max((share.runs for share in summary.boundary_share), default=0)
        if runs:
            found = tuple((gap, round(share.value * runs)) for gap, share in _most_often(summary))
            usual = tuple(sorted((gap, count) for gap, count in found if 2 * count > runs))
            # Where no place is usual, all that is told is how often the most frequent one has a boundary.
            told = usual or tuple((-1, count) for _, count in found[:1])
            alike.setdefault((runs, told), []).append(summary.strategy)
    clauses = [f"in {_named(names)} {_where(told, runs, len(names))}" for (runs, told), names in alike.items() if told]
    for (runs, told), names in alike.items():
        if not told:
            among = f" in any of {runs} runs{_each(len(names))}" if runs > 1 else ""
            clauses.append(f"in {_named(names)} {'there is none' if clauses else 'no boundary stands'}{among}")
    return [f"I{'; '.join(clauses)[1:]}."] if clauses else []


def _where(told: Sequence[tuple[int, int]], runs: int, strategies: int) -> str:
    """After which layers boundaries stand, and in how many runs, as the rest of a clause that names the strategies."""
    often = [f" in {count} of {runs}" for _, count in told]
    if told[0][0] < 0:
        return f"no place has a boundary in more than {told[0][1]} of {runs} runs{_each(strategies)}"
    if len(set(often)) > 1:
        places = listed([f"after layer {gap + 1}{times}" for (gap, _), times in zip(told, often, strict=True)])
        return f"boundaries stand {places} runs{_each(strategies)}"
    layers = f"layer{'s' if len(told) > 1 else ''} {listed([str(gap + 1) for gap, _ in told])}"
    stand = f"{'boundaries stand' if len(told) > 1 else 'a boundary stands'} after {layers}"
    return f"{stand}{often[0]} runs{_each(len(told) * strategies)}" if runs > 1 else stand


def _each(what: int) -> str:
    return " each" if what > 1 else ""


def _named(names: Sequence[str]) -> str:
    """Strategies, or runs side by side, as a list; a name that has a comma itself in quotation marks."""
    return listed([f'"{name}"' if "," in name else name for name in names])


def _most_often(summary: StrategySummary) -> list[tuple[int, Estimate]]:
    """Gaps with a boundary in some run, the most frequent first."""
    found = [(gap, share) for gap, share in enumerate(summary.boundary_share) if share.value > 0]
    return sorted(found, key=lambda item: (-item[1].value, item[0]))


def _groups_phrase(summary: StrategySummary) -> str:
    runs = len(summary.findings)
    counts = Counter(0 if run.strength == "none" else run.count for run in summary.findings)
    told = [
        (plural(count, "group") if count else "no groups", times)
        for count, times in sorted(counts.items(), reverse=True)
    ]
    if len(told) == 1:
        return told[0][0] + ("" if runs == 1 else f" in all {number_word(runs)}")
    return listed([f"{what} in {number_word(times)}" for what, times in told])


def _share(share: Estimate) -> str:
    count = round(share.value * share.runs)
    return f"{_in(count, share.runs)}{_interval(share, '.0%')}"


def _in(count: int, runs: int) -> str:
    """In how many of the runs; nothing to say of a single one."""
    return f" in {_of(count, runs)}" if runs > 1 else ""


def _of(count: int, runs: int) -> str:
    return f"{count} of {runs} {'run' if runs == 1 else 'runs'}"


def _interval(estimate: Estimate, form: str) -> str:
    """The interval in brackets; empty where there is none, and of no width where all values are the same."""
    if not np.isfinite(estimate.low):
        return ""
    if estimate.low == estimate.high:
        return f" (the same in {plural(estimate.runs, 'run')})"
    return f" (95 % interval {estimate.low:{form}} to {estimate.high:{form}})"


def _runs_there_are(comparison: TaskComparison) -> str:
    runs = sum(len(summary.findings) for summary in comparison.strategies)
    return f"there {'is' if runs == 1 else 'are'} {plural(runs, 'run')} of {_strategies(len(comparison.strategies))}"


def _strategies(count: int) -> str:
    return "one strategy" if count == 1 else f"{number_word(count)} strategies"
