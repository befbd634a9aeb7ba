"""Small problems whose optimum is known by trying everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lightning_gw.geometry.spaces import make_spaces
from lightning_gw.gw import gw_matrix


def optimum(first: np.ndarray, second: np.ndarray) -> float:
    every = np.array(list(itertools.permutations(range(len(first)))))
    moved = second[every[:, :, None], every[:, None, :]]
    return float(((first - moved) ** 2).mean(axis=(1, 2)).min())


@pytest.mark.parametrize("geometry", ["standardized", "euclidean", "dcor", "cka"])
@pytest.mark.parametrize("n", [4, 5, 6, 7, 8])
@pytest.mark.representatives("7-*", "4-*")
def test_the_optimum_is_found_and_never_undercut_by_the_bound(n: int, geometry: str) -> None:
    found, total = 0, 5 if n == 8 else 10
    for seed in range(total):
        generator = torch.Generator().manual_seed(100 * n + seed)
        reps = {"a": torch.randn(n, 3, generator=generator), "b": torch.randn(n, 5, generator=generator)}
        result = gw_matrix(reps, geometry=geometry)
        matrices = make_spaces(reps, geometry).matrices.numpy()
        best = optimum(matrices[0], matrices[1])
        assert result.distortion[0, 1] >= best - 1e-12
        assert result.lower[0, 1] <= best
        found += result.distortion[0, 1] <= best + 1e-9
    assert found == total if n <= 7 else found >= total - 1


def test_the_triangle_inequality_holds_between_optima() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        reps = [torch.randn(6, width, generator=generator) for width in (2, 3, 4)]
        distance = gw_matrix(reps, geometry="euclidean").distance
        assert distance[0, 2] <= distance[0, 1] + distance[1, 2] + 1e-12
