"""From layers' representations to metric-measure spaces: distance, centring, scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gw.geometry.geometries import PRECOMPUTED, Geometry, get_geometry_or_precomputed
from lightning_gw.geometry.geometries import get_geometry as get_geometry
from lightning_gw.geometry.validation import at_workable_scale as at_workable_scale
from lightning_gw.geometry.validation import check_representations as check_representations
from lightning_gw.geometry.validation import find_defect, to_float64

#: Asymmetry up to this share of the largest entry is rounding and averaged away; more of it is an error.
SYMMETRY_TOLERANCE = 1e-5


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
        negative: ``(L,)`` bool: the plain distances are conditionally negative definite.
        positive: ``(L,)`` bool: they are conditionally positive definite.
    """

    layers: tuple[str, ...]
    matrices: Tensor
    variation: Tensor
    geometry: Geometry
    degenerate: Mapping[str, str]
    negative: Tensor
    positive: Tensor


def make_spaces(representations: Mapping[str, Tensor], geometry: str | Geometry) -> Spaces:
    """Metric-measure spaces of all layers under one geometry.

    Args:
        representations: Layer name to ``(n, d)``; ``d`` may differ, ``n`` may not. Checked by `check_representations`.
        geometry: A name of `GEOMETRIES`, a `Geometry`, or ``"precomputed"`` for symmetric ``(n, n)`` matrices that are
            used as they are.

    Returns:
        Spaces; a layer with NaN or infinite values, or with all its inputs in one point, is left out and named.

    Raises:
        ValueError: If the geometry's distance function makes anything but a finite symmetric ``(n, n)`` matrix, or if a
            precomputed matrix is none; the message names the layer.
    """
    geometry = get_geometry_or_precomputed(geometry)
    degenerate: dict[str, str] = {}
    names, matrices, variations, signs = [], [], [], []
    for name, x in representations.items():
        reason = find_defect(x, geometry)
        if reason is None:
            plain = distance_matrix(f"layer {name!r}", at_workable_scale(x, geometry), geometry)
            matrix, variation, reason = make_space(plain, geometry)
            if matrix is not None:
                names.append(name)
                matrices.append(matrix)
                variations.append(variation)
                signs.append(definiteness(plain, geometry))
        if reason is not None:
            degenerate[name] = reason
    n = len(next(iter(representations.values())))
    device = to_float64(next(iter(representations.values()))[:1]).device
    flags = torch.tensor(signs, dtype=torch.bool).reshape(-1, 2)
    return Spaces(
        layers=tuple(names),
        matrices=torch.stack(matrices) if matrices else torch.empty(0, n, n, dtype=torch.float64, device=device),
        variation=torch.stack(variations) if variations else torch.empty(0, dtype=torch.float64, device=device),
        geometry=geometry,
        degenerate=degenerate,
        negative=flags[:, 0],
        positive=flags[:, 1],
    )


def distance_matrix(what: str, x: Tensor, geometry: Geometry) -> Tensor:
    """The plain ``(n, n)`` float64 matrix of a representation, before centring and scale, checked.

    Args:
        what: How messages call it, such as ``"layer 'encoder.3'"``.
        x: ``(n, d)`` float64 representation, or ``(n, n)`` matrix where the geometry is precomputed.
        geometry: How it is made.

    Raises:
        ValueError: If it is not ``(n, n)``, real, finite and symmetric to rounding.
    """
    n = len(x)
    matrix = torch.as_tensor(geometry.distance(x))
    given = geometry is PRECOMPUTED
    source = f"The matrix of {what}" if given else f"Geometry {geometry.name!r} made a matrix of {what} that"
    expected = f"expected a finite symmetric matrix of shape ({n}, {n})"
    if matrix.shape != (n, n):
        raise ValueError(f"{source} has shape {tuple(matrix.shape)}; {expected}.")
    if matrix.is_complex():
        raise ValueError(f"{source} has dtype {matrix.dtype}; {expected}, real.")
    matrix = matrix.to(dtype=torch.float64, device=x.device)
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(f"{source} has NaN or infinite entries; {expected}.")
    asymmetry = (matrix - matrix.T).abs()
    if n and bool(asymmetry.max() > SYMMETRY_TOLERANCE * matrix.abs().max()):
        i, k = divmod(int(asymmetry.argmax()), n)
        raise ValueError(
            f"{source} is not symmetric: entry ({i}, {k}) is {float(matrix[i, k]):g} and ({k}, {i}) is "
            f"{float(matrix[k, i]):g}; {expected}. If the average of both is meant, pass (C + C.T) / 2."
        )
    return (matrix + matrix.T) / 2


def make_space(
    plain: Tensor, geometry: Geometry, weights: Tensor | None = None
) -> tuple[Tensor | None, Tensor, str | None]:
    """Centre and scale the plain distances of one layer.

    Args:
        plain: ``(n, n)`` float64 symmetric, from `distance_matrix`.
        geometry: How it is made.
        weights: ``(n,)`` float64 weights adding up to 1; uniform if left out. Means, centring and scale are weighted.

    Returns:
        The ``(n, n)`` matrix, or None where it has no scale; the coefficient of variation of the distances; and why
        there is no scale, in plain words, or None.

    Raises:
        ValueError: If distances that are to be divided by their mean have a negative one.
    """
    n = len(plain)
    if weights is None:
        weights = torch.full((n,), 1.0 / n, dtype=plain.dtype, device=plain.device)
    mass = weights[:, None] * weights[None, :]
    off_diagonal = ~torch.eye(n, dtype=torch.bool, device=plain.device)
    off_mass = torch.where(off_diagonal, mass, 0.0)
    mean = (mass * plain).sum()
    centred = torch.where(off_diagonal, plain - (off_mass * plain).sum() / off_mass.sum(), 0.0)
    variation = (mass * centred.square()).sum().sqrt() / mean
    matrix = plain
    if geometry.centring == "offdiagonal":
        matrix = centred
    elif geometry.centring == "double":
        rows = plain @ weights
        matrix = plain - rows[:, None] - rows[None, :] + rows @ weights
    if geometry.scale == "mean":
        if mean < 0:
            raise ValueError(
                f"Geometry {geometry.name!r} divides by the mean entry, which is {float(mean):g}; expected distances, "
                'whose mean is positive. For kernels use scale="rms".'
            )
        if mean == 0:
            return None, variation, "all its distances are zero, so they have no scale"
        return matrix / mean, variation, None
    if geometry.scale == "rms":
        rms = (mass * matrix.square()).sum().sqrt()
        # Equidistant inputs leave nothing but rounding after the mean is taken off.
        if not bool(rms > 1e-7 * mean.abs()):
            return None, variation, "all its inputs are equally far apart, so centred distances have no scale"
        return matrix / rms, variation, None
    return matrix, variation, None


def definiteness(plain: Tensor, geometry: Geometry) -> tuple[bool, bool]:
    """Whether a matrix is negative, and whether it is positive semi-definite on the complement of the constant vector.

    Known geometries are taken at their word. Otherwise the eigenvalues of the doubly centred matrix are looked at; one
    counts as zero up to ``n · 1.2e-7 · largest entry``, the most that rounding the entries to float32 can make of it.
    What a coupling may win from so small an eigenvalue is of the same order relative to the value's scale.

    Off-diagonal centring takes the diagonal out of the comparison, so there it is levelled first.
    """
    if geometry.definite is not None:
        return geometry.definite == "negative", geometry.definite == "positive"
    n = len(plain)
    if geometry.centring == "offdiagonal":
        plain = plain.clone()
        plain.diagonal().fill_(plain.diagonal().mean())
    rows = plain.mean(dim=1)
    values = torch.linalg.eigvalsh(plain - rows[:, None] - rows[None, :] + rows.mean())
    tolerance = n * torch.finfo(torch.float32).eps * plain.abs().max()
    return bool(values[-1] <= tolerance), bool(values[0] >= -tolerance)
