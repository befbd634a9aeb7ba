"""Noisy linear assignments, compiled and in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_gw.gw.moves.batched.assignments import auction
from lightning_gw.gw.moves.batched.swaps import SearchMatrices, ceiling
from lightning_gw.gw.moves.choice import BatchedMoves, CompiledMoves, Moves

FIRST, SECOND = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])


def compiled_auction(benefits: Tensor, step: Tensor) -> Tensor:
    found = torch.zeros(benefits.shape[:2], dtype=torch.int64)
    compiled = pytest.importorskip("lightning_gw.gw.moves.compiled.assignments")
    for one, raised, p in zip(benefits.numpy(), step.tolist(), found.numpy(), strict=True):
        compiled.auction(one, np.float32(raised), np.zeros(len(p), np.float32), p)
    return found


def batched_auction(benefits: Tensor, step: Tensor) -> Tensor:
    return auction(benefits, step, 100 * benefits.shape[1], torch.zeros(benefits.shape[:2]))


AUCTIONS = pytest.mark.parametrize("sell", [batched_auction, compiled_auction])


@AUCTIONS
@pytest.mark.parametrize("n", [1, 2, 3, 30, 80])
def test_an_auction_ends_within_n_steps_of_the_best_assignment(sell, n: int) -> None:  # type: ignore[no-untyped-def]
    benefits = torch.randn(4, n, n, generator=torch.Generator().manual_seed(n))
    for step in (0.3, 0.01):
        found = sell(benefits, torch.full((4,), step))
        assert torch.equal(found.sort(dim=1).values, torch.arange(n).expand(4, n))
        for one, p in zip(benefits.double().numpy(), found.numpy(), strict=True):
            best = one[linear_sum_assignment(one, maximize=True)].sum()
            assert best - n * step - 1e-4 <= one[np.arange(n), p].sum() <= best + 1e-4


@AUCTIONS
def test_an_auction_of_equal_benefits_or_without_a_step_still_gives_permutations(sell) -> None:  # type: ignore[no-untyped-def]
    for benefits in (torch.zeros(2, 12, 12), torch.ones(2, 12, 1).expand(2, 12, 12).contiguous()):
        for step in (0.1, 0.0):
            assert torch.equal(
                sell(benefits, torch.full((2,), step)).sort(dim=1).values, torch.arange(12).expand(2, 12)
            )


def test_an_auction_cut_short_gives_permutations() -> None:
    benefits = torch.randn(4, 30, 30, generator=torch.Generator().manual_seed(0))
    for rounds in range(6):
        found = auction(benefits, torch.full((4,), 0.01), rounds, torch.zeros(4, 30))
        assert torch.equal(found.sort(dim=1).values, torch.arange(30).expand(4, 30))


def layers(n: int) -> SearchMatrices:
    generator = torch.Generator().manual_seed(n)
    points = torch.randn(3, n, 4, generator=generator, dtype=torch.float64)
    return SearchMatrices.of(torch.cdist(points, points))


@pytest.fixture(params=[BatchedMoves, CompiledMoves])
def moves(request: pytest.FixtureRequest) -> Moves:
    if request.param is CompiledMoves:
        pytest.importorskip("numba")
    return request.param(layers(60))  # type: ignore[no-any-return]


def reassigned(
    moves: Moves, start: Tensor, rounds: int = 6, noise: float = 1.0, seed: int = 1
) -> tuple[Tensor, Tensor]:
    losses = ceiling(moves.search, moves.anchor, FIRST, SECOND) - moves.values(FIRST, SECOND, start[:, None])[:, 0]
    return moves.reassign(FIRST, SECOND, start, rounds, noise, losses, seed)


def test_reassigning_never_loses_and_leads_out_of_the_local_optimum_of_the_identity(moves: Moves) -> None:
    start, _ = moves.descend(FIRST, SECOND, torch.arange(60).repeat(3, 1, 1), 1000)
    before = moves.values(FIRST, SECOND, start)[:, 0]
    found, converged = reassigned(moves, start[:, 0])
    after = moves.values(FIRST, SECOND, found[:, None])[:, 0]
    assert torch.equal(found.sort(dim=1).values, torch.arange(60).expand(3, 60))
    assert (after >= before).all()
    assert (after > before * 1.01).all()
    assert converged.all()
    again, _ = moves.descend(FIRST, SECOND, found[:, None], 1000)
    assert torch.equal(again[:, 0], found)  # what is called a local optimum is one


def test_a_pair_does_not_depend_on_the_others_and_only_on_the_seed(moves: Moves) -> None:
    start = torch.arange(60).repeat(3, 1)
    together, _ = reassigned(moves, start)
    assert torch.equal(together, reassigned(moves, start)[0])
    losses = ceiling(moves.search, 0.0, FIRST, SECOND) - moves.values(FIRST, SECOND, start[:, None])[:, 0]
    for k in range(3):
        one = slice(k, k + 1)
        alone, _ = moves.reassign(FIRST[one], SECOND[one], start[one], 6, 1.0, losses[one], 1)
        assert torch.equal(alone[0], together[k])
    assert not torch.equal(together, reassigned(moves, start, seed=2)[0])


def test_a_relabelled_copy_stays_where_it_is_matched(moves: Moves) -> None:
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    matrices = moves.search.whole()
    matrices[1] = matrices[0][order][:, order]
    copied = type(moves)(SearchMatrices.of(matrices))
    matched = torch.empty(60, dtype=torch.int64)
    matched[order] = torch.arange(60)
    found, _ = reassigned(copied, matched.repeat(3, 1))
    assert torch.equal(found[0], matched)


@pytest.mark.parametrize("kind", [BatchedMoves, CompiledMoves])
def test_an_anchor_strong_enough_keeps_every_input_where_it_is(kind: type) -> None:
    if kind is CompiledMoves:
        pytest.importorskip("numba")
    anchored = kind(layers(40), anchor=50.0)
    start = torch.arange(40).repeat(3, 1)
    assert torch.equal(reassigned(anchored, start)[0], start)
