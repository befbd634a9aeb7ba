"""The parts of the convex bound: valid whatever their multipliers, splits and shifts are."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_gw.gw.bounds.relaxation import ReducedRows, Relaxed, assignment_bound
from lightning_gw.gw.bounds.tight import _Pair
from lightning_gw.gw.moves.batched.swaps import permute_both


def every_permutation(n: int) -> Tensor:
    return torch.from_numpy(np.array(list(permutations(range(n)))))


def normal(generator: torch.Generator, *size: int) -> Tensor:
    return torch.randn(*size, generator=generator, dtype=torch.float64)


def pair_of(kind: str, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two random symmetric matrices, or distances of points and of the same points, moved a little and relabelled."""
    if kind == "random":
        a, b = normal(generator, n, n), normal(generator, n, n)
        return a + a.T, b + b.T
    points = normal(generator, n, 2)
    moved = (points + 0.1 * normal(generator, n, 2))[torch.randperm(n, generator=generator)]
    return torch.cdist(points, points), torch.cdist(moved, moved)


@pytest.mark.parametrize("kind", ["random", "planted"])
@pytest.mark.parametrize("anchor", [0.0, 0.5])
def test_no_split_shift_or_state_puts_a_bound_above_the_best_permutation(kind: str, anchor: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (4, 5, 6, 7):
        a, b = pair_of(kind, n, generator)
        every = every_permutation(n)
        values = (a - permute_both(b.expand(len(every), n, n), every)).square().sum(dim=(1, 2))
        best = float((values + n * anchor * (every != torch.arange(n)).double().sum(dim=1)).min())
        pair = _Pair(a, b, anchor)
        for scale in (0.0, 0.3, 3.0):
            splits = pair.start() + scale * normal(generator, 2, n + 1, n)
            found = pair.bound(splits, None)
            assert found.least <= found.value() <= best
            state = Relaxed(
                positive=normal(generator, n, n).float(),
                scaled_dual=normal(generator, n, n).float(),
                slopes=normal(generator, n - 2),
                penalty=0.1 + scale,
            )
            anything = pair.bound(splits, state)
            assert anything.least <= anything.value() <= best


def test_reduced_rows_are_above_every_permutation_and_reached_where_rows_agree() -> None:
    generator = torch.Generator().manual_seed(1)
    part, whole, shift = normal(generator, 6, 6), normal(generator, 6, 6), 3 * normal(generator, 6)
    every = every_permutation(6)
    values = (part * permute_both(whole.expand(len(every), 6, 6), every)).sum(dim=(1, 2))
    products, magnitude = ReducedRows.of(part, whole, shift).products()
    bounds = products[torch.arange(6), every].sum(dim=1)
    assert (bounds >= values - 1e-12).all()
    assert magnitude >= float(products.abs().max())

    order, steps = torch.arange(6).double(), normal(generator, 6)
    same = torch.outer(steps.abs(), order)  # each row ascends, as each row of the other matrix does once shifted enough
    products, _ = ReducedRows.of(same, whole, 100 * order).products()
    identity = torch.arange(6)
    assert float(products[identity, identity].sum()) == pytest.approx(float((same * whole).sum()), rel=1e-9)
    unshifted, _ = ReducedRows.of(same, whole, 0 * order).products()
    assert float(unshifted[identity, identity].sum()) > float((same * whole).sum()) + 0.1


def test_an_image_is_the_derivative_of_the_products() -> None:
    generator = torch.Generator().manual_seed(2)
    n, step = 7, 1e-6
    part, whole, shift = normal(generator, n, n), normal(generator, n, n), normal(generator, n)
    x = torch.rand(n, n, generator=generator, dtype=torch.float64)
    moves = normal(generator, n, n), normal(generator, n, n), normal(generator, n)
    images = ReducedRows.of(part, whole, shift).images(x)
    here = (x * ReducedRows.of(part, whole, shift).products()[0]).sum()
    for which, (move, image) in enumerate(zip(moves, images, strict=True)):
        moved = [part, whole, shift]
        moved[which] = moved[which] + step * move
        change = (x * ReducedRows.of(*moved).products()[0]).sum() - here
        assert float(change) / step == pytest.approx(float((move * image).sum()), rel=1e-4, abs=1e-4)


def test_any_multipliers_bound_an_assignment_and_the_reduced_costs_attain_it() -> None:
    generator = torch.Generator().manual_seed(3)
    potentials = normal(generator, 9, 1), normal(generator, 1, 9)
    reduced = torch.rand(9, 9, generator=generator, dtype=torch.float64).fill_diagonal_(0)
    costs = potentials[0] + potentials[1] + reduced
    least = costs.numpy()[linear_sum_assignment(costs.numpy())].sum()
    assert assignment_bound(costs, reduced) == pytest.approx(least, rel=1e-12)
    for scale in (0.1, 1.0, 10.0):
        assert assignment_bound(costs, scale * normal(generator, 9, 9)) <= least + 1e-12
