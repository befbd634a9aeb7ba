"""Points, what is measured between them, and the best permutation of few of them by trying all."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor


def best_permutation(a: Tensor, b: Tensor) -> float:
    every = torch.tensor(list(permutations(range(len(a)))))
    moved = b[every[:, :, None], every[:, None, :]]
    return float((a - moved).square().mean(dim=(1, 2)).min())


def points(n: int, width: int, seed: int) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distances(x: Tensor) -> Tensor:
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def gram(x: Tensor) -> Tensor:
    return x @ x.T


def largest_difference(x: Tensor) -> Tensor:
    """Chebyshev distances, which are not of negative type in general."""
    return torch.cdist(x, x, p=float("inf"))
