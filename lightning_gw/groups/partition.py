"""Where to cut: the best partition of layers by modularity, contiguous in depth or not, and which cuts stand out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform

from lightning_gw.utilities.arrays import FloatArray

#: A step says little below this share of the largest, where there is next to nothing else to hold it against.
OWN_FLOOR = 0.05


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
    """``(…, L, L)`` mean cost over all pairs minus the cost of each, on the pairs ``i < j``; 0 elsewhere."""
    count = costs.shape[-1]
    upper = np.triu(costs, 1)
    mean = upper.sum(axis=(-2, -1), keepdims=True) / (count * (count - 1) / 2)
    return np.where(np.triu(np.ones((count, count), dtype=bool), 1), mean - upper, 0.0)


def best_contiguous(costs: FloatArray, count: int | None = None) -> NDArray[np.bool_]:
    """Boundaries of the contiguous cut with the highest modularity; of equal cuts the one with longer first blocks.

    Exact, by dynamic programming over where the last block begins.

    Args:
        costs: ``(D, L, L)`` costs of having two layers in one block, of ``D`` networks that are cut each by itself.
        count: Number of blocks; None leaves it open.

    Returns:
        ``(D, L − 1)``: whether a block ends after each layer.
    """
    networks, layers = costs.shape[:2]
    cuts = np.zeros((networks, max(layers - 1, 0)), dtype=bool)
    if layers < 2:
        return cuts
    gain = modularity_gain(costs)
    # prefix: two-dimensional prefix sums, from which the gain within layers s..e follows
    prefix = np.zeros((networks, layers + 1, layers + 1))
    prefix[:, 1:, 1:] = gain.cumsum(axis=1).cumsum(axis=2)
    own = np.diagonal(prefix, axis1=1, axis2=2)
    tolerance = 1e-12 * np.maximum(np.abs(gain).max(axis=(1, 2)), np.finfo(float).tiny)[:, None]
    rounds = 1 if count is None else count
    # best[r, :, e]: highest modularity of the first e layers in r blocks (row 0 serves an open number of them too)
    best = np.full((rounds + 1, networks, layers + 1), -np.inf)
    best[0, :, 0] = 0.0
    start = np.zeros((rounds + 1, networks, layers + 1), dtype=np.int64)
    for used in range(1, rounds + 1):
        into, out_of = (0, 0) if count is None else (used, used - 1)
        for end in range(1, layers + 1):
            within = own[:, [end]] - prefix[:, :end, end] - prefix[:, end, :end] + own[:, :end]
            total = best[out_of, :, :end] + within / (end - np.arange(end))
            most = total.max(axis=1, keepdims=True)
            best[into, :, end] = most[:, 0]
            start[into, :, end] = (total >= most - tolerance).argmax(axis=1)
    network, last = np.arange(networks), np.full(networks, layers)
    used = 0 if count is None else count
    while len(network):
        begins = start[used, network, last]
        network, last = network[begins > 0], begins[begins > 0]
        cuts[network, last - 1] = True
        used = max(used - 1, 0)
    return cuts


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
        cuts = np.zeros((1, len(steps)), dtype=bool)
        cuts[0, ends] = True
        if cuts.all():  # as many groups as layers
            return (labels if weak <= 0 else [0] * len(labels)), np.empty(0)
        found = contrasts(steps[None], cuts)[0, ends]
        needed = _needed(len(steps), weak, weak_end)[ends]
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


def prune_cuts(cuts: NDArray[np.bool_], steps: FloatArray, weak: float, weak_end: float) -> NDArray[np.bool_]:
    """`prune_boundaries` of many networks whose groups are contiguous, without the contrasts.

    Args:
        cuts: ``(D, L − 1)``: whether a group ends after each layer.
        steps: ``(D, L − 1)`` distances from each layer to the next.
        weak: Above 0; likewise `weak_end`.

    Returns:
        ``(D, L − 1)``: whether one still does.
    """
    left = cuts & ~cuts.all(axis=1, keepdims=True)
    needed = _needed(steps.shape[1], weak, weak_end)
    rows = np.flatnonzero(left.any(axis=1))
    while len(rows):
        excess = np.where(left[rows], contrasts(steps[rows], left[rows]) / needed, np.inf)
        weakest = excess.argmin(axis=1)
        falls = ~(excess[np.arange(len(rows)), weakest] >= 1)
        rows = rows[falls]
        left[rows, weakest[falls]] = False
        rows = rows[left[rows].any(axis=1)]
    return left


def _needed(steps: int, weak: float, weak_end: float) -> FloatArray:
    """Least contrast of a boundary at each of so many steps."""
    needed = np.full(steps, weak)
    needed[[0, -1]] = weak_end
    return needed


def contrasts(steps: FloatArray, cuts: NDArray[np.bool_]) -> FloatArray:
    """How far the distances at boundaries stand out from the trend of those inside groups.

    Through the logarithms of the distances inside groups a straight line is laid, because most networks take ever
    smaller steps (or larger ones) without falling into groups. The contrast is ``exp(z)``, ``z`` being how far the
    logarithm at the boundary lies above the line, divided by ``√(1 + h)``: ``h``, the leverage, is how uncertain the
    line is there, small amid the distances it was laid through and large where it goes on beyond them, at the ends.

    Args:
        steps: ``(D, L − 1)`` distances from each layer to the next, of ``D`` networks.
        cuts: ``(D, L − 1)``: which of them are boundaries; in no network all.

    Returns:
        ``(D, L − 1)`` the contrast that each step has, or would have as one more boundary. Where most layers inside
        groups are identical there is no line, and a step is held against `OWN_FLOOR` of the largest.
    """
    inside = ~cuts
    above_zero = inside & (steps > 0)
    number = above_zero.sum(axis=1, keepdims=True)
    alike = 2 * number <= inside.sum(axis=1, keepdims=True)
    count = np.maximum(number, 1)
    depth = np.arange(steps.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(steps)
        known = np.where(above_zero, logs, 0.0)
        away = depth - (above_zero * depth).sum(axis=1, keepdims=True) / count
        offset = np.where(above_zero, away, 0.0)
        line, leverage = known.sum(axis=1, keepdims=True) / count, 1 / count
        # Two distances have any slope whatever.
        spread = np.where(count > 2, (offset**2).sum(axis=1, keepdims=True), np.inf)
        line = line + away * (offset * known).sum(axis=1, keepdims=True) / spread
        leverage = leverage + away**2 / spread
        found = np.exp((logs - line) / np.sqrt(1 + leverage))
    largest = steps.max(axis=1, keepdims=True, initial=np.finfo(float).tiny)
    return np.asarray(np.where(alike, steps / (OWN_FLOOR * largest), found))


def boundaries_of(labels: list[int]) -> list[int]:
    """Each ``k`` whose layer and the next are in different groups."""
    return [k for k in range(len(labels) - 1) if labels[k] != labels[k + 1]]
