"""Measures that match every input to itself and compare ``(n, n)`` matrices: RSA, distance correlation, CKA.

Each is the identity coupling of a Gromov-Wasserstein problem: the mean product of two matrices of root mean square 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from lightning_gw.geometry.geometries import Geometry, euclidean_distances, get_geometry, gram_matrix
from lightning_gw.geometry.spaces import at_workable_scale, find_defect, make_spaces
from lightning_gw.utilities.arrays import FloatArray

#: Below this share of the mean square of the plain entries, what centring leaves is rounding.
ROUNDING = 1e-14


def identity_similarity(representations: Mapping[str, Tensor], geometry: str | Geometry) -> FloatArray:
    """``1 − distortion / 2`` of the identity coupling in a geometry of unit scale, ``(L, L)``; NaN if degenerate.

    Raises:
        ValueError: If the geometry has no unit scale.
    """
    geometry = get_geometry(geometry)
    if not geometry.unit_scale:
        raise ValueError(f"Geometry {geometry.name!r} has no unit scale; the identity similarity needs scale='rms'.")
    spaces = make_spaces(representations, geometry)
    flat = spaces.matrices.flatten(1)
    products = (flat @ flat.T / flat.shape[1]).cpu().numpy()
    return in_place(products, spaces.layers, tuple(representations))


def debiased_cka(representations: Mapping[str, Tensor]) -> FloatArray:
    """Linear CKA from the unbiased estimator of HSIC, ``(L, L)`` in [−1, 1], 0 on average for independent layers.

    Plain CKA rises towards 1 for any two layers as their widths outgrow the number of inputs. The estimator of Song et
    al. (2012, equation 5), brought into CKA by Nguyen, Raghu and Kornblith (2021), has no such bias. It is the inner
    product of the U-centred Gram matrices of Székely and Rizzo (2014), as which it is computed here, so that it obeys
    the Cauchy-Schwarz inequality and no value leaves [−1, 1].
    """
    return _u_centred_similarity(representations, gram_matrix)


def debiased_dcor(representations: Mapping[str, Tensor]) -> FloatArray:
    """Bias-corrected squared distance correlation of Székely and Rizzo (2013), ``(L, L)`` in [−1, 1]."""
    return _u_centred_similarity(representations, euclidean_distances)


def _u_centred_similarity(representations: Mapping[str, Tensor], pairwise: Callable[[Tensor], Tensor]) -> FloatArray:
    usable, flat = [], []
    for name, x in representations.items():
        if find_defect(x) is None:
            plain = pairwise(at_workable_scale(x))
            centred = u_centred(plain)
            size = centred.square().sum()
            if bool(size > ROUNDING * plain.square().sum()):
                usable.append(name)
                flat.append((centred / size.sqrt()).flatten())
    matrices = torch.stack(flat) if flat else torch.empty(0, 1, dtype=torch.float64)
    return in_place((matrices @ matrices.T).cpu().numpy(), tuple(usable), tuple(representations))


def u_centred(matrix: Tensor) -> Tensor:
    """U-centring of a symmetric ``(n, n)`` matrix: zero diagonal, and off-diagonal rows that add up to 0.

    The diagonal is disregarded; ``n`` is at least 4, for with 3 inputs nothing is left.
    """
    n = len(matrix)
    matrix = matrix.clone().fill_diagonal_(0)
    rows = matrix.sum(dim=1)
    centred = matrix - (rows[:, None] + rows[None, :]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return centred.fill_diagonal_(0)


def in_place(values: FloatArray, usable: tuple[str, ...], layers: tuple[str, ...]) -> FloatArray:
    """Values between the usable layers at their places among all ``L``: 1 on the diagonal, NaN for the others."""
    where = np.array([layers.index(name) for name in usable], dtype=np.int64)
    similarity = np.full((len(layers), len(layers)), np.nan)
    values = np.array((values + values.T) / 2)
    np.fill_diagonal(values, 1.0)
    similarity[np.ix_(where, where)] = values
    return similarity
