"""Starting permutations for the search: cheap guesses, each right in another case."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_gw.gw.bounds.relaxation import off_diagonal
from lightning_gw.utilities.arrays import FloatArray


def identity_start(count: int, n: int, device: torch.device) -> Tensor:
    """``(count, n)`` identity permutations: the paired measure, always allowed."""
    return torch.arange(n, device=device).repeat(count, 1)


def sorted_start(first: Tensor, second: Tensor) -> Tensor:
    """``(P, n)`` permutations that match the inputs of two layers rank to rank, by ``(P, n)`` scores of either."""
    order_first, order_second = first.argsort(dim=1, stable=True), second.argsort(dim=1, stable=True)
    return torch.empty_like(order_first).scatter_(1, order_first, order_second)


def sorted_rows_assignments(matrices: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Best assignment of the sorted rows of every pair, and its mean cost: the third lower bound (Mémoli 2011).

    Diagonal entries are matched with diagonal entries, as every permutation does; the cost of matching input ``i`` to
    ``k`` is the mean squared difference of the rest of their rows, sorted.

    Args:
        matrices: ``(L, n, n)`` float64 symmetric.
        first: ``(P,)`` first layers.
        second: ``(P,)`` second layers.

    Returns:
        ``(P, n)`` permutations and ``(P,)`` float64 mean costs.
    """
    n = matrices.shape[-1]
    rows = torch.stack([sorted_off_diagonal(matrix) for matrix in matrices])
    # What the layers' mean rows differ by costs every permutation the same.
    means = rows.mean(dim=1)
    rows -= means[:, None, :]
    norms = rows.square().sum(dim=2)
    diagonals = matrices.diagonal(dim1=1, dim2=2)
    projections = (rows @ main_axis(rows)).cpu().numpy()
    permutations, costs = [], []
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        cost = torch.addmm(norms[i][:, None] + norms[j][None, :], rows[i], rows[j].T, alpha=-2)
        cost += (diagonals[i][:, None] - diagonals[j][None, :]).square()
        host = cost.cpu().numpy()
        assigned = linear_sum_assignment(reduced_costs(host, projections[i], projections[j]))
        permutations.append(assigned[1])
        costs.append((float(host[assigned].mean()) + float((means[i] - means[j]).square().sum())) / n)
    device = matrices.device
    return torch.from_numpy(np.stack(permutations)).to(device), torch.tensor(costs, dtype=torch.float64, device=device)


def main_axis(rows: Tensor) -> Tensor:
    """``(n − 1,)`` unit vector along which centred sorted rows ``(L, n, n − 1)`` differ most, by power iteration."""
    points = rows.flatten(0, 1)
    axis = torch.ones(rows.shape[-1], dtype=rows.dtype, device=rows.device)
    for _ in range(10):
        axis = torch.nn.functional.normalize(points.T @ (points @ axis), dim=0)
    return axis


def reduced_costs(cost: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """An assignment problem with the same solution that is solved faster.

    Any potentials may be taken off rows and columns. Most of the cost is the squared difference along one axis, whose
    optimal potentials are known from sorting; with them and the least of every row and column gone, hardly anything is
    left to do. `cost` is ``(n, n)``; `first` and `second`, ``(n,)``, are where rows and columns lie on the axis.
    """
    rows, columns = first.argsort(), second.argsort()
    s, t = first[rows], second[columns]
    # On sorted pairs the potentials' slope is bounded by what the neighbours on either side would pay to cross over.
    u = np.concatenate([[0.0], np.cumsum((s[1:] - s[:-1]) * (s[1:] + s[:-1] - t[1:] - t[:-1]))])
    v = (s - t) ** 2 - u
    row_potentials, column_potentials = np.empty_like(u), np.empty_like(v)
    row_potentials[rows], column_potentials[columns] = u, v
    reduced = cost - column_potentials
    reduced -= row_potentials[:, None]
    reduced -= reduced.min(axis=0)
    reduced -= reduced.min(axis=1)[:, None]
    return np.asarray(reduced)


def sorted_off_diagonal(matrix: Tensor) -> Tensor:
    """``(n, n − 1)`` off-diagonal entries of every row in ascending order."""
    flat = off_diagonal(matrix)
    if flat.device.type == "cpu":
        return torch.from_numpy(np.sort(flat.numpy(), axis=1))  # NumPy sorts in vectors
    return flat.sort(dim=1).values
