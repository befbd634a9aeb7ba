"""The answer of a comparison in one or two sentences, and what to do next; the figures are in `description`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lightning_gw.statistics.permutation_test import FEWEST_SEEDS
from lightning_gw.statistics.results import DIFFERENCES, TaskComparison
from lightning_gw.utilities.text import listed, number_word, plural

#: From this p-value on a difference is not told from noise.
LEVEL = 0.05
#: What strategies can differ in, by how that is measured.
CHANGES = {
    "groups": "where the groups sit",
    "matrices": "how similar the layers are to each other",
}


def verdict(comparison: TaskComparison) -> str:
    """What was found, and what so few runs could not have found.

    Args:
        comparison: The strategies of one task against each other.

    Returns:
        Whether strategies differ by more than seeds do, in what, with the p-values; how small p could have become where
        that alone kept a difference from being found; why nothing was tested where nothing was.
    """
    if reason := _why_untested(comparison):
        return f"Not tested: {reason}."
    found = _found(comparison)
    if not found and (smallest := smallest_p(comparison)) >= LEVEL:
        return f"No difference found. With {_seeds(comparison)} this test cannot reach p below {smallest:.2g}."
    if not found:
        return f"No difference found beyond seed noise: {_p_values(comparison, list(comparison.overall))}."
    told = f"The strategy changes {listed([CHANGES[by] for by in found])}, beyond seed noise"
    if p := _p_values(comparison, [by for by in found if comparison.overall[by].p < LEVEL]):
        told += f" ({p})"
    else:
        told += ", for some pairs of strategies"  # all strategies at once are not told apart
    missing = [by for by in comparison.overall if by not in found]
    return f"{told}; no difference found in {listed([CHANGES[by] for by in missing])}." if missing else f"{told}."


def short_verdict(comparison: TaskComparison) -> str:
    """The `verdict` in a clause, for a line about several tasks."""
    if _why_untested(comparison):
        return "not tested"
    if found := _found(comparison):
        return f"the strategy changes {listed([CHANGES[by] for by in found])}"
    return f"no difference found{', nor could so few seeds show one' if smallest_p(comparison) >= LEVEL else ''}"


def next_step(comparison: TaskComparison) -> str:
    """What to do next, given what was found; empty where nothing follows from it."""
    strategies = len(comparison.strategies)
    if strategies < 2:
        return "Next: give the comparison a second strategy; how far seeds differ says nothing without one."
    untested = bool(_why_untested(comparison))
    if untested or (not _found(comparison) and smallest_p(comparison) >= LEVEL):
        needed = fewest_seeds(strategies)
        return (
            f"Next: {number_word(needed)} seeds of each strategy (seeds: {[*range(needed)]} in the config) are the "
            f"fewest with which p can fall below {LEVEL}; the same command keeps the runs that are done."
        )
    if _found(comparison):
        return (
            "Next: see which layers correspond, and ask of one checkpoint of each strategy whether its groups hold "
            "with other probe inputs (lightning-gw probe-report CHECKPOINT -c CONFIG)."
        )
    return (
        "Next: a stronger intervention, or a network on which seeds agree: where runs of one strategy differ among "
        "each other, a small difference between strategies cannot be seen."
    )


def smallest_p(comparison: TaskComparison) -> float:
    """The smallest p-value that the overall tests could have given; NaN where nothing was tested."""
    ways = [overall.permutations for overall in comparison.overall.values() if overall.permutations > 1]
    return 1 / max(ways) if ways else math.nan


def fewest_seeds(strategies: int) -> int:
    """Seeds from which on relabelling so many strategies within them can give p below `LEVEL`."""
    # One seed's labels are given: renaming all strategies throughout changes nothing.
    seeds = FEWEST_SEEDS
    while math.factorial(strategies) ** (seeds - 1) * LEVEL <= 1:
        seeds += 1
    return seeds


def headline_of_tasks(comparisons: Mapping[str, TaskComparison]) -> str:
    """The answer of several tasks in one sentence; that of a single one is its `verdict`."""
    if len(comparisons) == 1:
        return verdict(next(iter(comparisons.values())))
    said = {task: short_verdict(comparison) for task, comparison in comparisons.items()}
    if set(said.values()) == {"not tested"}:
        return "Single runs: a first look at where groups form under each strategy, and no test of a difference."
    return f"{'; '.join(f'{task}: {words}' for task, words in said.items())}."


def _why_untested(comparison: TaskComparison) -> str:
    if any(math.isfinite(overall.p) for overall in comparison.overall.values()):
        return ""
    strategies = comparison.strategies
    if len(strategies) < 2:
        return "there is one strategy, and nothing to compare it with"
    if all(len(summary.findings) < FEWEST_SEEDS for summary in strategies):
        return "with one seed of each strategy, what differs may be the seed"
    return "a test takes two strategies or more with two seeds or more, some of them shared"


def _found(comparison: TaskComparison) -> list[str]:
    pairs = {pair.by for pair in comparison.contrasts if pair.p_corrected < LEVEL}
    return [by for by in DIFFERENCES if by in comparison.overall and (comparison.overall[by].p < LEVEL or by in pairs)]


def _p_values(comparison: TaskComparison, by: list[str]) -> str:
    return ", ".join(
        f"p = {comparison.overall[each].p:.2g} for {each}" for each in by if math.isfinite(comparison.overall[each].p)
    )


def _seeds(comparison: TaskComparison) -> str:
    return plural(max(len(summary.findings) for summary in comparison.strategies), "seed")
