"""Assignments of sorted rows are best, and what they bound is never undercut: with Numba and without it."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_gw.gw.bounds.permutations import round_down
from lightning_gw.gw.search import sorted_rows
from lightning_gw.gw.search.sorted_rows import CentredRows, sorted_rows_assignments
from lightning_gw.utilities.arrays import FloatArray

FIRST, SECOND = torch.tensor([0]), torch.tensor([1])


@pytest.fixture(params=["compiled", "SciPy"])
def solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "compiled":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(sorted_rows, "find_spec", lambda name: None)
    return str(request.param)


def distances(points: Tensor) -> Tensor:
    return torch.cdist(points, points)


def pair_of(kind: str, n: int, seed: int = 0) -> Tensor:
    """``(2, n, n)`` symmetric matrices that arithmetic may find hard."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    points, others = normal(n, 3), normal(n, 3)
    first, second = distances(points), distances(others)
    noise = normal(n, n)
    match kind:
        case "points":
            return torch.stack([first, second])
        case "with diagonals":
            return torch.stack([points @ points.T, noise + noise.T])
        case "relabelled and moved a little":
            order = torch.randperm(n, generator=generator)
            return torch.stack([first, (first + 1e-4 * (noise + noise.T))[order][:, order]])
        case "the same":
            return torch.stack([first, first])
        case "duplicates":
            return torch.stack([distances(points[torch.arange(n) % 3]), distances(others[torch.arange(n) % 2])])
        case "on a circle":
            turned = torch.arange(n, dtype=torch.float64) * 2 * torch.pi / n
            circle = distances(torch.stack([turned.cos(), turned.sin()], dim=1))
            return torch.stack([circle, circle.square()])
        case "nothing but zeros":
            return torch.zeros(2, n, n, dtype=torch.float64)
        case "unlike in scale":
            return torch.stack([1e-30 * first, 1e30 * second])
        case "one far away":
            points[0] += 1e9
            return torch.stack([distances(points), second])
        case "a far offset":
            return torch.stack([1e6 + first, 1e6 + second])
        case "very small":
            return torch.stack([1e-140 * first, 1e-140 * second])
    raise AssertionError(kind)


KINDS = [
    "points",
    "with diagonals",
    "relabelled and moved a little",
    "the same",
    "duplicates",
    "on a circle",
    "nothing but zeros",
    "unlike in scale",
    "one far away",
    "a far offset",
    "very small",
]


def costs_of(first: FloatArray, second: FloatArray) -> FloatArray:
    """``(n, n)`` mean squared difference of sorted rows and diagonals, by the definition."""
    rows, others = (
        np.stack([np.append(np.sort(np.delete(row, i)), row[i]) for i, row in enumerate(matrix)])
        for matrix in (first, second)
    )
    return np.asarray(((rows[:, None] - others[None]) ** 2).mean(axis=2))


def squared_norms(matrices: Tensor) -> float:
    return float(matrices.square().mean(dim=(1, 2)).sum())


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_never_lies_above_the_best_permutation(kind: str) -> None:
    for n in (2, 3, 4, 6):
        every = np.array(list(permutations(range(n))))
        for seed in range(5):
            matrices = pair_of(kind, n, seed)
            _, bound = sorted_rows_assignments(matrices, FIRST, SECOND)
            first, second = matrices.numpy()
            best = ((first - second[every[:, :, None], every[:, None, :]]) ** 2).mean(axis=(1, 2)).min()
            certified = round_down(bound, matrices.square().mean(dim=(1, 2)).sum()[None])
            assert float(certified) <= best
            assert float(bound) <= best + 1e-13 * squared_norms(matrices)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 5, 33, 70])
def test_the_assignment_is_a_best_one_and_the_bound_is_its_cost(solver: str, kind: str, n: int) -> None:
    matrices = pair_of(kind, n)
    costs = costs_of(*matrices.numpy())
    best = costs[linear_sum_assignment(costs)].mean()
    found, bound = sorted_rows_assignments(matrices, FIRST, SECOND)
    assert torch.equal(found[0].sort().values, torch.arange(n))
    # What float32 loses is a share of what rows differ by; float64, of all there is.
    spread = float(CentredRows.of(matrices).norms.sum()) / n**2
    lost = 1e-6 * spread if solver == "compiled" else 0.0
    rounding = 1e-13 * squared_norms(matrices)
    assert best - rounding <= costs[np.arange(n), found[0].numpy()].mean() <= best + lost + rounding
    assert best - lost - rounding <= float(bound) <= best + rounding


@pytest.mark.usefixtures("solver")
def test_a_bound_between_layers_nearly_alike_keeps_its_digits() -> None:
    matrices = pair_of("relabelled and moved a little", 70)
    costs = costs_of(*matrices.numpy())
    best = costs[linear_sum_assignment(costs)].mean()
    assert best < 1e-7  # less than float32 can tell apart from the norms
    _, bound = sorted_rows_assignments(matrices, FIRST, SECOND)
    assert float(bound) == pytest.approx(best, rel=1e-4)


@pytest.mark.usefixtures("solver")
def test_a_pair_does_not_depend_on_the_others() -> None:
    matrices = torch.cat([pair_of("points", 40), pair_of("with diagonals", 40)])
    first, second = torch.triu_indices(4, 4, 1)
    found, bounds = sorted_rows_assignments(matrices, first, second)
    for k in range(len(first)):
        alone, bound = sorted_rows_assignments(matrices, first[k : k + 1], second[k : k + 1])
        assert torch.equal(alone[0], found[k])
        assert bound[0] == bounds[k]


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_scales_of_layers_change_no_assignment(scale: float) -> None:
    matrices = pair_of("points", 50)
    found, _ = sorted_rows_assignments(matrices, FIRST, SECOND)
    matrices[0] *= scale
    assert torch.equal(sorted_rows_assignments(matrices, FIRST, SECOND)[0], found)


def test_threads_change_no_bit() -> None:
    pytest.importorskip("numba")
    matrices = torch.cat([pair_of("points", 60), pair_of("with diagonals", 60)])
    first, second = torch.triu_indices(4, 4, 1)
    one, several = (sorted_rows_assignments(matrices, first, second, threads) for threads in (1, 3))
    assert torch.equal(one[0], several[0])
    assert torch.equal(one[1], several[1])


@pytest.mark.parametrize("kind", KINDS)
def test_what_float32_rules_out_could_have_saved_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    matrices = pair_of(kind, 50)
    found, bound = sorted_rows_assignments(matrices, FIRST, SECOND)
    monkeypatch.setattr(sorted_rows, "ROUNDING", 1e30)  # nothing is ruled out
    all_of_them, the_same = sorted_rows_assignments(matrices, FIRST, SECOND)
    assert torch.equal(all_of_them, found)
    assert float(the_same) == pytest.approx(float(bound), rel=0, abs=1e-14 * squared_norms(matrices))


def test_at_any_prices_an_assignment_less_what_rows_could_save_is_a_bound() -> None:
    compiled = pytest.importorskip("lightning_gw.gw.moves.compiled.sorted_rows")
    generator = np.random.default_rng(0)
    for n in (1, 2, 5, 30):
        first, second = generator.normal(size=(2, n, n))
        costs = ((first[:, None] - second[None]) ** 2).sum(axis=2)
        best = costs[linear_sum_assignment(costs)].sum()
        for width in (0.0, 1.0, 100.0):
            prices, p = width * generator.normal(size=n), generator.permutation(n)
            anything = np.zeros((n, n), np.float32), np.zeros(n, np.float32), np.float32(1)
            bound = compiled.certified(*anything, first, second, prices, p)
            assert bound <= best
            assert bound == pytest.approx((costs - prices).min(axis=1).sum() + prices.sum(), abs=1e-10)


def test_savings_are_found_wherever_rounding_within_the_slack_has_put_them() -> None:
    compiled = pytest.importorskip("lightning_gw.gw.moves.compiled.sorted_rows")
    generator = np.random.default_rng(0)
    n, slack = 40, 0.2
    for _ in range(20):
        first, second = generator.normal(size=(2, n, n)) / n**0.5
        prices, p = generator.normal(size=n), generator.permutation(n)
        net = ((first[:, None] - second[None]) ** 2).sum(axis=2) - prices
        rounded = net - net.min(axis=1, keepdims=True) + slack * generator.choice([0.01, 0.99], (n, n))
        anything = (rounded + prices).astype(np.float32), prices.astype(np.float32), np.float32(slack)
        bound = compiled.certified(*anything, first, second, prices, p)
        assert bound == pytest.approx(net.min(axis=1).sum() + prices.sum(), abs=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3, 40, 100])
def test_shortest_paths_lead_to_a_best_assignment_that_its_prices_prove(n: int) -> None:
    compiled = pytest.importorskip("lightning_gw.gw.moves.compiled.sorted_rows")
    generator = np.random.default_rng(n)
    for costs in (generator.random((n, n)), generator.integers(0, 3, (n, n)), np.zeros((n, n))):
        p = np.empty(n, np.int64)
        prices = compiled.assign(costs.astype(np.float32), p)
        assert sorted(p) == list(range(n))
        best = costs[linear_sum_assignment(costs)].sum()
        assert costs[np.arange(n), p].sum() == pytest.approx(best, abs=1e-5 * n)
        assert (costs - prices).min(axis=1).sum() + prices.sum() == pytest.approx(best, abs=1e-5 * n)


@pytest.mark.parametrize("kind", KINDS)
def test_any_potentials_lead_to_the_same_cost(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    matrices = pair_of(kind, 50)
    _, bound = sorted_rows_assignments(matrices, FIRST, SECOND)
    monkeypatch.setattr(CentredRows, "potentials", lambda self, first, second: torch.zeros(1, 50).double())
    _, without = sorted_rows_assignments(matrices, FIRST, SECOND)
    spread = float(CentredRows.of(matrices).norms.sum()) / 50**2
    assert float(without) == pytest.approx(float(bound), rel=0, abs=1e-6 * spread + 1e-13 * squared_norms(matrices))


@pytest.mark.usefixtures("solver")
def test_squares_that_overflow_are_an_error() -> None:
    with pytest.raises(ValueError, match="scale the matrices down"):
        sorted_rows_assignments(1e160 * pair_of("points", 10), FIRST, SECOND)
