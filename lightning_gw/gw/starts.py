"""Starting permutations for the search: cheap guesses, each right in another case."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def identity_start(count: int, n: int, device: torch.device) -> Tensor:
    """``(count, n)`` identity permutations: the paired measure, always allowed."""
    return torch.arange(n, device=device).repeat(count, 1)


def sorted_start(first: Tensor, second: Tensor) -> Tensor:
    """Match the inputs of two layers in the order of a score.

    Args:
        first: ``(P, n)`` score of each input of the first layer.
        second: ``(P, n)`` the same of the second layer.

    Returns:
        ``(P, n)`` permutations that match rank to rank.
    """
    order_first, order_second = first.argsort(dim=1, stable=True), second.argsort(dim=1, stable=True)
    return torch.empty_like(order_first).scatter_(1, order_first, order_second)


def eccentricities(matrices: Tensor) -> Tensor:
    """``(L, n)`` mean distance of every input to all others (the first lower bound of Mémoli 2011)."""
    return matrices.mean(dim=2)


def sorted_rows_cost(first: Tensor, second: Tensor) -> Tensor:
    """``(n, n)`` mean squared difference of sorted rows, the assignment cost of the third lower bound (Mémoli 2011).

    Diagonal entries are matched with diagonal entries, as every permutation does.

    Args:
        first: ``(n, n)`` float64 symmetric.
        second: ``(n, n)`` float64 symmetric.
    """
    n = len(first)
    a, b = sorted_off_diagonal(first), sorted_off_diagonal(second)
    cost = a.square().sum(1)[:, None] + b.square().sum(1)[None, :] - 2 * (a @ b.T)
    cost += (first.diagonal()[:, None] - second.diagonal()[None, :]).square()
    return cost.clamp_(min=0) / n


def sorted_off_diagonal(matrix: Tensor) -> Tensor:
    """``(n, n − 1)`` off-diagonal entries of every row in ascending order."""
    n = len(matrix)
    flat = matrix.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)
    return flat.sort(dim=1).values


def assign(cost: Tensor) -> tuple[np.ndarray, float]:
    """The best assignment of an ``(n, n)`` cost and its mean cost, by SciPy's exact solver."""
    host = cost.cpu().numpy()
    rows, columns = linear_sum_assignment(host)
    return columns, float(host[rows, columns].mean())


def compose(through: Tensor, onward: Tensor) -> Tensor:
    """Permutation ``i → j`` by way of a third layer ``k``: ``(…, n)`` maps ``i → k`` and ``k → j``."""
    return onward.gather(-1, through)


def invert(permutation: Tensor) -> Tensor:
    """Inverse of ``(…, n)`` permutations."""
    n = permutation.shape[-1]
    positions = torch.arange(n, device=permutation.device).expand_as(permutation)
    return torch.empty_like(permutation).scatter_(-1, permutation, positions)
