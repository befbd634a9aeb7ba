"""Certified lower bounds on the distortion of a pair of metric-measure spaces with uniform weights.

Each bound holds for every permutation. Where the objective is concave in the coupling (see `GWMatrix.restricted`) the
best coupling is a permutation, so the bound then holds for the Gromov-Wasserstein value itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Bounds are lowered by this many machine roundings of the two squared norms, more than their arithmetic can lose.
ROUNDINGS = 64.0


@dataclass(frozen=True)
class Spectrum:
    """What a matrix keeps under every relabelling; the parts are orthogonal, so bounds on them add up.

    Attributes:
        mean: ``(L,)`` mean of all entries.
        rows: ``(L, n)`` ascending row means minus the mean.
        eigenvalues: ``(L, n)`` ascending eigenvalues of the doubly centred matrix.
    """

    mean: Tensor
    rows: Tensor
    eigenvalues: Tensor

    @staticmethod
    def of(matrices: Tensor) -> Spectrum:
        """Spectra of ``(L, n, n)`` float64 symmetric matrices."""
        rows = matrices.mean(dim=2)
        mean = rows.mean(dim=1)
        centred = matrices - rows[:, :, None] - rows[:, None, :] + mean[:, None, None]
        return Spectrum(mean, (rows - mean[:, None]).sort(dim=1).values, torch.linalg.eigvalsh(centred))


def spectral_bound(spectrum: Spectrum, first: Tensor, second: Tensor) -> Tensor:
    """``(P,)`` spectral lower bounds on mean ``(A − B[p][:, p])²``, in float64.

    A matrix splits into a constant, a rank-two row-and-column part and a doubly centred part, orthogonal to each other
    and each mapped onto itself by permutations. The first is fixed, the second is least at sorted row means
    (rearrangement inequality), the third at sorted eigenvalues (Hoffman and Wielandt 1953). `first` and `second`
    are the ``(P,)`` int64 indices of the layers of each pair.
    """
    n = spectrum.rows.shape[1]
    constant = (spectrum.mean[first] - spectrum.mean[second]).square()
    rows = 2 * (spectrum.rows[first] - spectrum.rows[second]).square().mean(dim=1)
    centred = (spectrum.eigenvalues[first] - spectrum.eigenvalues[second]).square().sum(dim=1) / n**2
    return constant + rows + centred


def round_down(bound: Tensor, squared_norms: Tensor) -> Tensor:
    """``(P,)`` float64 bounds less what floating point may have added, never below 0.

    `squared_norms`, ``(P,)``, are the mean squares of the two matrices of each pair, added.
    """
    return (bound - ROUNDINGS * torch.finfo(torch.float64).eps * squared_norms).clamp(min=0)
