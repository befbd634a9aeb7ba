"""Where to cut: the best partition of layers by modularity, contiguous in depth or not, and which cuts stand out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform

from lightning_gw.utilities.arrays import FloatArray


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


def modularity_gain(costs: FloatArray) -> FloatArray:
    """``(L, L)`` mean cost over all pairs minus the cost of each, on the pairs ``i < j``; 0 elsewhere."""
    count = len(costs)
    upper = np.triu(costs, 1)
    return np.where(np.triu(np.ones_like(costs), 1) > 0, upper.sum() / (count * (count - 1) / 2) - upper, 0.0)


def best_contiguous(costs: FloatArray, count: int | None = None) -> list[int]:
    """Boundaries of the contiguous cut with the highest modularity; of equal cuts the one with longer first blocks.

    Exact, by dynamic programming over where the last block begins.

    Args:
        costs: ``(L, L)`` costs of having two layers in one block.
        count: Number of blocks; None leaves it open.

    Returns:
        Ascending layer indices that a block ends after, without the last layer.
    """
    layers = len(costs)
    if layers < 2:
        return []
    gain = modularity_gain(costs)
    # within[s, e]: sum of gain over pairs of s..e, from two-dimensional prefix sums
    prefix = np.zeros((layers + 1, layers + 1))
    prefix[1:, 1:] = gain.cumsum(axis=0).cumsum(axis=1)
    tolerance = 1e-12 * max(float(np.abs(gain).max()), np.finfo(float).tiny)
    rounds = 1 if count is None else count
    # best[r, e]: highest modularity of the first e layers in r blocks (row 0 serves an open number of them too)
    best = np.full((rounds + 1, layers + 1), -np.inf)
    best[0, 0] = 0.0
    start = np.zeros((rounds + 1, layers + 1), dtype=np.int64)
    for used in range(1, rounds + 1):
        into, out_of = (0, 0) if count is None else (used, used - 1)
        for end in range(1, layers + 1):
            first = np.arange(end)
            within = prefix[end, end] - prefix[first, end] - prefix[end, first] + prefix[first, first]
            total = best[out_of, first] + within / (end - first)
            best[into, end] = total.max()
            start[into, end] = int(np.flatnonzero(total >= best[into, end] - tolerance)[0])
    boundaries: list[int] = []
    end, used = layers, 0 if count is None else count
    while start[used, end] > 0:
        end = int(start[used, end])
        used = max(used - 1, 0)
        boundaries.append(end - 1)
    return boundaries[::-1]


def best_hierarchical(costs: FloatArray, count: int | None = None) -> list[int]:
    """Group of each layer where groups need not be contiguous: a cut through the tree of average linkage.

    The tree is SciPy's over the costs; the level is the one whose partition has the highest modularity, of equal ones
    the one with fewest groups.

    Args:
        costs: ``(L, L)`` costs of having two layers in one group.
        count: Number of groups; None leaves it open.

    Returns:
        One label per layer, numbered from 0 in the order in which groups begin.
    """
    layers = len(costs)
    if layers < 2:
        return [0] * layers
    gain = modularity_gain(costs)
    gain = gain + gain.T
    tree = linkage(squareform(costs, checks=False), method="average")
    levels = cut_tree(tree, n_clusters=[count] if count is not None else list(range(1, layers + 1))).T
    tolerance = 1e-12 * max(float(np.abs(gain).max()), np.finfo(float).tiny)
    chosen, highest = levels[0], -np.inf
    for labels in levels:
        same = labels[:, None] == labels[None, :]
        value = float((np.where(same, gain, 0.0).sum(axis=1) / same.sum(axis=1)).sum()) / 2
        if value > highest + tolerance:
            chosen, highest = labels, value
    order: dict[int, int] = {}
    return [order.setdefault(int(label), len(order)) for label in chosen]


def prune_boundaries(
    labels: list[int], steps: FloatArray, weak: float, weak_end: float
) -> tuple[list[int], FloatArray]:
    """Join groups whose boundary does not stand out, the least contrasted first.

    Args:
        labels: Group of each layer.
        steps: ``(L − 1,)`` distances from each layer to the next.
        weak: Least contrast of a boundary that is kept (see `contrasts`). 0 keeps all of them.
        weak_end: The same for a boundary that cuts off a single layer at either end of the depth.

    Returns:
        Group of each layer, and the contrast of each boundary left; where none is left, of the one that was taken back
        last, and nothing where none was proposed or there is nothing to stand out from.
    """
    labels = list(labels)
    last = np.empty(0)
    while ends := boundaries_of(labels):
        found = contrasts(steps, ends)
        if found is None:  # as many groups as layers
            return (labels if weak <= 0 else [0] * len(labels)), np.empty(0)
        needed = np.array([weak_end if k in (0, len(steps) - 1) else weak for k in ends])
        with np.errstate(divide="ignore", invalid="ignore"):
            excess = np.where(needed > 0, found / needed, np.inf)
        weakest = int(excess.argmin())
        if excess[weakest] >= 1:
            last = found
            break
        last = found[[weakest]]
        above, below = labels[ends[weakest]], labels[ends[weakest] + 1]
        labels = [above if label == below else label for label in labels]
    order: dict[int, int] = {}
    return [order.setdefault(label, len(order)) for label in labels], last


def contrasts(steps: FloatArray, ends: list[int]) -> FloatArray | None:
    """How far the distances at boundaries stand out from the trend of those inside groups.

    Through the logarithms of the distances inside groups a straight line is laid, because most networks take ever
    smaller steps (or larger ones) without falling into groups. The contrast is ``exp(z)``, ``z`` being how far the
    logarithm at the boundary lies above the line, divided by ``√(1 + h)``: ``h``, the leverage, is how uncertain the
    line is there, small amid the distances it was laid through and large where it goes on beyond them, at the ends.

    Args:
        steps: ``(L − 1,)`` distances from each layer to the next.
        ends: Boundaries: indices into `steps`.

    Returns:
        The contrast of each boundary, infinite where the layers inside groups are identical; None where every step is a
        boundary.
    """
    within = np.ones(len(steps), dtype=bool)
    within[ends] = False
    inside = np.flatnonzero(within)
    if len(inside) == 0:
        return None
    if 2 * np.count_nonzero(steps[inside] > 0) <= len(inside):
        return np.where(steps[ends] > 0, np.inf, 0.0)
    inside = inside[steps[inside] > 0]
    logs = np.log(steps[inside])
    centre, count = inside.mean(), len(inside)
    offset, away = inside - centre, np.asarray(ends) - centre
    line, leverage = np.full(len(ends), logs.mean()), np.full(len(ends), 1 / count)
    if count > 2:  # two distances have any slope whatever
        spread = offset @ offset
        line = line + away * (offset @ logs) / spread
        leverage = leverage + away**2 / spread
    with np.errstate(divide="ignore"):
        above = np.log(steps[ends]) - line
    return np.asarray(np.exp(above / np.sqrt(1 + leverage)))


def boundaries_of(labels: list[int]) -> list[int]:
    """Each ``k`` whose layer and the next are in different groups."""
    return [k for k in range(len(labels) - 1) if labels[k] != labels[k + 1]]
