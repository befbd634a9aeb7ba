"""The heat bath and the factors it sees layers through, compiled and in batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gw.gw.moves.batched.swaps import SearchMatrices
from lightning_gw.gw.moves.choice import BatchedMoves, CompiledMoves, Moves
from lightning_gw.gw.moves.low_rank import RANK, Factors

FIRST, SECOND = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
SETTINGS = pytest.mark.parametrize("anchor", [0.0, 0.4])


def layers(n: int, diagonals: bool = False) -> SearchMatrices:
    """Points in six clusters of unequal size, whose places differ from layer to layer."""
    generator = torch.Generator().manual_seed(n)
    matrices = []
    for _ in range(3):
        places = 4 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
        points = places[torch.arange(n) ** 2 % 6] + torch.randn(n, 4, generator=generator, dtype=torch.float64)
        matrices.append(torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist"))
    spaces = torch.stack(matrices)
    if diagonals:
        spaces.diagonal(dim1=1, dim2=2).copy_(torch.rand(3, n, generator=generator))
    return SearchMatrices.of(spaces)


def seen_exactly(n: int, diagonals: bool) -> SearchMatrices:
    """Layers that are what their own factors make of them off the diagonal, so that nothing is lost by seeing these."""
    search = layers(n, diagonals)
    factors = search.factors
    matrices = factors.left.transpose(1, 2) @ factors.right
    matrices.diagonal(dim1=1, dim2=2).zero_()
    exact = SearchMatrices(matrices, search.diagonals, search.scale)
    # As found for the layers they come from: fitted again, the diagonals would end a little elsewhere.
    exact.__dict__["factors"] = replace(factors, residuals=torch.tensor([0.2, 0.1, 0.0], dtype=torch.float64))
    return exact


@pytest.fixture(params=[BatchedMoves, CompiledMoves])
def kind(request: pytest.FixtureRequest) -> type:
    if request.param is CompiledMoves:
        pytest.importorskip("numba")
    return request.param  # type: ignore[no-any-return]


def random_starts(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.stack([torch.randperm(n, generator=generator) for _ in range(3)])


def losses(moves: Moves, starts: Tensor) -> Tensor:
    most = moves.search.norms[FIRST] * moves.search.norms[SECOND]
    return (most - moves.values(FIRST, SECOND, starts[:, None])[:, 0]).clamp(min=0)


@pytest.mark.parametrize("n", [3, RANK, 40])
def test_factors_add_up_to_the_matrix_off_its_diagonal_but_for_what_they_say_they_miss(n: int) -> None:
    search = layers(n)
    factors = search.factors
    product = factors.left.transpose(1, 2) @ factors.right
    torch.testing.assert_close(product.diagonal(dim1=1, dim2=2), factors.diagonals, rtol=1e-4, atol=1e-4)
    difference = search.matrices - product
    difference.diagonal(dim1=1, dim2=2).zero_()
    missed = difference.square().sum(dim=(1, 2)) / search.matrices.square().sum(dim=(1, 2))
    torch.testing.assert_close(missed.double(), factors.residuals, rtol=1e-3, atol=1e-5)
    assert (factors.residuals < 0.05).all()


def test_factors_of_a_layer_without_distances_are_zero() -> None:
    factors = Factors.of(torch.zeros(1, 20, 20))
    assert not factors.residuals.any()
    assert all(not part.any() for part in (factors.left, factors.right, factors.diagonals))


@SETTINGS
@pytest.mark.parametrize("diagonals", [False, True])
def test_a_quench_follows_the_objective_and_ends_where_no_swap_helps(
    kind: type, anchor: float, diagonals: bool
) -> None:
    moves = kind(seen_exactly(37, diagonals), anchor)
    starts = random_starts(37)
    before = moves.quench(FIRST, SECOND, starts, 0)
    assert torch.equal(before[0], starts)
    found, values = moves.quench(FIRST, SECOND, starts, 100)
    assert (values > before[1]).all()
    for permutations, seen in ((starts, before[1]), (found, values)):
        exact = moves.values(FIRST, SECOND, permutations[:, None])[:, 0]
        torch.testing.assert_close(seen, exact, rtol=1e-5, atol=1e-2)
    again, _ = moves.descend(FIRST, SECOND, found[:, None], 1000)
    assert torch.equal(again[:, 0], found)


@SETTINGS
@pytest.mark.parametrize("n", [2, 31, 32, 33, 64])
def test_inputs_need_not_fill_the_vectors_that_the_compiled_bath_works_in(n: int, anchor: float) -> None:
    pytest.importorskip("numba")
    moves = CompiledMoves(seen_exactly(n, diagonals=False), anchor)
    starts = random_starts(n)
    hot = 2 * losses(moves, starts) / n
    heated, _ = moves.heat(FIRST, SECOND, starts[:, None], 5, hot, 0.5, 1)
    assert torch.equal(heated.sort(dim=1).values, torch.arange(n).expand(3, n))
    found, values = moves.quench(FIRST, SECOND, heated, 100)
    torch.testing.assert_close(values, moves.values(FIRST, SECOND, found[:, None])[:, 0], rtol=1e-5, atol=1e-2)


@SETTINGS
def test_a_heat_bath_leads_out_of_the_basin_of_a_descent(kind: type, anchor: float) -> None:
    moves = kind(layers(60), anchor)
    starts = random_starts(60)
    descended, _ = moves.descend(FIRST, SECOND, starts[:, None], 1000)
    found, converged = moves.heat(FIRST, SECOND, starts[:, None], 30, 2 * losses(moves, starts) / 60, 0.05, 1)
    assert torch.equal(found.sort(dim=1).values, torch.arange(60).expand(3, 60))
    assert converged.all()
    after = moves.values(FIRST, SECOND, found[:, None])[:, 0]
    assert after.sum() > moves.values(FIRST, SECOND, descended)[:, 0].sum() * 1.01
    again, _ = moves.descend(FIRST, SECOND, found[:, None], 1000)
    assert torch.equal(again[:, 0], found)


def test_a_pair_does_not_depend_on_the_others_and_only_on_the_seed(kind: type) -> None:
    moves = kind(layers(60))
    starts = random_starts(60)
    hot = 2 * losses(moves, starts) / 60
    together, _ = moves.heat(FIRST, SECOND, starts[:, None], 10, hot, 0.05, 1)
    assert torch.equal(together, moves.heat(FIRST, SECOND, starts[:, None], 10, hot, 0.05, 1)[0])
    for k in range(3):
        one = slice(k, k + 1)
        alone, _ = moves.heat(FIRST[one], SECOND[one], starts[one][:, None], 10, hot[one], 0.05, 1)
        assert torch.equal(alone[0], together[k])
    assert not torch.equal(together, moves.heat(FIRST, SECOND, starts[:, None], 10, hot, 0.05, 2)[0])


def test_both_machineries_see_the_same_values_and_end_about_as_high() -> None:
    pytest.importorskip("numba")
    search = layers(96, diagonals=True)
    batched, compiled = BatchedMoves(search, 0.1), CompiledMoves(search, 0.1)
    starts = random_starts(96)
    one, other = (moves.quench(FIRST, SECOND, starts, 0)[1] for moves in (batched, compiled))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-2)
    hot = 2 * losses(batched, starts) / 96
    ends = []  # a single run ends in one of several basins; the best of a few does not
    for moves in (batched, compiled):
        several = [moves.heat(FIRST, SECOND, starts[:, None], 30, hot, 0.05, seed)[0] for seed in range(12)]
        ends.append(batched.values(FIRST, SECOND, torch.stack(several, dim=1)).amax(dim=1).numpy())
    np.testing.assert_allclose(ends[0], ends[1], rtol=0.01)


def test_a_compiled_bath_stops_at_what_is_not_finite() -> None:
    pytest.importorskip("numba")
    search = layers(20)
    factors = search.factors
    broken = SearchMatrices(torch.full_like(search.matrices, torch.nan), None, search.scale)
    broken.__dict__["factors"] = factors
    with pytest.raises(FloatingPointError, match="not finite"):
        CompiledMoves(broken).quench(FIRST, SECOND, random_starts(20), 1)


def test_a_heavy_anchor_brings_every_input_home(kind: type) -> None:
    moves = kind(layers(40), 1e3)
    found, _ = moves.quench(FIRST, SECOND, random_starts(40), 100)
    assert torch.equal(found, torch.arange(40).expand(3, 40))
