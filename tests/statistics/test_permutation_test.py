"""The permutation tests against textbook formulas, enumeration by hand, SciPy, and their own error rates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.stats import permutation_test
from synthetic_findings import planted, seeds_decide

from lightning_gw.statistics import compare_strategies
from lightning_gw.statistics.permutation_test import Design, compare_runs
from lightning_gw.statistics.relabelling import relabellings

Array = NDArray[np.float64]


def points(seed: int, strategies: int, seeds: int, seed_effect: float = 3.0, dimensions: int = 4) -> Array:
    """(S, m, d) coordinates of runs: a strong effect that runs of one seed share, noise, and nothing of strategies."""
    generator = np.random.default_rng([seed, strategies, seeds])
    shared = seed_effect * generator.standard_normal((1, seeds, dimensions))
    return shared + generator.standard_normal((strategies, seeds, dimensions))


def design(x: Array) -> Design:
    strategies, seeds, dimensions = x.shape
    return Design(
        "matrices",
        np.repeat(np.arange(strategies), seeds),
        np.tile(np.arange(seeds), strategies),
        tuple(f"strategy-{s}" for s in range(strategies)),
        squareform(pdist(x.reshape(-1, dimensions))),
    )


def mean_squares(x: Array) -> tuple[float, float, float]:
    """Textbook mean squares of a randomised block design: of strategies, of the residual, and within strategies."""
    strategies, seeds, _ = x.shape
    grand, by_strategy, by_seed = x.mean((0, 1)), x.mean(1, keepdims=True), x.mean(0, keepdims=True)
    of_strategies = seeds * np.square(by_strategy[:, 0] - grand).sum() / (strategies - 1)
    residual = np.square(x - by_strategy - by_seed + grand).sum() / ((strategies - 1) * (seeds - 1))
    within = np.square(x - by_strategy).sum() / (strategies * (seeds - 1))
    return float(of_strategies), float(residual), float(within)


@pytest.mark.parametrize("seed", range(5))
def test_between_and_within_are_the_textbook_mean_squares_and_seed_effects_cancel(seed: int) -> None:
    x = points(seed, 4, 3)
    of_strategies, residual, within = mean_squares(x)
    found, _ = compare_runs(design(x), 99, 0)
    assert found.within**2 == pytest.approx(2 * within)
    assert found.between**2 - found.within**2 == pytest.approx(2 * (of_strategies - residual) / 3)
    expected = (of_strategies - residual) / (of_strategies - residual + 3 * within)
    assert found.share == pytest.approx(max(expected, 0.0))


@pytest.mark.parametrize("seed", range(5))
def test_the_overall_p_value_is_that_of_the_pseudo_f_over_all_relabellings(seed: int) -> None:
    x = points(seed, 3, 3)
    x[2, :, 0] += 1.5
    statistics = []
    for orders in itertools.product(itertools.permutations(range(3)), repeat=3):
        y = np.stack([x[list(order), block] for block, order in enumerate(orders)], axis=1)
        of_strategies, residual, _ = mean_squares(y)
        statistics.append(of_strategies / residual)
    of_strategies, residual, _ = mean_squares(x)
    expected = (np.array(statistics) >= of_strategies / residual - 1e-9).mean()
    found, _ = compare_runs(design(x), 999, 0)
    assert found.p == pytest.approx(expected)
    assert found.permutations == 36  # (3!)³ relabellings, six of which each only rename the strategies
    sampled, _ = compare_runs(design(points(seed, 5, 5)), 300, 0)
    assert sampled.permutations == 301


@pytest.mark.parametrize("seed", range(4))
def test_a_pair_alone_is_the_paired_permutation_test_of_scipy(seed: int) -> None:
    x = points(seed, 2, 5, dimensions=1)
    x[1] += 0.8
    expected = permutation_test(
        (x[0, :, 0], x[1, :, 0]),
        lambda a, b, axis: np.square(a.mean(axis) - b.mean(axis)),
        permutation_type="samples",
        vectorized=True,
        alternative="greater",
        n_resamples=np.inf,
    )
    overall, (pair,) = compare_runs(design(x), 999, 0)
    assert pair.p == pytest.approx(expected.pvalue)
    assert pair.smallest == 1 / 16
    assert pair.p_corrected == pytest.approx(pair.p), "one pair needs no correction"
    assert overall.p == pytest.approx(pair.p)


def corrected_by_hand(found: Design) -> dict[tuple[int, int], float]:
    """The definition in loops: every relabelling within seeds, the largest studentised excess of any pair."""
    runs, seeds = range(len(found.seeds)), sorted(set(found.seeds))
    squares = found.differences**2
    same_seed = [squares[i, j] for i, j in itertools.combinations(runs, 2) if found.seeds[i] == found.seeds[j]]

    def excesses(labels: list[int]) -> dict[tuple[int, int], float]:
        lists: dict[tuple[int, int], list[float]] = {}
        for i, j in itertools.combinations(runs, 2):
            if found.seeds[i] != found.seeds[j]:
                lists.setdefault((min(labels[i], labels[j]), max(labels[i], labels[j])), []).append(squares[i, j])
        every_between = [value for (s, t), values in lists.items() if s != t for value in values]
        every_within = [value for (s, t), values in lists.items() if s == t for value in values]
        residual = np.mean(same_seed) - (np.mean(every_between) - np.mean(every_within))
        means = {pair: np.mean(values) for pair, values in lists.items()}
        return {(s, t): (means[s, t] - (means[s, s] + means[t, t]) / 2) / residual for s, t in means if s != t}

    largest = []
    blocks = [[run for run in runs if found.seeds[run] == seed] for seed in seeds]
    for orders in itertools.product(*(itertools.permutations([int(found.strategies[r]) for r in b]) for b in blocks)):
        labels = [0] * len(runs)
        for block, order in zip(blocks, orders, strict=True):
            for run, label in zip(block, order, strict=True):
                labels[run] = label
        largest.append(max(excesses(labels).values()))
    observed = excesses([int(label) for label in found.strategies])
    return {pair: float((np.array(largest) >= value - 1e-9).mean()) for pair, value in observed.items()}


@pytest.mark.parametrize("missing", [None, 4])
def test_corrected_p_values_are_those_of_the_definition_in_loops(missing: int | None) -> None:
    x = points(3, 3, 3)
    x[2, :, 1] += 4.0
    found = design(x)
    if missing is not None:
        keep = [run for run in range(9) if run != missing]
        ends = found.differences[np.ix_(keep, keep)]
        found = Design(found.by, found.strategies[keep], found.seeds[keep], found.names, ends)
    expected = corrected_by_hand(found)
    _, contrasts = compare_runs(found, 999, 0)
    for contrast, pair in zip(contrasts, [(0, 1), (0, 2), (1, 2)], strict=True):
        assert contrast.p_corrected == pytest.approx(expected[pair])


def test_relabelling_keeps_the_strategies_of_every_seed_and_lists_each_way_once() -> None:
    strategies, seeds = np.array([0, 1, 2, 0, 1, 0, 2]), np.array([0, 0, 0, 1, 1, 2, 2])
    every, exact = relabellings(strategies, seeds, 1000, 0)
    assert exact
    assert len(every) == 6 * 2 * 2 == len({tuple(row) for row in every})
    drawn, exact = relabellings(strategies, seeds, 20, 0)
    assert not exact
    for found in (every, drawn):
        assert (found[0] == strategies).all()
        for block in ([0, 1, 2], [3, 4], [5, 6]):
            assert (np.sort(found[:, block]) == np.sort(strategies[block])).all()


def within_sampling_error(shares: Array, level: float, at_least: bool) -> bool:
    error = 4 * np.sqrt(level * (1 - level) / len(shares))
    share = (shares <= level + 1e-12).mean()
    return bool(share <= level + error and (not at_least or share >= level - error))


def test_where_only_seeds_matter_p_values_are_uniform_and_few_families_err() -> None:
    """240 comparisons of 3 strategies and 3 seeds, whose seeds differ three times as much as anything else."""
    overall, alone, corrected = [], [], []
    for repeat in range(240):
        found, contrasts = compare_runs(design(points(repeat, 3, 3)), 999, 0)
        overall.append(found.p)
        alone.append(contrasts[0].p)
        corrected.append(min(contrast.p_corrected for contrast in contrasts))
    for level in (2 / 36, 4 / 36, 0.25, 0.5):
        assert within_sampling_error(np.array(overall), level, at_least=True)
        assert within_sampling_error(np.array(corrected), level, at_least=True)
    for level in (0.25, 0.5, 0.75):
        assert within_sampling_error(np.array(alone), level, at_least=True)


def test_where_some_strategies_are_alike_and_others_far_the_alike_ones_stay_together() -> None:
    """Family-wise error among the true nulls of 120 comparisons with another strategy far away."""
    wrong = []
    for repeat in range(120):
        x = points(repeat, 4, 3)
        x[3] += 6.0
        _, contrasts = compare_runs(design(x), 199, 0)
        wrong.append(min(c.p_corrected for c in contrasts if c.other != "strategy-3"))
    assert within_sampling_error(np.array(wrong), 0.05, at_least=False)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_strategies_that_vary_far_more_are_told_apart_too_often(seeds: int) -> None:
    """What the docstring says of 250 families of equal strategies, two of which vary seven times as much."""
    spread = np.array([2.0, 2.0, 0.3, 0.3, 0.3])[:, None, None]
    generator, smallest = np.random.default_rng(1), []
    for _ in range(250):
        x = 3.0 * generator.standard_normal((1, seeds, 5)) + spread * generator.standard_normal((5, seeds, 5))
        _, contrasts = compare_runs(design(x), 499, 0)
        smallest.append(min(contrast.p_corrected for contrast in contrasts))
    assert 0.10 <= (np.array(smallest) <= 0.05).mean() <= 0.22


@pytest.mark.slow
def test_groups_and_matrices_that_follow_the_seed_are_not_told_apart() -> None:
    """100 comparisons of findings: p-values of ties are above uniform, never below."""
    generator = np.random.default_rng(0)
    found: dict[str, list[float]] = {"groups": [], "matrices": []}
    family: dict[str, list[float]] = {"groups": [], "matrices": []}
    for _ in range(100):
        comparison = compare_strategies(seeds_decide(generator, 3, 4), "task", permutations=99)
        for by in found:
            found[by].append(comparison.overall[by].p)
            family[by].append(min(c.p_corrected for c in comparison.contrasts if c.by == by))
    for by in found:
        for level in (0.05, 0.1, 0.25):
            assert within_sampling_error(np.array(found[by]), level, at_least=by == "matrices")
            assert within_sampling_error(np.array(family[by]), level, at_least=False)


def test_seed_effects_of_any_size_leave_every_p_value_as_it_is() -> None:
    """With every strategy in every seed, squared distances and additive effects; only distances grow."""
    x = points(0, 4, 3, seed_effect=0.0)
    x += 4.0 * np.arange(4)[:, None, None]
    shift = 50.0 * np.random.default_rng(1).standard_normal((1, 3, 4))
    plain, contrasts = compare_runs(design(x), 999, 0)
    shifted, shifted_contrasts = compare_runs(design(x + shift), 999, 0)
    assert shifted.p == plain.p == 1 / 576
    assert shifted.within > 10 * plain.within
    for one, other in zip(contrasts, shifted_contrasts, strict=True):
        assert (one.p, one.p_corrected) == (other.p, other.p_corrected)
    assert contrasts[2].p_corrected == 1 / 576, "the first and the last lie farthest apart"


def test_planted_groups_are_found() -> None:
    comparison = compare_strategies(planted(np.random.default_rng(0), (1, 1, 3, 3), 3), "task")
    for by in ("groups", "matrices"):
        assert comparison.overall[by].p < 0.03
        assert comparison.overall[by].share > 0.5


def test_runs_that_are_all_alike_have_p_of_one_and_nothing_undefined() -> None:
    same = design(np.zeros((3, 3, 2)))
    with np.errstate(all="raise"):
        overall, contrasts = compare_runs(same, 99, 0)
    assert (overall.p, overall.share, overall.between, overall.within) == (1.0, 0.0, 0.0, 0.0)
    assert {contrast.p for contrast in contrasts} == {contrast.p_corrected for contrast in contrasts} == {1.0}


def test_runs_that_are_alike_within_strategies_only_are_as_far_apart_as_can_be() -> None:
    x = np.zeros((3, 3, 1)) + np.array([0.0, 1.0, 3.0])[:, None, None]
    with np.errstate(all="raise"):
        overall, contrasts = compare_runs(design(x), 999, 0)
    assert overall.p == 1 / 36
    assert overall.share == 1.0
    assert [contrast.p for contrast in contrasts] == [0.25] * 3
    assert all(np.isnan(contrast.effect) for contrast in contrasts), "no spread to measure an effect by"
