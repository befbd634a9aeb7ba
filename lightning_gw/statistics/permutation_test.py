"""Tests of whether the differences between runs are those between strategies: overall, and pair by pair."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from lightning_gw.statistics.relabelling import IntArray, mean_differences, relabellings
from lightning_gw.statistics.results import Contrast, FloatArray, Overall

#: Statistics this near, relative to the observed one, are ties, and ties count against significance.
TIE = 1e-9
#: Least residual that a statistic is divided by, in units of the mean difference: below it there is only rounding.
LEAST_RESIDUAL = 1e-6
#: Runs of a strategy from which on they differ among each other.
FEWEST_SEEDS = 2


@dataclass(frozen=True)
class Design:
    """Runs that can be compared with each other, and how different every two of them are.

    Attributes:
        by: One of `results.DIFFERENCES`.
        strategies: ``(N,)`` strategy of each run, as its place in `names`.
        seeds: ``(N,)`` seed of each run.
        names: All strategies of the task, those without a run here included.
        differences: ``(N, N)`` difference between every two runs.
    """

    by: str
    strategies: IntArray
    seeds: IntArray
    names: tuple[str, ...]
    differences: FloatArray

    @property
    def squared(self) -> FloatArray:
        """``(N, N)`` differences as the analysis of variance has them.

        The root mean squared difference of matrices is a Euclidean distance, and is squared. One minus the adjusted
        Rand index is the like of one minus a correlation: a squared distance already.
        """
        return np.square(self.differences) if self.by == "matrices" else self.differences

    def unsquared(self, mean: float) -> float:
        """A mean of `squared` in the unit of `differences`: the root mean square for matrices."""
        return float(np.sqrt(mean)) if self.by == "matrices" else float(mean)

    def tested(self) -> list[int]:
        """Strategies with at least two runs, and so with differences among their own."""
        runs = np.bincount(self.strategies, minlength=len(self.names))
        return [int(place) for place in np.flatnonzero(runs >= FEWEST_SEEDS)]

    def within(self) -> dict[str, float]:
        """Mean difference between runs of each tested strategy; the root mean square for matrices."""
        return {self.names[place]: self.unsquared(self._own(self.squared, place).mean()) for place in self.tested()}

    def spread_within(self) -> float:
        """Standard deviation of the differences between runs of one strategy about its mean, pooled over strategies.

        NaN where there are too few such differences, or where they do not vary.
        """
        within = [self._own(self.differences, place) for place in self.tested()]
        deviations = sum(float(np.square(own - own.mean()).sum()) for own in within)
        free = sum(len(own) - 1 for own in within)
        spread = float(np.sqrt(deviations / free)) if free else 0.0
        return spread if spread > TIE * max(float(self.differences.max(initial=0.0)), TIE) else np.nan

    def _own(self, values: FloatArray, strategy: int) -> FloatArray:
        """The entries of an ``(N, N)`` table between every two runs of one strategy, each pair once."""
        runs = np.flatnonzero(self.strategies == strategy)
        return values[np.ix_(runs, runs)][np.triu_indices(len(runs), 1)]


def compare_runs(design: Design, permutations: int, seed: int) -> tuple[Overall, tuple[Contrast, ...]]:
    """Test whether strategies matter at all, and which pairs of them differ.

    With ``B`` the mean squared difference between runs of different strategies, ``W`` that within strategies, both over
    pairs of different seeds, and ``C`` that over pairs of one seed:

    - **overall** the statistic is ``B − W``, for which relabelling within seeds leaves the order that the pseudo-F of a
      randomised block design has; ``share = 1 − W / B`` is the part of the variance of a run that the strategy
      explains, an intraclass correlation, without the upward bias that the ``R²`` of a permutational analysis of
      variance has with few runs;
    - **of a pair** alone it is ``B_st − (W_s + W_t) / 2``, an unbiased estimate of the squared distance between the
      means of the two where differences are Euclidean, under all swaps of the two within seeds;
    - **corrected**, it is the same over ``C − (B − W)``, an estimate of twice the residual variance when seeds and
      strategies are accounted for, and is held against the largest of all pairs under the relabellings of all
      strategies at once (single-step max-T: Westfall and Young 1993). As in Tukey's test the noise is estimated from
      all strategies, which is what lets three seeds say anything. The family-wise error is exact if no strategy
      matters. Where some do, it holds for the others as long as runs of all strategies vary alike: those that vary far
      more than the rest can be told apart too often. (Of 250 simulated families of five strategies that are equal on
      average, two of them with seven times the standard deviation of the rest, 17 % err at 5 % with three seeds and
      15 % with five.) To estimate the noise of each pair from that pair alone would mend it, and find far less.

    Args:
        design: The runs.
        permutations: Relabellings to draw, the observed one not counted; all are used where there are no more.
        seed: Seed of the draw.

    Returns:
        The overall test and one contrast per pair of strategies; NaN for what too few runs leave open.
    """
    tested = design.tested()
    kept = np.flatnonzero(np.isin(design.strategies, tested))
    runs = _Runs(
        np.searchsorted(tested, design.strategies[kept]), design.seeds[kept], design.squared[np.ix_(kept, kept)]
    )
    overall, corrected = _joint(design, runs, len(tested), permutations, seed)
    means = next(mean_differences(design.squared, design.seeds, design.strategies[None], len(design.names)))[0]
    spread = design.spread_within()
    contrasts = []
    for one, other in itertools.combinations(range(len(design.names)), 2):
        p = smallest = p_corrected = np.nan
        if one in tested and other in tested:
            s, t = tested.index(one), tested.index(other)
            p, smallest = _alone(runs, s, t, permutations, seed)
            p_corrected = np.nan if np.isnan(p) else float(corrected[s, t])
        own = [value for value in (means[one, one], means[other, other]) if not np.isnan(value)]
        between = design.unsquared(means[one, other])
        within = design.unsquared(float(np.mean(own))) if own else np.nan
        names = design.names[one], design.names[other]
        effect = (between - within) / spread
        contrasts.append(Contrast(*names, design.by, between, within, effect, p, p_corrected, smallest))
    return overall, tuple(contrasts)


@dataclass(frozen=True)
class _Runs:
    """Runs of strategies that are tested: strategy and seed of each ``(N,)``, squared differences ``(N, N)``."""

    strategies: IntArray
    seeds: IntArray
    squared: FloatArray


def _joint(design: Design, runs: _Runs, count: int, permutations: int, seed: int) -> tuple[Overall, FloatArray]:
    """The overall test, and the corrected p-value of every pair, from the same relabellings of all strategies."""
    unknown = np.full((count, count), np.nan)
    size = len(runs.seeds), count
    if count < 2:
        within = design.unsquared(runs.squared[np.triu_indices(len(runs.seeds), 1)].mean()) if count else np.nan
        return Overall(design.by, np.nan, within, np.nan, np.nan, 0, *size), unknown
    labels, _ = relabellings(runs.strategies, runs.seeds, permutations + 1, seed)
    apart = runs.seeds[:, None] != runs.seeds[None, :]
    members = np.eye(count)[runs.strategies]
    pairs, alike = members.T @ apart @ members, np.eye(count, dtype=bool)
    together = runs.squared[~apart & ~np.eye(len(apart), dtype=bool)]
    scale = max(float(runs.squared.mean()), TIE)
    excesses: list[FloatArray] = []
    largest: list[FloatArray] = []
    for means in mean_differences(runs.squared, runs.seeds, labels, count):
        inside = (means * pairs * alike).sum(axis=(1, 2)) / pairs[alike].sum()
        outside = (means * pairs * ~alike).sum(axis=(1, 2)) / pairs[~alike].sum()
        if not excesses:
            between, within = float(outside[0]), float(inside[0])
        excesses.append(outside - inside)
        # Where no seed has two strategies there is nothing to relabel, and no such estimate either.
        residual = (together.mean() if len(together) else 0.0) - excesses[-1]
        studentised = _excess(means) / np.maximum(residual, LEAST_RESIDUAL * scale)[:, None, None]
        if not largest:
            observed = studentised[0]
        largest.append(np.where(alike, -np.inf, studentised).max(axis=(1, 2)))
    share = min(max(1.0 - within / between, 0.0), 1.0) if between > 0 else 0.0
    ends = design.unsquared(between), design.unsquared(within)
    if len(labels) == 1:
        return Overall(design.by, *ends, share, np.nan, 0, *size), unknown
    excess, most = np.concatenate(excesses), np.sort(np.concatenate(largest))
    p = float((excess >= excess[0] - TIE * scale).mean())
    below = np.searchsorted(most, observed - TIE * np.maximum(np.abs(observed), 1.0))
    return Overall(design.by, *ends, share, p, len(labels), *size), (len(most) - below) / len(most)


def _alone(runs: _Runs, one: int, other: int, permutations: int, seed: int) -> tuple[float, float]:
    """p-value of a pair under swaps of the two within seeds, and the smallest that there can be."""
    kept = np.flatnonzero((runs.strategies == one) | (runs.strategies == other))
    strategies, seeds = (runs.strategies[kept] == other).astype(np.int64), runs.seeds[kept]
    squared = runs.squared[np.ix_(kept, kept)]
    labels, _ = relabellings(strategies, seeds, permutations + 1, seed)
    if len(labels) == 1:
        return np.nan, np.nan
    found = np.concatenate([_excess(means)[:, 0, 1] for means in mean_differences(squared, seeds, labels, 2)])
    tie = TIE * max(float(runs.squared.mean()), TIE)
    return float((found >= found[0] - tie).mean()), 1.0 / len(labels)


def _excess(means: FloatArray) -> FloatArray:
    """``(k, S, S)`` mean differences, less those within the two strategies."""
    own = np.einsum("kss->ks", means)
    return np.asarray(means - (own[:, :, None] + own[:, None, :]) / 2.0)
