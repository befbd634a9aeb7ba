"""What a matrix of a layer is off its diagonal, in a few factors: enough to see which clusters of inputs correspond.

With ``A ≈ αᵀβ`` off the diagonal and ``C = α Bp`` kept, all swaps of one input are valued in ``O(n r)`` and a swap is
followed in ``O(n r)`` too, where the matrix itself takes ``O(n²)`` for either. What the product of the factors has on
its diagonal does not matter, since ``A`` and ``B`` are zero there; so it is left free, and the fit gains by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Number of factors; more gain nothing.
RANK = 8
#: Columns that the power iteration carries beyond those kept.
SPARE = 4
#: Steps of the power iteration between two fits of the diagonal, and number of fits.
STEPS, FITS = 3, 2


@dataclass(frozen=True)
class Factors:
    """Low-rank approximation of ``L`` symmetric matrices off their diagonals.

    Attributes:
        left: ``(L, RANK, n)`` float32 factors ``α``.
        right: ``(L, RANK, n)`` float32 factors ``β``, so that ``A ≈ αᵀβ``.
        diagonals: ``(L, n)`` float32 diagonals ``D`` of ``αᵀβ``.
        residuals: ``(L,)`` float64 share of a matrix's squares off the diagonal that the factors miss.
    """

    left: Tensor
    right: Tensor
    diagonals: Tensor
    residuals: Tensor

    @staticmethod
    def of(matrices: Tensor) -> Factors:
        """Fit ``(L, n, n)`` float32 symmetric matrices with zero diagonal, by block power iteration."""
        count, n, _ = matrices.shape
        rank, width = min(RANK, n), min(RANK + SPARE, n)
        generator = torch.Generator().manual_seed(0)
        basis = torch.randn(n, width, generator=generator).to(matrices.device).expand(count, -1, -1)
        diagonals = matrices.new_zeros(count, n)
        for _ in range(FITS):
            for _ in range(STEPS):
                basis = torch.linalg.qr(_product(matrices, diagonals, basis)).Q
            values, turn = torch.linalg.eigh(basis.transpose(1, 2) @ _product(matrices, diagonals, basis))
            kept = values.abs().argsort(dim=1, descending=True, stable=True)[:, :rank]
            values = values.gather(1, kept)
            vectors = (basis @ turn).gather(2, kept[:, None, :].expand(-1, n, -1))
            diagonals = (vectors.square() * values[:, None, :]).sum(dim=2)
        left = matrices.new_zeros(count, RANK, n)
        left[:, :rank] = (vectors * values.abs().sqrt()[:, None, :]).transpose(1, 2)
        signs = matrices.new_zeros(count, RANK)
        signs[:, :rank] = values.sign()
        right = left * signs[:, :, None]
        # ‖A − αᵀβ‖² off the diagonal, from products that take no further n × n matrix.
        squares = torch.stack([matrix.double().square().sum() for matrix in matrices])
        common = (values * (vectors * (matrices @ vectors)).sum(dim=1)).double().sum(dim=1)
        own = values.double().square().sum(dim=1) - diagonals.double().square().sum(dim=1)
        missed = squares - 2 * common + own
        return Factors(left, right, diagonals, torch.where(squares > 0, missed / squares, 0.0))


def _product(matrices: Tensor, diagonals: Tensor, columns: Tensor) -> Tensor:
    """The matrices with these diagonals, times columns."""
    return matrices @ columns + diagonals[:, :, None] * columns
