"""What a comparison of training strategies finds, as numbers with their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightning_gw.utilities.arrays import FloatArray

#: What the difference between two runs is measured by: one minus the adjusted Rand index of their groups, or the root
#: mean squared difference of their similarity matrices.
DIFFERENCES = ("groups", "matrices")


@dataclass(frozen=True)
class Finding:
    """What one run ended with.

    Attributes:
        key: Names the run: its folder relative to the comparison's.
        strategy: Its training strategy.
        seed: Its seed.
        layers: Names of its layers, ``L`` of them, in depth order.
        labels: One group per layer, −1 for a layer in none; all 0 where there are no groups.
        boundaries: k where a group ends after the k-th layer (0-based).
        count: Number of groups; 1 where none stand out.
        strength: ``"none"``, ``"weak"`` or ``"strong"``.
        similarity: ``(L, L)`` Gromov-Wasserstein similarity at the last look, NaN where it was not measured.
        converged: Optimizer step after which the groups did not change any more; None without groups, and where the
            last two looks differ, so that nothing shows that they have stopped.
        accuracy: The metric the comparison names, as last known, or None.
        steps: Optimizer step of the last look.
        seconds: What the run took, or None where that is not known.
    """

    key: str
    strategy: str
    seed: int
    layers: tuple[str, ...]
    labels: tuple[int, ...]
    boundaries: tuple[int, ...]
    count: int
    strength: str
    similarity: FloatArray
    converged: int | None
    accuracy: float | None
    steps: int
    seconds: float | None


@dataclass(frozen=True)
class Estimate:
    """A value over the seeds of a strategy, with a 95 % interval (see `estimates` for which).

    Attributes:
        value: The estimate; NaN where there is nothing to estimate from.
        low: Lower end of the interval; NaN where there are too few runs for one. Both ends are the value itself where
            a mean is of equal values: that is no certainty about further runs.
        high: Upper end.
        runs: Number of runs behind it.
    """

    value: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class StrategySummary:
    """One strategy over its seeds.

    What is about layers, or compares runs, is over the runs that have the layers of the task.

    Attributes:
        strategy: Its name.
        findings: Its runs, by seed; all of them, those left out of comparisons too.
        boundary_share: One estimate per gap between neighbouring layers (``L − 1``): the share of runs with a boundary.
        groups: The number of groups.
        converged: The step at which the groups stopped to change, over the runs that have groups which did.
        accuracy: The metric the comparison names; an interval within 0 to 1 if all of the task's values are.
        agreement: Adjusted Rand index between the groups of two of its runs, over all pairs of seeds.
        layers: Names of the layers of its matrices: those of the task, or where none of its runs has them, those that
            most of its runs have.
        mean_similarity: ``(L, L)`` mean over its runs that have these layers.
        spread_similarity: ``(L, L)`` standard deviation over them; NaN with a single one.
    """

    strategy: str
    findings: tuple[Finding, ...]
    boundary_share: tuple[Estimate, ...]
    groups: Estimate
    converged: Estimate
    accuracy: Estimate
    agreement: Estimate
    layers: tuple[str, ...]
    mean_similarity: FloatArray
    spread_similarity: FloatArray


@dataclass(frozen=True)
class Contrast:
    """How far two strategies lie apart, against how far runs of one strategy do.

    Attributes:
        one: A strategy.
        other: Another.
        by: One of `DIFFERENCES`.
        between: Mean difference between a run of the one and a run of the other, of different seeds; for matrices the
            root mean square.
        within: The same between two runs of one strategy, the mean of the two strategies'.
        effect: ``between − within`` in units of the standard deviation of the differences within strategies, pooled
            over all of the task; NaN where these are too few or do not vary.
        p: Of a permutation test of this pair alone; NaN where nothing can be permuted.
        p_corrected: Of the test that is corrected for all pairs of the task (see `permutation_test.compare_runs`). It
            learns the noise from all strategies, and can be below `p` and `smallest`.
        smallest: The smallest `p` that so few runs can give.
    """

    one: str
    other: str
    by: str
    between: float
    within: float
    effect: float
    p: float
    p_corrected: float
    smallest: float


@dataclass(frozen=True)
class Overall:
    """Whether the strategies of a task differ at all.

    Attributes:
        by: One of `DIFFERENCES`.
        between: Mean difference between runs of different strategies and different seeds; for matrices the root mean
            square.
        within: The same between runs of one strategy.
        share: Share of the variance of a run that the strategy explains, 0 to 1: one less the ratio of the mean squared
            differences within and between, an intraclass correlation. 0 where nothing varies.
        p: Of a permutation test; NaN where nothing can be permuted.
        permutations: How many relabellings it rests on, the observed one among them; 0 without a test.
        runs: Number of runs it is about.
        strategies: Number of their strategies; those with a single run are not among them.
    """

    by: str
    between: float
    within: float
    share: float
    p: float
    permutations: int
    runs: int = 0
    strategies: int = 0


@dataclass(frozen=True)
class TaskComparison:
    """The strategies of one task against each other.

    Attributes:
        task: Its name.
        layers: Names of the layers, which are the same in all runs whose matrices are compared.
        strategies: One summary per strategy, in the order of the comparison.
        overall: One test per way to measure a difference, by its name.
        contrasts: One per pair of strategies and way to measure.
        notes: What a reader must know, in sentences: runs left out and why, what too few seeds leave open.
    """

    task: str
    layers: tuple[str, ...]
    strategies: tuple[StrategySummary, ...]
    overall: Mapping[str, Overall]
    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...]
