"""Comparisons of findings: what is summarised, what is left out and said, and what must not matter."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from synthetic_findings import LAYERS, finding, planted

from lightning_gw.statistics import Finding, TaskComparison, compare_strategies
from lightning_gw.statistics.differences import comparable, group_differences, matrix_differences


def two_strategies(generator: np.random.Generator | None = None) -> list[Finding]:
    runs = [("low", 0, [1]), ("low", 1, [1]), ("low", 2, [2]), ("high", 0, [3]), ("high", 1, [3, 4]), ("high", 2, [])]
    return [finding(strategy, seed, cut, 0.05, generator) for strategy, seed, cut in runs]


def test_differences_of_groups_are_scikit_learns_and_no_groups_agree() -> None:
    runs = [*two_strategies(), finding("bare", 0), finding("bare", 1)]
    found = group_differences(runs)
    for i, one in enumerate(runs):
        for j, other in enumerate(runs):
            assert found[i, j] == pytest.approx(1.0 - adjusted_rand_score(one.labels, other.labels))
    assert found[-1, -2] == 0.0
    assert found[-1, 0] == 1.0


def test_differences_of_matrices_are_over_the_pairs_measured_in_both() -> None:
    generator = np.random.default_rng(0)
    one, other = finding("a", 0, [2], 0.1, generator), finding("b", 0, [3], 0.1, generator)
    dead = one.similarity.copy()
    dead[1, :] = dead[:, 1] = np.nan
    found = matrix_differences([one, other, replace(one, similarity=dead)])
    i, j = np.triu_indices(LAYERS, 1)
    squares = np.square(one.similarity - other.similarity)
    assert found[0, 1] == pytest.approx(np.sqrt(squares[i, j].mean()))
    used = (i != 1) & (j != 1)
    assert found[1, 2] == pytest.approx(np.sqrt(squares[i, j][used].mean()))
    assert found[0, 2] == 0.0
    nothing = replace(one, similarity=np.full((LAYERS, LAYERS), np.nan))
    assert np.isnan(matrix_differences([one, nothing])[0, 1])
    assert comparable(matrix_differences([nothing, one, other])) == [1, 2]


def test_a_summary_counts_what_its_runs_have() -> None:
    runs = two_strategies(np.random.default_rng(0))
    runs[0] = replace(runs[0], accuracy=0.5, converged=40)
    runs[1] = replace(runs[1], accuracy=None, converged=None)
    low, high = compare_strategies(runs, "task").strategies
    assert (low.strategy, high.strategy) == ("low", "high")
    assert [share.value for share in low.boundary_share] == pytest.approx([0, 2 / 3, 1 / 3, 0, 0])
    assert low.boundary_share[1].low < 2 / 3 < low.boundary_share[1].high
    assert (high.groups.value, high.groups.runs) == (2.0, 3)
    assert high.groups.low == 1.0, "there are never fewer groups than one"
    assert (low.accuracy.value, low.accuracy.runs) == (pytest.approx(0.7), 2)
    assert low.accuracy.high <= 1.0
    assert (low.converged.value, low.converged.runs) == (70.0, 2)
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([adjusted_rand_score(runs[i].labels, runs[j].labels) for i, j in pairs])
    assert low.agreement.value == pytest.approx(expected)
    matrices = np.array([run.similarity for run in runs[:3]])
    assert np.allclose(low.mean_similarity, matrices.mean(0))
    assert np.allclose(low.spread_similarity, matrices.std(0, ddof=1))


def test_between_and_within_leave_out_pairs_of_one_seed() -> None:
    runs = two_strategies(np.random.default_rng(0))
    (pair,) = [contrast for contrast in compare_strategies(runs, "task").contrasts if contrast.by == "groups"]
    differences = group_differences(runs)
    between = [differences[i, 3 + j] for i in range(3) for j in range(3) if i != j]
    within = [differences[a + i, a + j] for a in (0, 3) for i in range(3) for j in range(i)]
    assert pair.between == pytest.approx(np.mean(between))
    assert pair.within == pytest.approx(np.mean(within))
    spread = np.sqrt((3 * np.var(within[:3]) + 3 * np.var(within[3:])) / 4)
    assert pair.effect == pytest.approx((pair.between - pair.within) / spread)


def by_names(comparison: TaskComparison) -> dict[tuple[str, ...], float]:
    """Every figure of the tests, whichever way round the strategies are named."""
    contrast_figures = ("between", "within", "effect", "p", "p_corrected", "smallest")
    found = {
        (each.by, *sorted((each.one, each.other)), figure): float(getattr(each, figure))
        for each in comparison.contrasts
        for figure in contrast_figures
    }
    for by, overall in comparison.overall.items():
        found |= {(by, figure): float(getattr(overall, figure)) for figure in ("between", "within", "share", "p")}
    return found


@pytest.mark.parametrize("permutations", [9999, 20])
def test_neither_the_order_of_runs_nor_the_order_of_strategies_matters(permutations: int) -> None:
    runs = planted(np.random.default_rng(3), (1, 1, 2), 3, noise=0.5)
    expected = by_names(compare_strategies(runs, "task", permutations))
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(runs))
        found = by_names(compare_strategies([runs[place] for place in order], "task", permutations))
        assert found == pytest.approx(expected, nan_ok=True)


def test_names_of_strategies_do_not_matter_where_all_relabellings_are_tried() -> None:
    runs = planted(np.random.default_rng(3), (1, 1, 2), 3, noise=0.5)
    names = {"strategy-0": "zebra", "strategy-1": "ant", "strategy-2": "mole"}
    renamed = [replace(run, strategy=names[run.strategy]) for run in runs]
    plain, other = compare_strategies(runs, "task"), compare_strategies(renamed, "task")
    assert [c.p_corrected for c in other.contrasts] == [c.p_corrected for c in plain.contrasts]
    assert [c.one for c in other.contrasts] == [names[c.one] for c in plain.contrasts]
    assert other.overall["matrices"].p == plain.overall["matrices"].p


def test_the_same_seed_draws_the_same() -> None:
    runs = planted(np.random.default_rng(3), (1, 1, 2, 2), 4, noise=0.5)
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    first, second = (by_names(compare_strategies(runs, "task", 50, seed=1)) for _ in range(2))
    assert first == pytest.approx(second, rel=0, abs=0, nan_ok=True)
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]


def test_runs_with_other_layers_are_left_out_by_name() -> None:
    runs = planted(np.random.default_rng(0), (1, 2), 3)
    shorter = finding("strategy-0", 3, [1], layers=4)
    renamed = replace(finding("strategy-1", 3, [2]), layers=("stem", *runs[0].layers[1:]))
    found = compare_strategies([*runs, shorter, renamed], "task")
    assert found.layers == runs[0].layers
    assert [note for note in found.notes if "strategy-0/seed-3 has four layers where seven other runs" in note]
    assert [note for note in found.notes if "strategy-1/seed-3 has layers of other names" in note and "'stem'" in note]
    assert (found.overall["groups"].runs, found.overall["matrices"].runs) == (7, 6)
    low, high = found.strategies
    assert len(low.findings) == len(high.findings) == 4
    assert (low.boundary_share[1].runs, high.boundary_share[2].runs) == (3, 4)
    assert np.allclose(high.mean_similarity, np.mean([run.similarity for run in runs[3:]], axis=0))


def test_a_strategy_of_another_network_has_a_mean_of_its_own() -> None:
    deep, flat = finding("deep", 0, [2]), finding("flat", 0, [1], layers=4)
    found = compare_strategies([deep, flat], "task")
    assert found.layers == deep.layers
    assert [summary.layers for summary in found.strategies] == [deep.layers, flat.layers]
    for summary, run in zip(found.strategies, (deep, flat), strict=True):
        assert np.array_equal(summary.mean_similarity, run.similarity)
    assert any(
        "Run flat/seed-0 has four layers where one other run of the task has six" in note for note in found.notes
    )


def test_a_run_in_which_nothing_was_measured_is_left_out_by_name() -> None:
    runs = planted(np.random.default_rng(0), (1, 2), 3)
    nothing = np.full((LAYERS, LAYERS), np.nan)
    runs[0] = replace(runs[0], similarity=nothing, labels=(-1,) * LAYERS, boundaries=(), count=1)
    found = compare_strategies(runs, "task")
    assert sum("strategy-0/seed-0 has too few" in note for note in found.notes) == 2
    assert found.overall["matrices"].runs == found.overall["groups"].runs == 5


def test_nothing_measured_anywhere_leaves_everything_open() -> None:
    nothing = np.full((LAYERS, LAYERS), np.nan)
    runs = [replace(finding(name, seed, [2]), similarity=nothing) for name in "ab" for seed in range(3)]
    found = compare_strategies(runs, "task")
    assert np.isnan([found.overall["matrices"].p, found.overall["matrices"].between]).all()
    assert np.isfinite(found.overall["groups"].p)
    single = compare_strategies([finding(name, seed, layers=1) for name in "ab" for seed in range(2)], "task")
    assert np.isnan(single.overall["groups"].p)
    assert single.strategies[0].boundary_share == ()


def test_a_strategy_with_one_seed_is_summarised_but_not_tested() -> None:
    runs = [*planted(np.random.default_rng(0), (1, 2), 3), finding("lonely", 0, [3])]
    found = compare_strategies(runs, "task")
    assert [note for note in found.notes if note.startswith("lonely has a single seed")]
    for contrast in found.contrasts:
        lonely = "lonely" in (contrast.one, contrast.other)
        assert np.isnan([contrast.p, contrast.p_corrected, contrast.smallest]).all() == lonely
        assert np.isfinite(contrast.between)
    assert found.overall["groups"].strategies == 2
    assert np.isnan(found.strategies[2].agreement.value)
    assert np.isnan(found.strategies[2].spread_similarity).all()


def test_missing_seeds_are_no_obstacle_and_no_common_seed_is_said() -> None:
    runs = planted(np.random.default_rng(0), (1, 2, 3), 3)
    found = compare_strategies(runs[1:], "task")
    assert all(np.isfinite(contrast.p_corrected) for contrast in found.contrasts)
    assert found.contrasts[0].smallest == 1 / 4, (
        "two swaps, and a run that keeps its label tells them from their mirror"
    )
    apart = [replace(run, seed=run.seed + 10 * (run.strategy == "strategy-2")) for run in runs]
    found = compare_strategies(apart, "task")
    assert [note for note in found.notes if note.startswith("strategy-0 and strategy-2 have no seed in common")]
    assert [np.isnan(contrast.p_corrected) for contrast in found.contrasts[:3]] == [False, True, True]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_or_equal_runs_give_no_warning_and_no_false_certainty(count: int) -> None:
    alike = [finding(name, seed, [2]) for name in ("a", "b")[: min(count, 2)] for seed in range(count)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare_strategies(alike, "task")
    for overall in found.overall.values():
        assert np.isnan(overall.p) or overall.p == 1.0
    for contrast in found.contrasts:
        assert np.isnan(contrast.p) or contrast.p == contrast.p_corrected == 1.0


def test_strategies_that_vary_unequally_are_said_to() -> None:
    generator = np.random.default_rng(0)
    noise = {"calm": 0.02, "calmer": 0.02, "wild": 0.3}
    runs = [finding(name, seed, [2], size, generator) for name, size in noise.items() for seed in range(3)]
    (note,) = compare_strategies(runs, "task").notes
    within = compare_strategies(runs, "task").contrasts
    assert note.startswith("The matrices of two runs of one strategy differ by 0.0")
    assert "(wild)" in note
    assert max(contrast.within for contrast in within) > 0.1
    assert not compare_strategies(runs[:6], "task").notes


def test_an_accuracy_that_diverged_is_named_and_not_averaged() -> None:
    runs = planted(np.random.default_rng(0), (1, 2), 3)
    runs[1] = replace(runs[1], accuracy=float("nan"))
    found = compare_strategies(runs, "task")
    assert found.strategies[0].accuracy.runs == 2
    assert [note for note in found.notes if "strategy-0/seed-1 has an accuracy that is no finite number" in note]


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no findings of task 'algebra'"):
        compare_strategies([], "algebra")
    twice = [finding("a", 0), replace(finding("a", 0), key="a/again")]
    with pytest.raises(ValueError, match=r"'a/seed-0' and 'a/again' are both of strategy 'a' and seed 0"):
        compare_strategies(twice, "task")
    with pytest.raises(ValueError, match="permutations is 0"):
        compare_strategies([finding("a", 0)], "task", permutations=0)


@pytest.mark.slow
def test_twenty_strategies_of_ten_seeds_are_compared_in_full() -> None:
    runs = planted(np.random.default_rng(0), tuple(range(5)) * 4, 10, noise=0.1)
    found = compare_strategies(runs, "task")
    assert len(found.contrasts) == 2 * 190
    assert found.overall["groups"].p == 1 / 10000
    for contrast in found.contrasts:
        same = int(contrast.one[9:]) % 5 == int(contrast.other[9:]) % 5
        assert (contrast.p_corrected < 0.05) != same
