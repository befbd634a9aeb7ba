"""From a layer's representation to a metric-measure space: distance, centring, scale.

A *geometry* names how the ``(n, n)`` matrix of a layer is made from its ``(n, d)`` representation. At the identity
coupling each geometry is a measure the field already knows: RSA (``standardized``, ``euclidean``), squared distance
correlation (``dcor``; Székely, Rizzo and Bakirov 2007) and linear CKA (``cka``; Kornblith et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

MINIMUM_INPUTS = 4
#: Below this share of the largest squared norm, distances are rounding noise and the layer is constant.
CONSTANT_TOLERANCE = 1e-10
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
        concave: True where the objective is concave in the coupling, so that the best coupling is a permutation.
    """

    name: str
    distance: Callable[[Tensor], Tensor]
    centring: Literal["none", "offdiagonal", "double"]
    scale: Literal["none", "mean", "rms"]
    concave: bool = False

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


GEOMETRIES: Mapping[str, Geometry] = {
    geometry.name: geometry
    for geometry in (
        Geometry("euclidean", euclidean_distances, "none", "mean", concave=True),
        Geometry("standardized", euclidean_distances, "offdiagonal", "rms"),
        Geometry("dcor", euclidean_distances, "double", "rms", concave=True),
        Geometry("cka", gram_matrix, "double", "rms", concave=True),
        Geometry("cosine", cosine_distances, "offdiagonal", "rms"),
        Geometry("sqeuclidean", squared_euclidean_distances, "offdiagonal", "rms"),
        Geometry("rbf", rbf_kernel, "offdiagonal", "rms"),
    )
}


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


@dataclass(frozen=True)
class Spaces:
    """The metric-measure spaces of all layers, made once and shared by every measure.

    Attributes:
        layers: Names of the usable layers, ``L`` of them.
        matrices: ``(L, n, n)`` float64, centred and scaled.
        variation: ``(L,)`` standard deviation over mean of the plain distances, over all ``n²`` entries after the
            off-diagonal mean is removed; what converts between ``standardized`` and ``euclidean``.
        geometry: The geometry they were made under.
        degenerate: Layers left out, name to reason.
    """

    layers: tuple[str, ...]
    matrices: Tensor
    variation: Tensor
    geometry: Geometry
    degenerate: Mapping[str, str]


def make_spaces(representations: Mapping[str, Tensor], geometry: str | Geometry) -> Spaces:
    """Metric-measure spaces of all layers under one geometry.

    Args:
        representations: Layer name to ``(n, d)``; ``d`` may differ, ``n`` may not. Checked by `check_representations`.
        geometry: A name of `GEOMETRIES` or a `Geometry`.

    Returns:
        Spaces; a layer with NaN or infinite values, or with all its inputs in one point, is left out and named.
    """
    geometry = get_geometry(geometry)
    degenerate: dict[str, str] = {}
    names, matrices, variations = [], [], []
    for name, x in representations.items():
        reason = find_defect(x)
        if reason is None:
            matrix, variation = make_space(to_float64(x), geometry)
            if matrix is None:
                reason = "all its inputs are equally far apart, so centred distances have no scale"
            else:
                names.append(name)
                matrices.append(matrix)
                variations.append(variation)
        if reason is not None:
            degenerate[name] = reason
    n = len(next(iter(representations.values())))
    device = to_float64(next(iter(representations.values()))[:1]).device
    return Spaces(
        layers=tuple(names),
        matrices=torch.stack(matrices) if matrices else torch.empty(0, n, n, dtype=torch.float64, device=device),
        variation=torch.stack(variations) if variations else torch.empty(0, dtype=torch.float64, device=device),
        geometry=geometry,
        degenerate=degenerate,
    )


def make_space(x: Tensor, geometry: Geometry, weights: Tensor | None = None) -> tuple[Tensor | None, Tensor]:
    """Metric-measure space of one layer.

    Args:
        x: ``(n, d)`` float64.
        geometry: How it is made.
        weights: ``(n,)`` float64 weights adding up to 1; uniform if left out. Means, centring and scale are weighted.

    Returns:
        The ``(n, n)`` matrix, or None where all inputs are equally far apart and a centred geometry has no scale; and
        the coefficient of variation of the distances.
    """
    matrix = geometry.distance(x)
    matrix = (matrix + matrix.T) / 2
    n = len(matrix)
    if weights is None:
        weights = torch.full((n,), 1.0 / n, dtype=matrix.dtype, device=matrix.device)
    mass = weights[:, None] * weights[None, :]
    off_diagonal = ~torch.eye(n, dtype=torch.bool, device=matrix.device)
    off_mass = torch.where(off_diagonal, mass, 0.0)
    mean = (mass * matrix).sum()
    centred = torch.where(off_diagonal, matrix - (off_mass * matrix).sum() / off_mass.sum(), 0.0)
    variation = (mass * centred.square()).sum().sqrt() / mean
    if geometry.centring == "offdiagonal":
        matrix = centred
    elif geometry.centring == "double":
        rows = matrix @ weights
        matrix = matrix - rows[:, None] - rows[None, :] + rows @ weights
    if geometry.scale == "mean":
        return matrix / mean, variation
    if geometry.scale == "rms":
        rms = (mass * matrix.square()).sum().sqrt()
        # Equidistant inputs leave nothing but rounding after the mean is taken off.
        if rms <= 1e-7 * mean.abs() or rms == 0:
            return None, variation
        return matrix / rms, variation
    return matrix, variation


def to_float64(x: Tensor) -> Tensor:
    """``x`` in float64 on its own device, or on the CPU where the device has no float64 (MPS)."""
    if x.device.type == "mps":
        x = x.cpu()
    return x.detach().to(torch.float64)


def find_defect(x: Tensor) -> str | None:
    """Why a representation ``(n, d)`` cannot be compared with others, in plain words; None when it can."""
    finite = torch.isfinite(x)
    if not bool(finite.all()):
        bad = int((~finite).any(dim=1).sum())
        return f"{bad} of its {len(x)} inputs have NaN or infinite values"
    x = to_float64(x)
    spread = (x - x.mean(dim=0)).square().sum(dim=1).max()
    size = x.square().sum(dim=1).max()
    if bool(spread <= CONSTANT_TOLERANCE * size) or x.shape[1] == 0:
        return "it is constant: every input has the same representation"
    return None


def check_representations(
    representations: Mapping[str, Tensor] | Sequence[Tensor], minimum: int = MINIMUM_INPUTS
) -> dict[str, Tensor]:
    """Representations as a checked mapping of ``(n, d)`` tensors; a sequence gets the names ``"0"``, ``"1"``, ….

    Raises:
        TypeError: For something that is no real floating or integer tensor or array.
        ValueError: For no layers, a shape other than ``(n, d)``, layers with different ``n``, or too few inputs.
    """
    if not isinstance(representations, Mapping):
        representations = {str(i): x for i, x in enumerate(representations)}
    if not representations:
        raise ValueError("No representations were given; expected at least one layer name with its (n, d) tensor.")
    checked: dict[str, Tensor] = {}
    for name, x in representations.items():
        x = torch.as_tensor(x)
        if x.is_complex() or x.dtype == torch.bool:
            raise TypeError(f"Layer {name!r} has dtype {x.dtype}; expected real numbers (float or integer).")
        if x.ndim != 2:
            raise ValueError(
                f"Layer {name!r} has shape {tuple(x.shape)}; expected (n, d), one row per input. Pool it first."
            )
        checked[str(name)] = x.detach() if x.is_floating_point() else x.detach().to(torch.float64)
    sizes = {name: len(x) for name, x in checked.items()}
    if len(set(sizes.values())) > 1:
        listing = ", ".join(f"{name!r}: {n}" for name, n in sizes.items())
        raise ValueError(
            f"All layers need the same number of inputs, got {listing}. For two sets of different size use gw_distance."
        )
    n = next(iter(sizes.values()))
    if n < minimum:
        raise ValueError(f"{n} inputs are too few to compare layers; at least {minimum} are needed.")
    return checked
