"""Groups of layers: where the depth of a network falls into blocks of alike representations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from lightning_gw.groups.partition import (
    FloatArray,
    best_contiguous,
    best_hierarchical,
    boundaries_of,
    check_distances,
    prune_boundaries,
)
from lightning_gw.gw.result import GWMatrix

Method = Literal["contiguous", "hierarchical"]
Strength = Literal["none", "weak", "strong"]

#: Exponent on the squared distances in the modularity cost; 2 emphasises strong contrasts, 1.5 follows weaker ones.
DEFAULT_GAMMA = 2.0
#: From this contrast on a boundary is kept, …
WEAK_CONTRAST = 1.3
#: … and from this one where it cuts off a single layer at either end, where networks take larger steps anyway.
WEAK_END_CONTRAST = 1.7
#: Groups whose weakest boundary has this contrast are "strong".
STRONG_CONTRAST = 1.8
#: A quadratic in depth fits three adjacent distances whatever they are.
MINIMUM_FOR_ROUGHNESS = 4


@dataclass(frozen=True)
class Groups:
    """Groups of layers, how strongly they stand out, and how sure one can be.

    Attributes:
        labels: One group index per layer, numbered from 0 in the order in which groups begin; −1 for a degenerate
            layer, which is in no group.
        boundaries: Each ``k`` such that the ``k``-th layer (0-based) and the next are of different groups.
        adjacent: ``(L − 1,)`` distance from each layer to the next; NaN beside a degenerate layer.
        strength: ``"none"`` (the layers drift smoothly or cannot be told apart), ``"weak"`` or ``"strong"``.
        contrast: How many times the trend of those inside groups the adjacent distance at the weakest boundary is,
            tempered where that trend is uncertain (see `partition.contrasts`); that of the boundary that was taken back
            last, when none is left; NaN where nothing was proposed.
        roughness: Standard deviation of the residuals of log adjacent distance about a quadratic in depth;
            NaN with fewer than 4 usable neighbours.
        proposed: Boundaries the detector proposed before `strength` was judged.
        p_value: p-value of `roughness` against a null, or None where none was computed.
        stability: Per boundary, the share of probe resamples in which it returned, or None where none were drawn.
        support: ``(L − 1,)`` share of probe resamples in which a boundary stood after each layer, or None where none
            were drawn; `stability` is this at the boundaries.
        noise: ``(L − 1,)`` standard deviation of the logarithm of each adjacent distance over probe resamples, or None
            where none were drawn.

    Example:
        >>> import numpy as np
        >>> from lightning_gw import find_groups
        >>> depth = np.array([0, 1, 2, 7, 8, 9])  # six layers, a wide step after the third
        >>> groups = find_groups(abs(np.subtract.outer(depth, depth)))
        >>> groups.count, groups.members()
        (2, ((0, 1, 2), (3, 4, 5)))
        >>> groups.ranges()  # as people count layers, from 1
        '1–3 | 4–6'
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
    support: FloatArray | None = None
    noise: FloatArray | None = None

    @property
    def count(self) -> int:
        """Number of groups; 1 when no boundary stands."""
        return max(max(self.labels, default=0), 0) + 1

    def members(self) -> tuple[tuple[int, ...], ...]:
        """Layer indices of every group, in depth order."""
        used = sorted({label for label in self.labels if label >= 0})
        return tuple(tuple(i for i, label in enumerate(self.labels) if label == group) for group in used)

    def ranges(self) -> str:
        """The groups as 1-based layer ranges, such as ``1–2 | 3–6 | 7–9``."""
        left_out = [i for i, label in enumerate(self.labels) if label < 0]
        return " | ".join(layer_ranges(group, left_out) for group in self.members())


def find_groups(
    matrix: GWMatrix | ArrayLike,
    gamma: float = DEFAULT_GAMMA,
    weak: float = WEAK_CONTRAST,
    strong: float = STRONG_CONTRAST,
    method: Method = "contiguous",
    count: int | None = None,
    weak_end: float = WEAK_END_CONTRAST,
) -> Groups:
    """Groups of layers, their number not given.

    Among all ways to cut the depth into blocks, the one is proposed that maximises the modularity
    ``Σ_b 1/|b| Σ_{i<j in b} (mean(D^γ) − D^γ_ij)`` with ``D`` the squared distances (``2 (1 − similarity)``), found
    exactly by dynamic programming. Since every matrix has such a best cut, also one of pure drift, proposed boundaries
    whose adjacent distance does not stand out from the trend of those inside groups (see `partition.contrasts`) are
    taken back one by one, the least contrasted first. What remains is as strong as its weakest boundary, and never
    "strong" if all it does is to cut off a single layer at an end, as entry and readout do in any network. The same
    matrix always gives the same groups: of equally good cuts the one with longer first blocks is taken.

    Args:
        matrix: A `GWMatrix`, whose `distance` is read, or a symmetric ``(L, L)`` array of distances. A layer whose
            distances are all NaN is left out and gets the label −1.
        gamma: Exponent ``γ`` on the squared distances.
        weak: Least contrast of a boundary that is kept.
        strong: Least contrast of the weakest boundary for strength "strong".
        method: ``"contiguous"``, or ``"hierarchical"``: groups need not be contiguous, so that layers far apart in
            depth may be of one; cut from the tree of average linkage (SciPy) where the same modularity is highest.
        count: Number of groups, where it is known; then all of them are kept, however little they stand out, and
            `strength` says how much they do.
        weak_end: Least contrast of a boundary that is kept though it cuts off a single layer at either end.

    Returns:
        Groups.

    Raises:
        ValueError: If the array is not square and symmetric, has negative entries, or misses single entries; if the
            matrix is one between two sets of layers; if the method is unknown; or if `count` is below 1 or above the
            number of usable layers.

    Example:
        >>> import numpy as np
        >>> from lightning_gw import find_groups
        >>> depth = np.array([0, 1, 2, 7, 8, 9])  # six layers, a wide step after the third
        >>> groups = find_groups(abs(np.subtract.outer(depth, depth)))
        >>> groups.labels, groups.boundaries, groups.strength
        ((0, 0, 0, 1, 1, 1), (2,), 'strong')
        >>> even = np.arange(6)
        >>> find_groups(abs(np.subtract.outer(even, even))).strength  # drift alone makes no groups
        'none'
    """
    if method not in get_args(Method):
        raise ValueError(f"Unknown method {method!r}. Known: {', '.join(get_args(Method))}.")
    if isinstance(matrix, GWMatrix) and matrix.other_layers is not None:
        raise ValueError(
            f"This matrix is between two sets of layers, {matrix.layers[0]!r}, … ({len(matrix.layers)}) and "
            f"{matrix.other_layers[0]!r}, … ({len(matrix.other_layers)}), and groups are of one set in its own depth "
            "order. Make each set's own matrix for them: find_groups(gw_matrix(representations))."
        )
    distances = check_distances(matrix.distance if isinstance(matrix, GWMatrix) else matrix)
    layers = len(distances)
    usable = np.flatnonzero(~np.isnan(np.where(np.eye(layers, dtype=bool), np.nan, distances)).all(axis=1))
    if layers == 1:
        usable = np.arange(1)
    if count is not None and not 1 <= count <= max(len(usable), 1):
        raise ValueError(
            f"count={count} groups cannot be made of {len(usable)} usable layers: expected 1 or more of each."
        )
    adjacent = distances[np.arange(layers - 1), np.arange(1, layers)].copy()
    inner = distances[np.ix_(usable, usable)]
    steps = inner[np.arange(max(len(usable) - 1, 0)), np.arange(1, len(usable))] if len(usable) else np.empty(0)

    proposed = _propose(inner ** (2 * gamma), method, count)
    found, contrast = prune_boundaries(proposed, steps, *((weak, weak_end) if count is None else (0.0, 0.0)))
    boundaries = boundaries_of(found)
    weakest = float(contrast.min()) if len(contrast) else float("nan")
    amid = any(0 < k < len(usable) - 2 for k in boundaries)
    strength: Strength = "none"
    if boundaries and weakest >= weak:
        strength = "strong" if weakest >= strong and amid else "weak"
    labels = np.full(layers, -1)
    labels[usable] = found
    return Groups(
        labels=tuple(labels.tolist()),
        boundaries=tuple(int(usable[k]) for k in boundaries),
        adjacent=adjacent,
        strength=strength,
        contrast=weakest,
        roughness=roughness(steps),
        proposed=tuple(int(usable[k]) for k in boundaries_of(proposed)),
    )


def find_boundaries(distances: FloatArray) -> tuple[int, ...]:
    """The boundaries of `find_groups` with its defaults, without anything else: for many matrices in a row.

    Args:
        distances: ``(L, L)`` symmetric distances; rows that are NaN throughout, but for the diagonal, are left out.
    """
    usable = np.flatnonzero(~np.isnan(distances).all(axis=1) & (np.isnan(distances).sum(axis=1) < len(distances) - 1))
    if len(usable) < 2:
        return ()
    inner = distances[np.ix_(usable, usable)]
    proposed = _propose(inner ** (2 * DEFAULT_GAMMA), "contiguous", None)
    found, _ = prune_boundaries(proposed, inner.diagonal(1), WEAK_CONTRAST, WEAK_END_CONTRAST)
    return tuple(int(usable[k]) for k in boundaries_of(found))


def _propose(costs: FloatArray, method: Method, count: int | None) -> list[int]:
    """Group of each layer by the best partition of that kind."""
    if method == "hierarchical":
        return best_hierarchical(costs, count)
    labels = np.zeros(len(costs), dtype=np.int64)
    labels[np.array(best_contiguous(costs, count), dtype=np.int64) + 1] = 1
    return np.cumsum(labels).tolist()


def layer_ranges(layers: Iterable[int], left_out: Sequence[int] = ()) -> str:
    """0-based layer indices as 1-based ranges: ``(0, 1, 2, 6)`` is ``1–3, 7``.

    Args:
        layers: The indices.
        left_out: Layers that are in no group; a range goes on across them.
    """
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and all(between in left_out for between in range(runs[-1][-1] + 1, layer)):
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(f"{run[0] + 1}" if len(run) == 1 else f"{run[0] + 1}–{run[-1] + 1}" for run in runs)


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
