"""Measures that align the features of two layers: Procrustes, canonical correlation (CCA) and SVCCA.

Inputs are matched to themselves. All are exact, by singular value decompositions in float64, batched over the pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from lightning_gw.geometry.spaces import at_workable_scale, find_defect
from lightning_gw.measures.paired import in_place
from lightning_gw.utilities.arrays import FloatArray

#: Share of the variance that SVCCA keeps (Raghu et al. 2017).
KEPT_VARIANCE = 0.99
#: Entries of the largest stack of products that is decomposed at once.
STACK = 2**24


def procrustes_similarity(representations: Mapping[str, Tensor]) -> FloatArray:
    """Procrustes similarity of all layers, ``(L, L)`` in [0, 1]: how well one becomes the other by turning it.

    ``‖XᵀY‖_* / (‖X‖ ‖Y‖)`` for centred ``X``, ``Y``, with the nuclear norm of the product over the Frobenius norms.
    With both at norm 1, ``2 (1 − similarity)`` is the least ``‖X − Y Q‖²`` over orthogonal ``Q``,
    ``arccos(similarity)`` the angular shape metric of Williams et al. (2021), and ``1 − similarity²`` the disparity of
    `scipy.spatial.procrustes`.
    """
    usable, factors = _factors(representations, lambda u, s, _: u * (s / s.norm()))
    return in_place(_sums_of_singular_values(factors), usable, tuple(representations))


def cca_similarity(representations: Mapping[str, Tensor]) -> FloatArray:
    """Mean canonical correlation of all layers, ``(L, L)`` in [0, 1]; over the smaller of both ranks.

    Layers of ranks ``p`` and ``q`` on ``n`` inputs have at least ``p + q − (n − 1)`` canonical correlations of 1,
    whatever their values are, since their subspaces cannot avoid each other. Where that is more than 0 the entry is NaN
    and `why_subspaces_overlap` says so: show more inputs, or use `svcca_similarity`. Below it, chance still makes
    correlations large unless ``n`` is many times ``p + q``.
    """
    return _correlation(representations, None)


def svcca_similarity(representations: Mapping[str, Tensor], variance: float = KEPT_VARIANCE) -> FloatArray:
    """SVCCA of Raghu et al. (2017): CCA between the leading principal components of each layer, ``(L, L)`` in [0, 1].

    Args:
        representations: Layer name to ``(n, d)``.
        variance: The fewest components are kept whose share of the variance reaches this.

    Returns:
        Mean canonical correlation over the smaller number of components; NaN where there are too many components for
        the number of inputs, as in `cca_similarity`.
    """
    if not 0 < variance <= 1:
        raise ValueError(f"variance is {variance}; expected a share above 0 and at most 1.")
    return _correlation(representations, variance)


def why_subspaces_overlap(representations: Mapping[str, Tensor], variance: float | None = None) -> str | None:
    """Why entries of `cca_similarity` (of `svcca_similarity` with `variance`) are NaN, or None where none is so."""
    n = len(next(iter(representations.values())))
    usable, factors = _factors(representations, _basis(variance))
    ranks = [factor.shape[1] for factor in factors]
    crossing = [(i, j) for i in range(len(ranks)) for j in range(i) if ranks[i] + ranks[j] > n - 1]
    if not crossing:
        return None
    i, j = max(crossing, key=lambda pair: ranks[pair[0]] + ranks[pair[1]])
    more = ranks[i] + ranks[j] + 1
    return (
        f"{len(crossing)} of {len(ranks) * (len(ranks) - 1) // 2} pairs of layers fill too much of the room that {n} "
        f"inputs span: {usable[j]!r} and {usable[i]!r} have {ranks[j]} and {ranks[i]} dimensions, so that some "
        f"canonical correlations are 1 whatever the layers compute. Show at least {more} inputs, many times that for a "
        f"value worth reading{'' if variance else ', or use SVCCA'}."
    )


def _correlation(representations: Mapping[str, Tensor], variance: float | None) -> FloatArray:
    n = len(next(iter(representations.values())))
    usable, factors = _factors(representations, _basis(variance))
    ranks = np.array([factor.shape[1] for factor in factors])
    mean = _sums_of_singular_values(factors) / np.minimum.outer(ranks, ranks)
    mean[np.add.outer(ranks, ranks) > n - 1] = np.nan
    return in_place(mean, usable, tuple(representations))


def _basis(variance: float | None) -> Callable[[Tensor, Tensor, int], Tensor]:
    """What keeps the left singular vectors: all but rounding, or those that hold a share of the variance."""

    def keep(u: Tensor, s: Tensor, rank: int) -> Tensor:
        if variance is not None:
            shares = s.square().cumsum(0) / s.square().sum()
            rank = min(rank, 1 + int((shares < variance - 1e-12).sum()))
        return u[:, :rank]

    return keep


def _factors(
    representations: Mapping[str, Tensor], make: Callable[[Tensor, Tensor, int], Tensor]
) -> tuple[tuple[str, ...], list[Tensor]]:
    """Of every usable layer, what `make` takes from its centred ``U S Vᵀ`` and numerical rank: ``(n, r)``."""
    usable, factors = [], []
    for name, x in representations.items():
        if find_defect(x) is None:
            values = at_workable_scale(x)
            u, s, _ = torch.linalg.svd(values - values.mean(dim=0), full_matrices=False)
            # Rounding the activations to their dtype makes singular values up to about the first term, decomposing them
            # some up to the second; dimensions below that are none of the layer's.
            exact = torch.finfo(torch.float64).eps
            precision = torch.finfo(x.dtype).eps if x.is_floating_point() else exact
            rounding = precision * values.square().mean().sqrt() * (len(x) ** 0.5 + x.shape[1] ** 0.5)
            rounding = rounding + exact * max(x.shape) * s[0]
            usable.append(name)
            factors.append(make(u, s, max(1, int((s > rounding).sum()))))
    return tuple(usable), factors


def _sums_of_singular_values(factors: list[Tensor]) -> FloatArray:
    """Nuclear norms of ``F_iᵀ F_j`` for all pairs of ``(n, r_i)`` factors, ``(L, L)``."""
    count = len(factors)
    sums = np.zeros((count, count))
    if not count:
        return sums
    widest = max(factor.shape[1] for factor in factors)
    # Columns of zeros add singular values of zero, which leave a sum as it is.
    padded = torch.stack([torch.nn.functional.pad(factor, (0, widest - factor.shape[1])) for factor in factors])
    i, j = np.tril_indices(count)
    for some in np.array_split(np.arange(len(i)), -(-len(i) * widest**2 // STACK)):
        products = padded[i[some]].transpose(1, 2) @ padded[j[some]]
        sums[i[some], j[some]] = torch.linalg.svdvals(products).sum(dim=1).cpu().numpy()
    return np.asarray(sums + np.tril(sums, -1).T)
