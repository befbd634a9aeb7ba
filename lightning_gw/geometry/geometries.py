"""Geometries: how the ``(n, n)`` matrix of a layer is made from its ``(n, d)`` representation.

At the identity coupling each is a measure the field already knows: RSA (``standardized``, ``euclidean``), squared
distance correlation (``dcor``; Székely, Rizzo and Bakirov 2007) and linear CKA (``cka``; Kornblith et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

#: Squared distances below this share of the squared norms are computed directly; above it, twelve digits are left.
CANCELLATION = 1e-4


@dataclass(frozen=True)
class Geometry:
    """How a metric-measure space is made from a representation.

    Attributes:
        name: What results are labelled with.
        distance: ``(n, d)`` float64 representation to a symmetric ``(n, n)`` matrix of distances or kernel values.
        centring: ``"none"``; ``"offdiagonal"``: subtract the off-diagonal mean and keep a zero diagonal; ``"double"``:
            subtract row and column means and add the grand mean.
        scale: ``"mean"`` divides by the mean of all ``n²`` entries, ``"rms"`` by their root mean square.
        definite: What is known of every matrix that `distance` makes: ``"negative"`` if it is conditionally negative
            definite (negative semi-definite on the complement of the constant vector: Euclidean distances, their
            squares and roots), ``"positive"`` if it is conditionally positive definite (kernels), None if nothing is.
            Where it is None the matrices are looked at one by one. It decides which values are `GWMatrix.restricted`.

    Example:
        >>> import torch
        >>> from lightning_gw import Geometry, gw_matrix
        >>> manhattan = Geometry("manhattan", lambda x: torch.cdist(x, x, p=1), centring="offdiagonal", scale="rms")
        >>> x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
        >>> gw_matrix({"x": x, "swapped": x.flip(1)}, geometry=manhattan).similarity.round(2).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    name: str
    distance: Callable[[Tensor], Tensor]
    centring: Literal["none", "offdiagonal", "double"]
    scale: Literal["none", "mean", "rms"]
    definite: Literal["negative", "positive"] | None = None

    @property
    def unit_scale(self) -> bool:
        """Whether root mean square is 1, so that ``similarity = 1 − distortion / 2``."""
        return self.scale == "rms"


def squared_euclidean_distances(x: Tensor) -> Tensor:
    """Squared Euclidean distances of the rows of ``x``, ``(n, d)`` to ``(n, n)``, with an exactly zero diagonal.

    By one matrix product; entries that lose digits to cancellation are taken directly.
    """
    x = x - x.mean(dim=0, keepdim=True)
    sizes = x.square().sum(dim=1)
    sums = sizes[:, None] + sizes[None, :]
    squared = sums - 2 * (x @ x.T)
    near = (squared < CANCELLATION * sums).triu(1).nonzero()
    if len(near) > 16 * len(x):  # many coincide: not worth gathering one by one
        return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    direct = (x[near[:, 0]] - x[near[:, 1]]).square().sum(dim=1)
    squared[near[:, 0], near[:, 1]] = direct
    squared[near[:, 1], near[:, 0]] = direct
    return squared.fill_diagonal_(0)


def euclidean_distances(x: Tensor) -> Tensor:
    """Euclidean distances of the rows of ``x``, ``(n, d)`` to ``(n, n)``, with an exactly zero diagonal."""
    return squared_euclidean_distances(x).sqrt()


def cosine_distances(x: Tensor) -> Tensor:
    """``1 − cosine`` of the rows of ``x``, ``(n, d)`` to ``(n, n)``: half the squared distance on the unit sphere."""
    unit = torch.nn.functional.normalize(x, dim=1)
    return squared_euclidean_distances(unit) / 2


def gram_matrix(x: Tensor) -> Tensor:
    """Inner products of the centred rows of ``x``, ``(n, d)`` to ``(n, n)``."""
    centred = x - x.mean(dim=0, keepdim=True)
    return centred @ centred.T


def rbf_kernel(x: Tensor) -> Tensor:
    """Gaussian kernel of the rows of ``x`` with the median distance as its bandwidth, ``(n, d)`` to ``(n, n)``."""
    squared = squared_euclidean_distances(x)
    n = len(x)
    off_diagonal = squared[~torch.eye(n, dtype=torch.bool, device=x.device)]
    bandwidth = off_diagonal.median()
    if bandwidth <= 0:  # more than half of all pairs coincide: the mean is the next best scale
        bandwidth = off_diagonal.mean()
    return torch.exp(-squared / (2 * bandwidth))


#: The geometries that have a name; docs/method.md says what each is at the identity coupling.
GEOMETRIES: Mapping[str, Geometry] = {
    geometry.name: geometry
    for geometry in (
        Geometry("euclidean", euclidean_distances, "none", "mean", definite="negative"),
        Geometry("standardized", euclidean_distances, "offdiagonal", "rms", definite="negative"),
        Geometry("dcor", euclidean_distances, "double", "rms", definite="negative"),
        Geometry("cka", gram_matrix, "double", "rms", definite="positive"),
        Geometry("cosine", cosine_distances, "offdiagonal", "rms", definite="negative"),
        Geometry("sqeuclidean", squared_euclidean_distances, "offdiagonal", "rms", definite="negative"),
        Geometry("rbf", rbf_kernel, "offdiagonal", "rms", definite="positive"),
    )
}

#: Matrices that the caller made: each ``(n, n)`` is used as it is. No geometry of representations, so not among those.
PRECOMPUTED = Geometry("precomputed", lambda matrix: matrix, "none", "none")


def get_geometry(geometry: str | Geometry) -> Geometry:
    """The geometry of that name, or the given one itself.

    Raises:
        ValueError: For an unknown name; the known ones are listed.
    """
    if isinstance(geometry, Geometry):
        return geometry
    if geometry not in GEOMETRIES:
        raise ValueError(f"Unknown geometry {geometry!r}. Known: {', '.join(GEOMETRIES)}; or pass a Geometry.")
    return GEOMETRIES[geometry]


def get_geometry_or_precomputed(geometry: str | Geometry) -> Geometry:
    """Like `get_geometry`, where ``"precomputed"`` is allowed too."""
    return PRECOMPUTED if geometry == PRECOMPUTED.name else get_geometry(geometry)
