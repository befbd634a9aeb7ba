"""The search itself on problems small enough to try everything, where enumeration would make the test trivial.

Random spaces of negative type: Euclidean distances of random points in a random dimension, their squares or roots.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import permutations

import pytest
import torch
from torch import Tensor

from lightning_gw.gw.moves.choice import BatchedMoves
from lightning_gw.gw.search.effort import PLANS
from lightning_gw.gw.search.known import Pairs
from lightning_gw.gw.search.pairs import solve_pairs
from lightning_gw.utilities.distributed import Ranks

SIZES = (4, 5, 6, 7, 8)
EXPONENTS = (1.0, 2.0, 0.5)


@cache
def all_permutations(n: int) -> Tensor:
    return torch.tensor(list(permutations(range(n))))


def optimum(a: Tensor, b: Tensor) -> float:
    every = all_permutations(len(a))
    return min(
        float((a - b[some[:, :, None], some[:, None, :]]).square().mean(dim=(1, 2)).min())
        for some in every.split(10_000)
    )


def space(n: int, generator: torch.Generator) -> Tensor:
    width = int(torch.randint(1, 7, (1,), generator=generator))
    exponent = EXPONENTS[int(torch.randint(len(EXPONENTS), (1,), generator=generator))]
    x = torch.randn(n, width, generator=generator, dtype=torch.float64)
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") ** exponent


def share_solved(each: int) -> float:
    """Share of `each` instances of every size in which the search ends at the optimum, at default effort."""
    solved = 0
    for n in SIZES:
        generator = torch.Generator().manual_seed(n)
        firsts = [space(n, generator) for _ in range(each)]
        seconds = [space(n, generator) for _ in range(each)]
        orders = [torch.randperm(n, generator=generator) for _ in range(each)]
        relabelled = [a[order][:, order] for a, order in zip(firsts, orders, strict=True)]
        index = torch.arange(each)
        pairs = Pairs(
            torch.stack([*firsts, *seconds, *relabelled]),
            index.repeat(2),
            torch.arange(each, 3 * each),
            tuple((f"a {k}", f"b {k}") for k in range(2 * each)),
        )
        found = solve_pairs(pairs, "default", None, "fast", 0, None, 0.0, 1, Ranks())
        scale = (pairs.matrices[:each].square() + pairs.matrices[each : 2 * each].square()).mean(dim=(1, 2))
        best = torch.tensor([optimum(a, b) for a, b in zip(firsts, seconds, strict=True)], dtype=torch.float64)
        assert (found.lower[:each] <= best).all()
        assert (found.distortion[:each] >= best - 1e-12 * scale).all()
        assert (found.distortion[each:] <= 1e-12 * scale).all(), f"a relabelled space of {n} inputs is not recovered"
        solved += int((found.distortion[:each] <= best + 1e-9 * scale).sum())
    return solved / (each * len(SIZES))


@pytest.fixture(params=["compiled", "batched torch"], autouse=True)
def _searched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_gw.gw.search.search.ENUMERATE_UP_TO", 0)
    # Every instance for itself, with no help from the others.
    monkeypatch.setitem(PLANS, "default", replace(PLANS["default"], through=0))
    if request.param == "batched torch":
        monkeypatch.setattr("lightning_gw.gw.search.pairs.choose_moves", BatchedMoves)
    else:
        pytest.importorskip("numba")


@pytest.mark.representatives("compiled")
def test_the_optimum_is_found_and_every_relabelling_recovered() -> None:
    assert share_solved(10) >= 0.98


@pytest.mark.slow
def test_the_optimum_is_found_in_all_but_five_of_a_thousand() -> None:
    share = share_solved(200)
    print(f"optimum found in {share:.1%} of 1000 instances")
    assert share >= 0.995
