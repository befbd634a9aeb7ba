"""The coarse scale of the search: landmarks, their extension to all inputs, and what it is good for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gw.gw import gw_matrix
from lightning_gw.gw.moves.batched_swaps import SearchMatrices
from lightning_gw.gw.moves.choice import BatchedMoves, anchor_gain
from lightning_gw.gw.search.coarse import COARSE_FROM, LANDMARKS, extend, subset


def clusters(n: int, seed: int, centres: int = 6) -> Tensor:
    """Points in clusters of unequal size and unequal distances."""
    generator = torch.Generator().manual_seed(seed)
    places = 4 * torch.randn(centres, 5, generator=generator).double() * torch.arange(1, centres + 1)[:, None]
    return places[(torch.arange(n) ** 2) % centres] + torch.randn(n, 5, generator=generator).double()


def search_of(*points: Tensor) -> SearchMatrices:
    return SearchMatrices.of(torch.stack([torch.cdist(x, x) for x in points]))


def test_an_exact_matching_of_landmarks_extends_to_an_exact_matching_of_all() -> None:
    x = clusters(300, 0)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    search = search_of(x, x[order])
    chosen = torch.arange(0, 300, 5)
    # Landmarks of the copy must be landmarks themselves: take the copies of the first layer's.
    both = SearchMatrices.of(torch.stack([search.matrices[0].double(), search.matrices[1].double()]))
    position = torch.empty(300, dtype=torch.int64)
    position[order] = torch.arange(300)
    rows = both.matrices[0][:, chosen]
    copies = both.matrices[1][:, position[chosen]]
    joined = torch.zeros(2, 300, 300)
    joined[0][:, chosen], joined[1][:, chosen] = rows, copies
    found = extend(
        SearchMatrices(joined, None, both.scale),
        chosen,
        torch.tensor([0]),
        torch.tensor([1]),
        torch.arange(len(chosen))[None],
    )[0]
    assert torch.equal(found, position)


def test_a_subset_keeps_the_order_of_permutations_and_the_weight_of_the_anchor() -> None:
    x, y = clusters(80, 0), clusters(80, 1)
    search = search_of(x, y)
    chosen = torch.arange(0, 80, 2)
    small, direct = subset(search, chosen), search_of(x[chosen], y[chosen])
    torch.testing.assert_close(small.matrices, direct.matrices, rtol=1e-4, atol=1e-4)
    pair = torch.tensor([0]), torch.tensor([1])
    generator = torch.Generator().manual_seed(2)
    some = torch.stack([torch.randperm(40, generator=generator) for _ in range(20)])[None]
    order = [BatchedMoves(matrices, 0.0).values(*pair, some)[0].argsort() for matrices in (small, direct)]
    assert torch.equal(*order)
    torch.testing.assert_close(anchor_gain(small, 0.3, *pair), anchor_gain(direct, 0.3, *pair), rtol=1e-6, atol=0)


@pytest.mark.parametrize("anchor", [0.0, 0.05])
def test_many_inputs_are_searched_to_valid_permutations_below_the_identity(anchor: float) -> None:
    n = COARSE_FROM + 3
    assert n > 2 * LANDMARKS
    layers = {"a": clusters(n, 0), "b": clusters(n, 1).flip(0), "c": clusters(n, 2)}
    result = gw_matrix(layers, anchor=anchor)
    assert np.array_equal(np.sort(result.couplings, axis=-1), np.broadcast_to(np.arange(n), (3, 3, n)))
    assert (result.distortion <= result.identity).all()
    assert (result.lower <= result.distortion).all()
    assert result.converged.all()
