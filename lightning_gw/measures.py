"""Similarity measures that come with the same activations: the paired columns that cost no solve."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_gw.spaces import check_representations, make_spaces

FloatArray = NDArray[np.float64]

#: Name in the record, and the geometry whose identity coupling the measure is.
PAIRED_GEOMETRIES: Mapping[str, str] = {"paired_dcor": "dcor", "paired_cka": "cka"}


def paired_similarities(representations: Mapping[str, Tensor]) -> dict[str, FloatArray]:
    """Squared distance correlation and linear CKA between all layers, inputs matched to themselves.

    Both are the identity coupling of a Gromov-Wasserstein problem: the mean product of two matrices of root mean square
    1. Squared distance correlation follows Székely, Rizzo and Bakirov (2007) in its biased V-statistic form; linear CKA
    follows Kornblith et al. (2019).

    Args:
        representations: Layer name to ``(n, d)``.

    Returns:
        ``{"paired_dcor": (L, L), "paired_cka": (L, L)}``, float64 in [0, 1], higher is closer, 1 on the diagonal; the
        rows of degenerate layers are NaN.
    """
    checked = check_representations(representations)
    return {name: _identity_similarity(checked, geometry) for name, geometry in PAIRED_GEOMETRIES.items()}


def _identity_similarity(representations: Mapping[str, Tensor], geometry: str) -> FloatArray:
    spaces = make_spaces(representations, geometry)
    layers = list(representations)
    where = np.array([layers.index(name) for name in spaces.layers], dtype=np.int64)
    similarity = np.full((len(layers), len(layers)), np.nan)
    flat = spaces.matrices.flatten(1)
    products = (flat @ flat.T / flat.shape[1]).cpu().numpy()
    np.fill_diagonal(products, 1.0)
    similarity[np.ix_(where, where)] = products
    return similarity
