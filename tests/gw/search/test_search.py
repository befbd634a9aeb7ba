"""The swap search: every gain is exact, every round climbs, and its low-rank bookkeeping stays true."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_gw.gw.moves.batched.swaps import SwapSearch, descend, permute_both


def symmetric(pairs: int, n: int, generator: torch.Generator) -> Tensor:
    x = torch.randn(pairs, n, n, generator=generator)
    x = x + x.transpose(1, 2)
    x.diagonal(dim1=1, dim2=2).zero_()
    return x


def value(a: Tensor, b: Tensor, p: Tensor, linear: Tensor | None) -> Tensor:
    total = (a.double() * permute_both(b, p).double()).sum(dim=(1, 2))
    if linear is not None:
        total += linear.double().gather(2, p[:, :, None]).sum(dim=(1, 2))
    return total


@pytest.fixture(params=[False, True], ids=["plain", "linear"])
def problem(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    a, b = symmetric(4, 17, generator), symmetric(4, 17, generator)
    p = torch.stack([torch.randperm(17, generator=generator) for _ in range(4)])
    return a, b, p, torch.randn(4, 17, 17, generator=generator) if request.param else None


def test_every_gain_is_the_change_of_the_objective(problem: tuple[Tensor, Tensor, Tensor, Tensor | None]) -> None:
    a, b, p, linear = problem
    gains = SwapSearch(a, b, p, linear).gains()
    before = value(a, b, p, linear)
    for u in range(17):
        for v in range(u):
            q = p.clone()
            q[:, u], q[:, v] = p[:, v], p[:, u]
            torch.testing.assert_close((value(a, b, q, linear) - before).float(), gains[:, u, v], atol=1e-3, rtol=1e-4)


def test_every_round_climbs_although_the_costs_are_not_convex(
    problem: tuple[Tensor, Tensor, Tensor, Tensor | None],
) -> None:
    a, b, p, linear = problem
    search = SwapSearch(a, b, p, linear)
    before = value(a, b, search.permutation, linear)
    for _ in range(40):
        moved = search.round()
        after = value(a, b, search.permutation, linear)
        assert (after >= before - 1e-3).all()
        assert (after[moved] > before[moved]).all()
        before = after
    assert not moved.any()


def test_low_rank_updates_follow_the_permutation(problem: tuple[Tensor, Tensor, Tensor, Tensor | None]) -> None:
    a, b, p, linear = problem
    search = SwapSearch(a, b, p, linear)
    for _ in range(10):
        search.round()
    torch.testing.assert_close(search.permuted, permute_both(b, search.permutation))
    torch.testing.assert_close(search.product, search.permuted @ a, atol=1e-3, rtol=1e-4)


def test_descent_ends_where_no_swap_helps(problem: tuple[Tensor, Tensor, Tensor, Tensor | None]) -> None:
    a, b, p, linear = problem
    found, converged = descend(a, b, p, linear)
    assert converged.all()
    assert (found.sort(dim=1).values == torch.arange(17)).all()
    assert (SwapSearch(a, b, found, linear).gains() < 1e-3).all()


def test_exact_ties_do_not_stall() -> None:
    """A ring matched with itself turned: every row has many equally good partners."""
    n = 12
    steps = torch.arange(n)
    gap = (steps[:, None] - steps[None, :]).abs()
    ring = torch.minimum(gap, n - gap).float()
    scrambled = torch.randperm(n, generator=torch.Generator().manual_seed(3))
    other = ring[scrambled][:, scrambled]
    found, converged = descend(ring[None], other[None], torch.arange(n)[None])
    assert converged.all()
    identity = (ring - other).square().mean()
    assert (ring - permute_both(other[None], found)[0]).square().mean() < identity
