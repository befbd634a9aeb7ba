"""Groups of neighbouring layers: where the depth of a network falls into blocks of alike representations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_gw.gw.result import GWMatrix

FloatArray = NDArray[np.float64]
Strength = Literal["none", "weak", "strong"]

#: Exponent on the squared distances in the modularity cost; 2 emphasises strong contrasts, 1.5 follows weaker ones.
DEFAULT_GAMMA = 2.0
#: A weakest boundary this many times the median distance inside groups is "strong". A start, not a test.
STRONG_CONTRAST = 1.8
#: From here on a boundary is at least "weak"; below it, it is taken back.
WEAK_CONTRAST = 1.35
#: A quadratic in depth fits three adjacent distances whatever they are.
MINIMUM_FOR_ROUGHNESS = 4


@dataclass(frozen=True)
class Groups:
    """Contiguous groups of layers, how strongly they stand out, and how sure one can be.

    Attributes:
        labels: One group index per layer, ascending with depth from 0; −1 for a degenerate layer, which is in no group.
        boundaries: Each ``k`` such that a group ends after the ``k``-th layer (0-based). Empty when `strength` is none.
        adjacent: ``(L − 1,)`` distance from each layer to the next; NaN beside a degenerate layer.
        strength: ``"none"`` (the layers drift smoothly or cannot be told apart), ``"weak"`` or ``"strong"``.
        contrast: Adjacent distance at the weakest boundary over the median of those inside groups (of the boundary that
            was taken back last, when none is left); NaN where nothing was proposed.
        roughness: Standard deviation of the residuals of log adjacent distance about a quadratic in depth;
            NaN with fewer than 4 usable neighbours.
        proposed: Boundaries the detector proposed before `strength` was judged.
        p_value: p-value of `roughness` against a null, or None where none was computed.
        stability: Per boundary, the share of probe resamples in which it returned, or None where none were drawn.
    """

    labels: tuple[int, ...]
    boundaries: tuple[int, ...]
    adjacent: FloatArray
    strength: Strength
    contrast: float
    roughness: float
    proposed: tuple[int, ...] = ()
    p_value: float | None = None
    stability: tuple[float, ...] | None = None

    @property
    def count(self) -> int:
        """Number of groups; 1 when no boundary stands."""
        return len(self.boundaries) + 1

    def members(self) -> tuple[tuple[int, ...], ...]:
        """Layer indices of every group, in depth order."""
        used = sorted({label for label in self.labels if label >= 0})
        return tuple(tuple(i for i, label in enumerate(self.labels) if label == group) for group in used)

    def ranges(self) -> str:
        """The groups as 1-based layer ranges, such as ``1–2 | 3–6 | 7–9``."""
        return " | ".join(
            f"{group[0] + 1}" if len(group) == 1 else f"{group[0] + 1}–{group[-1] + 1}" for group in self.members()
        )


def find_groups(
    matrix: GWMatrix | ArrayLike,
    gamma: float = DEFAULT_GAMMA,
    weak: float = WEAK_CONTRAST,
    strong: float = STRONG_CONTRAST,
) -> Groups:
    """Contiguous groups of layers, their number not given.

    Among all ways to cut the depth into blocks, the one is proposed that maximises the modularity
    ``Σ_b 1/|b| Σ_{i<j in b} (mean(D^γ) − D^γ_ij)`` with ``D`` the squared distances (``2 (1 − similarity)``), found
    exactly by dynamic programming. Since every matrix has such a best cut, also one of pure drift, proposed boundaries
    whose adjacent distance does not stand out from those inside groups are taken back one by one, the least contrasted
    first; what remains is as strong as its weakest boundary.

    Args:
        matrix: A `GWMatrix`, whose `distance` is read, or a symmetric ``(L, L)`` array of distances. A layer whose
            distances are all NaN is left out and gets the label −1.
        gamma: Exponent ``γ`` on the squared distances.
        weak: Least contrast of a boundary that is kept.
        strong: Least contrast of the weakest boundary for strength "strong".

    Returns:
        Groups.

    Raises:
        ValueError: If the array is not square and symmetric, has negative entries, or misses single entries; or if the
            matrix is one between two sets of layers.
    """
    if isinstance(matrix, GWMatrix) and matrix.other_layers is not None:
        raise ValueError(
            f"This matrix is between two sets of layers, {matrix.layers[0]!r}, … ({len(matrix.layers)}) and "
            f"{matrix.other_layers[0]!r}, … ({len(matrix.other_layers)}), and groups are of one set in its own depth "
            "order. Make each set's own matrix for them: find_groups(gw_matrix(representations))."
        )
    distances = check_distances(matrix.distance if isinstance(matrix, GWMatrix) else matrix)
    count = len(distances)
    usable = np.flatnonzero(~np.isnan(np.where(np.eye(count, dtype=bool), np.nan, distances)).all(axis=1))
    if count == 1:
        usable = np.arange(1)
    adjacent = distances[np.arange(count - 1), np.arange(1, count)].copy()
    inner = distances[np.ix_(usable, usable)]
    steps = inner[np.arange(max(len(usable) - 1, 0)), np.arange(1, len(usable))] if len(usable) else np.empty(0)

    proposed = _best_cut(inner ** (2 * gamma))
    boundaries, contrast = _prune(proposed, steps, weak)
    strength: Strength = "none" if not boundaries else "strong" if contrast >= strong else "weak"
    labels = np.full(count, -1)
    labels[usable] = np.searchsorted(boundaries, np.arange(len(usable)), side="left") if boundaries else 0
    return Groups(
        labels=tuple(labels.tolist()),
        boundaries=tuple(int(usable[k]) for k in boundaries),
        adjacent=adjacent,
        strength=strength,
        contrast=contrast,
        roughness=roughness(steps),
        proposed=tuple(int(usable[k]) for k in proposed),
    )


def roughness(adjacent: ArrayLike) -> float:
    """Standard deviation of the residuals of log adjacent distance about a quadratic in depth.

    Args:
        adjacent: ``(L − 1,)`` adjacent distances; NaN and zero entries are left out.

    Returns:
        The standard deviation, a pure number; NaN with fewer than 4 usable entries, where the quadratic fits anything.
    """
    values = np.asarray(adjacent, dtype=np.float64)
    depth = np.arange(len(values))
    usable = np.isfinite(values) & (values > 0)
    if usable.sum() < MINIMUM_FOR_ROUGHNESS:
        return float("nan")
    logs = np.log(values[usable])
    fit = np.polynomial.Polynomial.fit(depth[usable], logs, deg=2)
    return float((logs - fit(depth[usable])).std())


def why_no_roughness(groups: Groups) -> str | None:
    """Why `groups` has no roughness, in one sentence; None where it has one."""
    if np.isfinite(groups.roughness):
        return None
    return (
        f"Roughness was left out: it is told from at least {MINIMUM_FOR_ROUGHNESS} distances above zero between "
        "neighbouring layers, and there are fewer."
    )


def check_distances(matrix: ArrayLike) -> FloatArray:
    """A symmetric ``(L, L)`` float64 array of distances, with zeros on the diagonal of usable layers.

    Raises:
        ValueError: If it is not square, not symmetric, negative, infinite, or misses single entries of usable layers.
    """
    distances = np.asarray(matrix, dtype=np.float64)
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1] or len(distances) == 0:
        raise ValueError(f"Expected a square (L, L) array of distances, got shape {distances.shape}.")
    if np.isinf(distances).any():
        raise ValueError("The distances hold infinite entries; mark a layer that has no distances with NaN throughout.")
    if not np.allclose(distances, distances.T, rtol=1e-6, atol=1e-9, equal_nan=True):
        i, j = np.argwhere(~np.isclose(distances, distances.T, rtol=1e-6, atol=1e-9, equal_nan=True))[0]
        raise ValueError(
            f"The distances are not symmetric: entry ({i}, {j}) is {distances[i, j]:g}, but ({j}, {i}) is "
            f"{distances[j, i]:g}."
        )
    if (distances < 0).any():
        raise ValueError("The distances hold negative entries; for a similarity s pass 1 − s.")
    missing = np.isnan(distances)
    np.fill_diagonal(missing, False)
    dead = missing.sum(axis=1) == len(distances) - 1
    if missing[np.ix_(~dead, ~dead)].any():
        i, j = np.argwhere(missing & ~dead[:, None] & ~dead[None, :])[0]
        raise ValueError(f"Entry ({i}, {j}) is NaN although both layers have other distances.")
    return distances


def _best_cut(costs: FloatArray) -> list[int]:
    """Boundaries of the contiguous cut with the highest modularity; of equal cuts the one with longer first blocks."""
    count = len(costs)
    if count < 2:
        return []
    upper = np.triu(costs, 1)
    gain = np.where(np.triu(np.ones_like(costs), 1) > 0, upper.sum() / (count * (count - 1) / 2) - upper, 0.0)
    # within[s, e]: sum of gain over pairs of s..e, from two-dimensional prefix sums
    prefix = np.zeros((count + 1, count + 1))
    prefix[1:, 1:] = gain.cumsum(axis=0).cumsum(axis=1)
    tolerance = 1e-12 * max(float(np.abs(gain).max()), np.finfo(float).tiny)
    best = np.zeros(count + 1)
    start = np.zeros(count + 1, dtype=np.int64)
    for end in range(1, count + 1):
        first = np.arange(end)
        within = prefix[end, end] - prefix[first, end] - prefix[end, first] + prefix[first, first]
        total = best[first] + within / (end - first)
        best[end] = total.max()
        start[end] = int(np.flatnonzero(total >= best[end] - tolerance)[0])
    boundaries: list[int] = []
    end = count
    while start[end] > 0:
        end = int(start[end])
        boundaries.append(end - 1)
    return boundaries[::-1]


def _prune(proposed: list[int], steps: FloatArray, weak: float) -> tuple[list[int], float]:
    """Take back boundaries that do not stand out; what is left, and the contrast of the weakest (or last taken)."""
    boundaries = list(proposed)
    contrast = float("nan")
    while boundaries:
        inside = np.delete(steps, boundaries)
        if len(inside) == 0 or np.median(inside) <= 0:
            # Nothing to stand out from, or groups of identical layers: any positive step is a boundary.
            return ([], float("nan")) if len(inside) == 0 else (boundaries, float("inf"))
        contrasts = steps[boundaries] / np.median(inside)
        weakest = int(contrasts.argmin())
        contrast = float(contrasts[weakest])
        if contrast >= weak:
            break
        del boundaries[weakest]
    return boundaries, contrast
