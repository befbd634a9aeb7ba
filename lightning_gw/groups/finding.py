"""Where layers part into groups: the best cut of their depth, and which boundaries of it stand out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_gw.groups.groups import Groups
from lightning_gw.groups.partition import (
    best_contiguous,
    best_hierarchical,
    boundaries_of,
    check_distances,
    prune_boundaries,
    prune_cuts,
)
from lightning_gw.groups.reference import Reference, ReferenceLike
from lightning_gw.groups.roughness import roughness
from lightning_gw.groups.sequences import joined, sequence_parts
from lightning_gw.groups.strength import STRONG_CONTRAST, WEAK_CONTRAST, WEAK_END_CONTRAST, strength_of
from lightning_gw.gw.result import GWMatrix
from lightning_gw.utilities.arrays import FloatArray

Method = Literal["contiguous", "hierarchical"]

#: Exponent on the squared distances in the modularity cost; 2 emphasises strong contrasts, 1.5 follows weaker ones.
DEFAULT_GAMMA = 2.0


def find_groups(
    matrix: GWMatrix | ArrayLike,
    reference: ReferenceLike | Reference | None = None,
    gamma: float = DEFAULT_GAMMA,
    weak: float = WEAK_CONTRAST,
    strong: float = STRONG_CONTRAST,
    method: Method = "contiguous",
    count: int | None = None,
    weak_end: float = WEAK_END_CONTRAST,
    sequence_ends: Sequence[int] = (),
    among: Sequence[int] | None = None,
) -> Groups:
    """Groups of layers, their number not given.

    Among all ways to cut the depth into blocks, the one is proposed that maximises the modularity
    ``Σ_b 1/|b| Σ_{i<j in b} (mean(D^γ) − D^γ_ij)`` with ``D`` the squared distances (``2 (1 − similarity)``), found
    exactly by dynamic programming. Since every matrix has such a best cut, also one of pure drift, proposed boundaries
    whose step does not stand out from the trend of those inside groups (see `partition.contrasts`) are taken back one
    by one, the least contrasted first. What remains is as strong as its weakest boundary (see `strength.strength_of`).
    The same matrix always gives the same groups: of equally good cuts the one with longer first blocks is taken.

    Widths that change, strides and blocks that begin as the identity are steps of the architecture, which an untrained
    network has as well. What counts as a step is therefore how far a distance goes beyond the same distance in a
    reference (see `Reference.excess`). Without one the plain distances are taken, and no groups are "strong".

    Args:
        matrix: A `GWMatrix`, whose `distance` is read, or a symmetric ``(L, L)`` array of distances. A layer whose
            distances are all NaN is left out and gets the label −1.
        reference: The same layers in networks that learnt nothing, or in the same network at the start: a `GWMatrix`,
            an ``(L, L)`` array of distances, or a sequence of them. It is to be measured as `matrix` was.
        gamma: Exponent ``γ`` on the squared distances.
        weak: Least contrast of a boundary that is kept.
        strong: Least contrast of the weakest boundary for strength "strong".
        method: ``"contiguous"``, or ``"hierarchical"``: groups need not be contiguous, so that layers far apart in
            depth may be of one; cut from the tree of average linkage (SciPy) where the same modularity is highest.
        count: Number of groups, where it is known; then all of them are kept, however little they stand out, and
            `strength` says how much they do.
        weak_end: Least contrast of a boundary that is kept though it cuts off a single layer at either end.
        sequence_ends: Each layer (0-based) that the next one does not follow in the network, such as the last of an
            encoder whose decoder comes next. Each of the sequences that end there is parted by itself, as if the others
            were not there.
        among: Layers (0-based) after which alone a boundary is kept, such as those that passed a test; None for all.

    Returns:
        Groups; of several sequences as strong as the weakest boundary in any of them.

    Raises:
        ValueError: If the array is not square and symmetric, has negative entries, or misses single entries; if the
            matrix is one between two sets of layers; if the reference is of other layers, another geometry or anchor;
            if the method is unknown; if `count` is below 1 or above the number of usable layers, or is given for
            several sequences; or if a sequence ends after a layer that has no next.

    Example:
        >>> import numpy as np
        >>> from lightning_gw import find_groups
        >>> def distances(*depth):
        ...     return abs(np.subtract.outer(depth, depth))
        >>> trained = distances(0, 1, 2, 7, 8, 9)  # six layers, a wide step after the third
        >>> untrained = distances(0, 1, 2, 3, 4, 5)
        >>> groups = find_groups(trained, reference=untrained)
        >>> groups.labels, groups.boundaries, groups.strength
        ((0, 0, 0, 1, 1, 1), (2,), 'strong')
        >>> find_groups(trained).strength  # the architecture may have this step by itself
        'weak'
        >>> find_groups(trained, reference=trained).strength  # and here it has
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
    held = None if reference is None else Reference.of(reference, matrix, layers)
    if len(sequence_ends):
        if count is not None:
            raise ValueError(f"count={count} groups cannot be asked for where layers are of several sequences.")
        parts = sequence_parts(layers, sequence_ends)
        options = (gamma, weak, strong, method, None, weak_end)
        apart = [held and held.within(part) for part in parts]
        inside = [among and [k - part.start for k in among] for part in parts]
        found = [
            find_groups(distances[part, part], one, *options, among=k)
            for part, one, k in zip(parts, apart, inside, strict=True)
        ]
        return joined(found, parts)
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

    held = held and held.among(usable)
    beyond = steps if held is None else held.excess(steps)
    proposed = _propose(inner ** (2 * gamma), method, count)
    allowed = proposed if among is None else _parted_at(proposed, [int(layer) in among for layer in usable])
    labels, contrast = prune_boundaries(allowed, beyond, *((weak, weak_end) if count is None else (0.0, 0.0)))
    boundaries = boundaries_of(labels)
    weakest = float(contrast.min()) if len(contrast) else float("nan")
    unreferenced = () if held is None else held.missing()
    referenced = held is not None and not set(boundaries) & set(unreferenced)
    of_all = np.full(layers, -1)
    of_all[usable] = labels
    return Groups(
        labels=tuple(of_all.tolist()),
        boundaries=tuple(int(usable[k]) for k in boundaries),
        adjacent=adjacent,
        strength=strength_of(boundaries, weakest, len(usable), referenced=referenced, weak=weak, strong=strong),
        contrast=weakest,
        roughness=roughness(steps),
        proposed=tuple(int(usable[k]) for k in boundaries_of(proposed)),
        **({} if held is None else _beyond(held, beyond, usable, layers, weak, weak_end)),
    )


def _beyond(
    held: Reference, excess: FloatArray, usable: NDArray[np.intp], layers: int, weak: float, weak_end: float
) -> dict[str, Any]:
    """What `Groups` says of its reference."""
    whole = np.full(max(layers - 1, 0), np.nan)
    whole[usable[:-1]] = np.where(np.diff(usable) == 1, excess, np.nan)
    return {
        "reference": held.networks,
        "excess": whole,
        "built_in": tuple(int(usable[k]) for k in held.built_in(weak, weak_end)),
        "unreferenced": tuple(int(usable[k]) for k in held.missing()),
    }


def find_boundaries(
    distances: FloatArray, reference: Reference | None = None, sequence_ends: Sequence[int] = ()
) -> NDArray[np.bool_]:
    """The boundaries of `find_groups` with its defaults, without anything else, of many matrices at once.

    Args:
        distances: ``(D, L, L)`` symmetric distances between the same layers; rows that are NaN throughout, but for the
            diagonal, are left out.
        reference: What the steps are held against; nothing stands out from itself, whatever the inputs.
        sequence_ends: See `find_groups`.

    Returns:
        ``(D, L − 1)``: whether a group ends after each layer.
    """
    matrices, layers = distances.shape[:2]
    found = np.zeros((matrices, max(layers - 1, 0)), dtype=bool)
    if reference is not None and reference.itself:
        return found  # on other inputs the reference would have been another, too, and the same
    if len(sequence_ends):
        for part in sequence_parts(layers, sequence_ends):
            inside = distances[:, part, part]
            found[:, part.start : part.stop - 1] = find_boundaries(inside, reference and reference.within(part))
        return found
    usable = np.isnan(distances).sum(axis=2) < layers - 1
    for kind in np.unique(usable, axis=0):
        which, inner = np.flatnonzero((usable == kind).all(axis=1)), np.flatnonzero(kind)
        if len(inner) < 2:
            continue
        values = distances[np.ix_(which, inner, inner)]
        steps = values.diagonal(1, axis1=1, axis2=2)
        if reference is not None:
            steps = Reference.of(reference, distances[which[0]], layers).among(inner).excess(steps)
        cuts = best_contiguous(values ** (2 * DEFAULT_GAMMA))
        found[np.ix_(which, inner[:-1])] = prune_cuts(cuts, steps, WEAK_CONTRAST, WEAK_END_CONTRAST)
    return found


def _parted_at(labels: list[int], allowed: Sequence[bool]) -> list[int]:
    """Groups joined wherever none may end."""
    for k in boundaries_of(labels):
        if not allowed[k]:
            above, below = labels[k], labels[k + 1]
            labels = [above if label == below else label for label in labels]
    return labels


def _propose(costs: FloatArray, method: Method, count: int | None) -> list[int]:
    """Group of each layer by the best partition of that kind."""
    if method == "hierarchical":
        return best_hierarchical(costs, count)
    return [0, *best_contiguous(costs[None], count)[0].cumsum().tolist()][: len(costs)]
