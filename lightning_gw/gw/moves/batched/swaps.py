"""Batched multi-swap descent over permutations, the heart of the solver.

With ``A`` and ``B`` symmetric and zero on the diagonal, the distortion of a permutation ``p`` is a constant minus
``2 S / n²``, ``S(p) = Σ A ∘ B[p][:, p] + Σ_i F[i, p_i]``; the linear cost ``F`` carries diagonals and anchors. With
``Bp = B[p][:, p]``, ``Fp = F[:, p]`` and ``M = 2 Bp A + Fp``, exchanging ``p_u`` and ``p_v`` raises ``S`` by exactly

    g_uv = M_uv + M_vu − M_uu − M_vv + 4 A_uv Bp_uv .

One round finds for every input its best partner, keeps the pairs that choose each other, and applies the prefix of them
(largest gain first) whose joint gain, cross terms included, is largest. ``Bp A`` follows by a low-rank update.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lightning_gw.gw.moves.low_rank import Factors

#: Gains below this, relative to n, are rounding noise of the float32 search.
GAIN_TOLERANCE = 2e-6
#: The low-rank updates of ``Bp A`` gather rounding errors; it is computed afresh this often.
REFRESH_EVERY = 64
#: Rounds between looks at which pairs still move: each look waits for the device.
CHECK_EVERY = 8


@dataclass(frozen=True)
class SearchMatrices:
    """What the search works on: float32, zero diagonal, off-diagonal mean 0, root mean square 1, per layer.

    Attributes:
        matrices: ``(L, n, n)`` float32.
        diagonals: ``(L, n)`` float32 diagonals in the same scale, or None where all are constant.
        scale: ``(L,)`` float64 factor between these matrices and the ones the caller's geometry made.
    """

    matrices: Tensor
    diagonals: Tensor | None
    scale: Tensor

    @cached_property
    def norms(self) -> Tensor:
        """``(L,)`` float64 Frobenius norms of the matrices."""
        return torch.stack([matrix.double().norm() for matrix in self.matrices])

    @cached_property
    def factors(self) -> Factors:
        """The matrices as a few factors see them, fitted when first asked for."""
        return Factors.of(self.matrices)

    def whole(self) -> Tensor:
        """``(L, n, n)`` float64 matrices with their diagonals."""
        matrices = self.matrices.double()
        if self.diagonals is not None:
            matrices.diagonal(dim1=1, dim2=2).copy_(self.diagonals)
        return matrices

    @staticmethod
    def of(spaces: Tensor) -> SearchMatrices:
        """Prepare ``(L, n, n)`` float64 symmetric matrices; no step moves the best permutation of any pair."""
        n = spaces.shape[-1]
        diagonal = spaces.diagonal(dim1=1, dim2=2)
        mean = (spaces.sum(dim=(1, 2)) - diagonal.sum(dim=1)) / (n * (n - 1))
        centred = spaces - mean[:, None, None]
        centred.diagonal(dim1=1, dim2=2).zero_()
        scale = centred.square().mean(dim=(1, 2)).sqrt()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        diagonal = diagonal - diagonal.mean(dim=1, keepdim=True)
        has_diagonal = bool((diagonal.abs().amax(dim=1) > 1e-9 * scale).any())
        return SearchMatrices(
            matrices=(centred / scale[:, None, None]).float(),
            diagonals=(diagonal / scale[:, None]).float() if has_diagonal else None,
            scale=scale,
        )


class SwapSearch:
    """Descent state of one batch of pairs of layers.

    Args:
        first: ``(P, n, n)`` float32 matrices ``A``, zero diagonal.
        second: ``(P, n, n)`` float32 matrices ``B``, zero diagonal.
        permutation: ``(P, n)`` int64 start.
        linear: ``(P, n, n)`` linear gains ``F``, or None for none.
    """

    def __init__(self, first: Tensor, second: Tensor, permutation: Tensor, linear: Tensor | None = None) -> None:
        self.first = first
        self.second = second
        self.linear = linear
        self.permutation = permutation.clone()
        self.count, self.n = permutation.shape
        self.swaps = max(1, self.n // 8)
        self.tolerance = GAIN_TOLERANCE * self.n
        self._refresh()

    def _refresh(self) -> None:
        p = self.permutation
        self.permuted = permute_both(self.second, p)
        self.product = torch.bmm(self.permuted, self.first)

    def gains(self) -> Tensor:
        """``(P, n, n)`` gain in ``S`` of every single swap."""
        m = 2 * self.product
        if self.linear is not None:
            m += columns_of(self.linear, self.permutation)
        diagonal = m.diagonal(dim1=1, dim2=2).clone()
        g = m + m.transpose(1, 2)
        g.addcmul_(self.first, self.permuted, value=4)
        g -= diagonal[:, :, None]
        g -= diagonal[:, None, :]
        g.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        return g

    def round(self) -> Tensor:
        """One round of disjoint swaps; returns ``(P,)`` bool, whether the pair still moved."""
        g = self.gains()
        best, partner = g.max(dim=2)
        top = best.argmax(dim=1, keepdim=True)  # exact ties may leave no mutual choice: the best pair is always taken
        partner.scatter_(1, partner.gather(1, top), top)
        rows = torch.arange(self.n, device=g.device).expand_as(partner)
        chosen = (partner.gather(1, partner) == rows) & (rows < partner) & (best > self.tolerance)
        gain, u = torch.where(chosen, best, -torch.inf).topk(self.swaps, dim=1)
        v = partner.gather(1, u)
        valid = gain > -torch.inf

        a, b = (rows_of(matrix, u) - rows_of(matrix, v) for matrix in (self.first, self.permuted))
        cross = (columns_of(a, u) - columns_of(a, v)) * (columns_of(b, u) - columns_of(b, v))
        cross = torch.where(valid[:, :, None] & valid[:, None, :], cross, 0.0)
        joint = torch.where(valid, gain, 0.0) + 2 * cross.tril(-1).sum(dim=2)
        cumulative = joint.cumsum(dim=1)
        keep = torch.arange(self.swaps, device=g.device) <= cumulative.argmax(dim=1, keepdim=True)
        keep = keep & valid

        self._apply(u, v, keep, a, b)
        return valid[:, 0]

    def _apply(self, u: Tensor, v: Tensor, keep: Tensor, a: Tensor, b: Tensor) -> None:
        weight = keep[:, :, None].to(a.dtype)
        self.product.baddbmm_((b * weight).transpose(1, 2), a, alpha=-1)
        exchange = torch.arange(self.n, device=u.device).repeat(self.count, 1)
        # Added, not written: a rejected pair may share an index with a kept one and must leave it alone.
        shift = torch.where(keep, v - u, 0)
        exchange.scatter_add_(1, u, shift).scatter_add_(1, v, -shift)
        self.product = rows_of(self.product, exchange)
        self.permuted = permute_both(self.permuted, exchange)
        self.permutation = self.permutation.gather(1, exchange)

    def select(self, index: Tensor) -> None:
        """Keep only these pairs of the batch."""
        self.first, self.second = self.first[index], self.second[index]
        self.permuted, self.product = self.permuted[index], self.product[index]
        self.permutation = self.permutation[index]
        if self.linear is not None:
            self.linear = self.linear[index]
        self.count = len(index)


def rows_of(matrices: Tensor, index: Tensor) -> Tensor:
    """Rows ``(P, S)`` of ``(P, n, m)`` matrices: ``(P, S, m)``; quicker than ``take_along_dim``."""
    return matrices.gather(1, index[:, :, None].expand(-1, -1, matrices.shape[2]))


def columns_of(matrices: Tensor, index: Tensor) -> Tensor:
    """Columns ``(P, S)`` of ``(P, n, m)`` matrices: ``(P, n, S)``."""
    return matrices.gather(2, index[:, None, :].expand(-1, matrices.shape[1], -1))


def permute_both(matrices: Tensor, permutation: Tensor) -> Tensor:
    """``B[p][:, p]`` for a batch: ``(P, n, n)`` and ``(P, n)`` to ``(P, n, n)``."""
    return columns_of(rows_of(matrices, permutation), permutation)


def invert(permutation: Tensor) -> Tensor:
    """Inverse of ``(…, n)`` permutations."""
    n = permutation.shape[-1]
    positions = torch.arange(n, device=permutation.device).expand_as(permutation)
    return torch.empty_like(permutation).scatter_(-1, permutation, positions)


def objective(a: Tensor, b: Tensor, permutation: Tensor, linear: Tensor | None) -> Tensor:
    """``(P,)`` float64 ``S(p) = Σ A ∘ B[p][:, p] + Σ_i F[i, p_i]``, what the search raises."""
    value = (a * permute_both(b, permutation)).sum(dim=(1, 2), dtype=torch.float64)
    if linear is not None:
        value += linear.gather(2, permutation[:, :, None]).sum(dim=(1, 2), dtype=torch.float64)
    return value


def anchor_gain(search: SearchMatrices, anchor: float, first: Tensor, second: Tensor) -> Tensor:
    """``(P,)`` what an input matched to itself adds to the objective.

    The distortion to be lowered is ``const − 2 s_i s_j S / n² + anchor (1 − matches / n)``, with ``s`` the scales.
    """
    n = search.matrices.shape[-1]
    return anchor * n / (2 * search.scale[first] * search.scale[second])


def ceiling(search: SearchMatrices, anchor: float, first: Tensor, second: Tensor) -> Tensor:
    """``(P,)`` what the objective of no pair can exceed: ``Σ A ∘ Bp <= ‖A‖ ‖B‖``, which only relabelled copies attain.

    How far a permutation falls short of it, its *loss*, is its distortion in another scale.
    """
    most = search.norms[first] * search.norms[second]
    if search.diagonals is not None:
        sizes = search.diagonals.double().norm(dim=1)
        most = most + sizes[first] * sizes[second]
    if anchor > 0:
        most = most + search.matrices.shape[-1] * anchor_gain(search, anchor, first, second)
    return most


def descend(
    first: Tensor, second: Tensor, permutation: Tensor, linear: Tensor | None = None, rounds: int = 1000
) -> tuple[Tensor, Tensor]:
    """Descend from each start until no single swap helps, or for at most `rounds` rounds.

    Args:
        first: As in `SwapSearch`; likewise `second`, `permutation`, `linear`.
        rounds: Most rounds spent on any pair.

    Returns:
        Permutations ``(P, n)`` and whether each pair ended in a local optimum, ``(P,)`` bool.
    """
    search = SwapSearch(first, second, permutation, linear)
    result = permutation.clone()
    converged = torch.zeros(len(permutation), dtype=torch.bool, device=permutation.device)
    alive = torch.arange(len(permutation), device=permutation.device)
    for done in range(1, rounds + 1):
        moved = search.round()
        if done % REFRESH_EVERY == 0:
            search._refresh()
        if done % CHECK_EVERY and done != rounds:
            continue
        if not bool(moved.all()):
            still = ~moved
            result[alive[still]] = search.permutation[still]
            converged[alive[still]] = True
            keep = moved.nonzero()[:, 0]
            alive = alive[keep]
            if len(alive) == 0:
                return result, converged
            search.select(keep)
    result[alive] = search.permutation
    return result, converged
