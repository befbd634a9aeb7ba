"""The two relaxations of trace(A X B Xᵀ) that `tight` joins: by eigenvalues and by sorted rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Eigen:
    """A symmetric matrix on the complement of the constant vector, and its row sums.

    Attributes:
        values: ``(n − 1,)`` ascending eigenvalues.
        vectors: ``(n, n − 1)`` orthonormal eigenvectors, orthogonal to the constant vector.
        sums: ``(n,)`` row sums of the matrix.
    """

    values: Tensor
    vectors: Tensor
    sums: Tensor

    @staticmethod
    def of(matrix: Tensor, complement: Tensor) -> Eigen:
        values, vectors = torch.linalg.eigh(complement.T @ matrix @ complement)
        return Eigen(values, complement @ vectors, matrix.sum(dim=1))


def complement_basis(matrix: Tensor) -> Tensor:
    """``(n, n − 1)`` orthonormal basis of the complement of the constant vector, by a Householder reflection."""
    n = len(matrix)
    normal = torch.full((n,), n**-0.5, dtype=matrix.dtype, device=matrix.device)
    normal[0] += 1
    reflection = torch.eye(n, dtype=matrix.dtype, device=matrix.device)
    return (reflection - 2 * torch.outer(normal, normal) / (normal @ normal))[:, 1:]


@dataclass(frozen=True)
class SortedRows:
    """Rows of a matrix beside the diagonal in ascending order, and the diagonal.

    Attributes:
        rows: ``(n, n − 1)``.
        order: ``(n, n − 1)`` the position each came from.
        diagonal: ``(n,)``.
    """

    rows: Tensor
    order: Tensor
    diagonal: Tensor

    @staticmethod
    def of(matrix: Tensor) -> SortedRows:
        rows = off_diagonal(matrix).sort(dim=1)
        return SortedRows(rows.values, rows.indices, matrix.diagonal())

    def products(self, other: SortedRows) -> Tensor:
        """``(n, n)`` most that a row of this matrix can make of a row of the other."""
        return self.rows @ other.rows.T + torch.outer(self.diagonal, other.diagonal)

    def image(self, x: Tensor, other: SortedRows) -> Tensor:
        """What this matrix is multiplied with in ⟨X, products⟩: the other's sorted rows, mixed by X, in its order."""
        mixed = x @ other.rows
        return _with_diagonal(torch.zeros_like(mixed).scatter_(1, self.order, mixed), x @ other.diagonal)


def spectral_duals(first: Tensor, second: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Dual feasible (s, t) for the costs ``−2 λ_i μ_j`` and the reduced costs ``(n − 1, n − 1)``, all ≥ 0.

    Held by ascending slopes, ``s_{i+1} − s_i = −2 (λ_{i+1} − λ_i) slope_i``; slopes between neighbouring μ attain the
    spectral bound. t, and then s again, are the largest feasible.
    """
    costs = -2 * torch.outer(first, second)
    s = torch.zeros_like(first)
    s[1:] = torch.cumsum(-2 * (first[1:] - first[:-1]) * slopes, dim=0)
    t = (costs - s[:, None]).amin(dim=0)
    s = (costs - t[None, :]).amin(dim=1)
    return s, t, (costs - s[:, None] - t[None, :]).clamp_(min=0)


def best_slopes(z: Tensor, second: Tensor) -> Tensor:
    """Slopes of the (s, t) that is best at ``z``: the north-west corner rule on what z leaves free of each vector."""
    rows = (1 - z.square().sum(dim=1)).clamp(min=0) + 1e-12
    columns = (1 - z.square().sum(dim=0)).clamp(min=0) + 1e-12
    rows, columns = rows.cumsum(dim=0), columns.cumsum(dim=0)
    corner = torch.searchsorted(columns / columns[-1], (rows / rows[-1])[:-1]).clamp(max=len(second) - 1)
    return second[corner]


def spectral_image(x: Tensor, first: Eigen, second: Eigen, s: Tensor) -> Tensor:
    """What A is multiplied with in its spectral part of S: X B Xᵀ, filled up by the derivative of tr s(A)(1 − X Xᵀ)."""
    n = len(x)
    z = first.vectors.T @ x @ second.vectors
    gaps = first.values[:, None] - first.values[None, :]
    apart = gaps.abs() > 1e-9 * first.values.abs().max()
    divided = torch.where(apart, (s[:, None] - s[None, :]) / torch.where(apart, gaps, 1.0), 0.0)
    beside = divided.diagonal(1)
    divided.diagonal().copy_((torch.cat([beside[:1], beside]) + torch.cat([beside, beside[-1:]])) / 2)
    free = torch.eye(n - 1, dtype=x.dtype, device=x.device) - z @ z.T
    image = first.vectors @ ((z * second.values) @ z.T - divided * free / 2) @ first.vectors.T
    sums = x @ second.sums / n
    return image + sums[:, None] + sums[None, :] - second.sums.sum() / n**2


def off_diagonal(matrix: Tensor) -> Tensor:
    """``(n, n − 1)`` entries beside the diagonal, row by row."""
    n = len(matrix)
    return matrix.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)


def _with_diagonal(entries: Tensor, diagonal: Tensor) -> Tensor:
    """``(n, n)`` matrix of the ``(n, n − 1)`` entries beside its diagonal and the diagonal."""
    n = len(entries)
    flat = torch.zeros(n * n, dtype=entries.dtype, device=entries.device)
    flat[1:].view(n - 1, n + 1)[:, :-1] = entries.reshape(n - 1, n)
    matrix = flat.view(n, n)
    matrix.diagonal().copy_(diagonal)
    return matrix
