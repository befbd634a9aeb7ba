"""How far two measures agree about the same layers: rank correlation with a permutation test, and their groups."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from lightning_gw.groups.finding import find_groups
from lightning_gw.gw.result import GWMatrix
from lightning_gw.utilities.arrays import FloatArray

#: Up to so many layers, or steps (7! = 5040 orders), every order is tried instead of a sample.
ENUMERATED = 7
#: Fewest layers, or steps, with a test: three have six orders, too few to tell anything.
MINIMUM_ITEMS = 4
#: Orders of layers evaluated at once.
CHUNK = 1024
#: Correlations this close are equal; the permutations of tied matrices give the observed value up to rounding.
TIED = 1e-12


@dataclass(frozen=True)
class Agreement:
    """How far two ``(L, L)`` matrices agree.

    Attributes:
        spearman: Rank correlation of the entries above the diagonal; with depth held fixed where `beyond_depth`. NaN
            with fewer than 4 common layers or where a matrix is constant.
        p_value: Share of layer orders that agree at least as well, the given order among them; NaN with `spearman`.
        orders: How many orders of the layers that share is of.
        exact: Whether these are all orders there are.
        layers: Layers with values in both matrices.
        beyond_depth: Whether what depth explains in either matrix was taken off first.

    Example:
        >>> import numpy as np
        >>> from lightning_gw import mantel
        >>> distances = abs(np.subtract.outer(np.arange(5), np.arange(5)) ** 3)
        >>> found = mantel(distances, distances**2)  # another scale, the same order
        >>> round(found.spearman, 6), found.layers, found.exact
        (1.0, 5, True)
    """

    spearman: float
    p_value: float
    orders: int
    exact: bool
    layers: int
    beyond_depth: bool = False


def mantel(
    first: ArrayLike,
    second: ArrayLike,
    permutations: int = 999,
    seed: int = 0,
    beyond_depth: bool = False,
) -> Agreement:
    """Mantel test (1967) of two matrices over the same layers: do they rank the pairs of layers alike?

    The Spearman correlation of the entries off the diagonal, against the same with the layers of the first matrix in
    other orders; one-sided, ``p = (1 + #{as large}) / (1 + M)``. Up to 7 layers all orders are tried: ``p`` is exact.

    **In a network both matrices follow depth**: neighbours are close, ends are far, under any measure, so the plain
    test rejects even for two networks that share nothing but that. With `beyond_depth` it is a partial test (Smouse,
    Long and Sokal 1986): the mean rank of all pairs of one depth difference ``|i − j|`` is taken off both matrices, and
    off each reordered one again. That removes the common trend; pairs of neighbouring layers stay correlated, so that
    small ``p`` still overstate what is known (Guillot and Rousset 2013). `neighbour_agreement` does not suffer from it.

    Args:
        first: ``(L, L)`` symmetric, distances or similarities. Rows that are NaN throughout are left out of both.
        second: Alike, of the same direction as `first`, else the correlation is negative.
        permutations: Orders ``M`` that are drawn where there are too many to try all.
        seed: Seed of the draw; the global generators are never touched.
        beyond_depth: Whether to take off what depth explains.

    Raises:
        ValueError: If the matrices are not square, symmetric and of one size, or `permutations` is not positive.

    Example:
        >>> import numpy as np
        >>> from lightning_gw import mantel
        >>> depth = np.array([0, 1, 2, 7, 8, 9])  # six layers, a wide step after the third
        >>> distances = abs(np.subtract.outer(depth, depth))
        >>> found = mantel(distances, np.sqrt(distances))
        >>> round(found.spearman, 6), found.orders
        (1.0, 720)
        >>> round(found.p_value, 4)  # 2 of the 720 orders agree as well: the given one, and the same backwards
        0.0028
    """
    a, b, used = _common(first, second, permutations)
    i, j = np.triu_indices(len(used), 1)
    by_lag = np.argsort(used[j] - used[i], kind="stable")
    i, j = i[by_lag], j[by_lag]
    starts = np.flatnonzero(np.diff(used[j] - used[i], prepend=0)) if beyond_depth else np.zeros(1, dtype=np.int64)
    a, b = a[used[i], used[j]], b[used[i], used[j]]
    # entry[k, l] is where the pair of the k-th and l-th layer stands among the pairs
    entry = np.zeros((len(used), len(used)), dtype=np.int64)
    entry[i, j] = entry[j, i] = np.arange(len(i))
    found = _compare(a, b, lambda orders: entry[orders[:, i], orders[:, j]], len(used), starts, permutations, seed)
    return replace(found, layers=len(used), beyond_depth=beyond_depth)


def neighbour_agreement(first: ArrayLike, second: ArrayLike, permutations: int = 999, seed: int = 0) -> Agreement:
    """Do two matrices see the large steps between neighbouring layers in the same places?

    The Spearman correlation of the entries next to the diagonal, against other orders of the steps of the first. Where
    the steps of a network that is not like the other are in no particular order, the test is exact, whatever trend the
    matrices follow away from the diagonal; a steepness that rises or falls with depth in both still shows as agreement.

    Args:
        first: ``(L, L)`` symmetric; rows that are NaN throughout are left out, and their neighbours become neighbours.
        second: Alike, of the same direction.
        permutations: See `mantel`; up to 7 steps all orders are tried.
        seed: See `mantel`.

    Returns:
        Agreement, NaN with fewer than 4 steps.

    Raises:
        ValueError: As `mantel`.

    Example:
        >>> import numpy as np
        >>> from lightning_gw import neighbour_agreement
        >>> one, other = np.array([0, 1, 3, 7, 15, 31]), np.array([0, 2, 5, 9, 14, 20])  # steps grow in both
        >>> found = neighbour_agreement(abs(np.subtract.outer(one, one)), abs(np.subtract.outer(other, other)))
        >>> round(found.spearman, 6), round(found.p_value, 4)  # 1 of the 120 orders of five steps
        (1.0, 0.0083)
    """
    a, b, used = _common(first, second, permutations)
    a, b = a[used[:-1], used[1:]], b[used[:-1], used[1:]]
    whole = np.zeros(1, dtype=np.int64)
    return replace(_compare(a, b, lambda orders: orders, len(a), whole, permutations, seed), layers=len(used))


def adjusted_rand_index(first: Sequence[int], second: Sequence[int]) -> float:
    """Adjusted Rand index of two groupings of the same layers (Hubert and Arabie 1985): 1 alike, 0 by chance.

    Layers in no group (label −1) of either are left out; with fewer than two left there is nothing to say, and the
    index is NaN. Two groupings that both see a single group agree (1); one group against several is 0.

    Raises:
        ValueError: If the groupings are of different numbers of layers.
    """
    a, b = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"The groupings have shapes {a.shape} and {b.shape}; expected one label per layer in both.")
    both = (a >= 0) & (b >= 0)
    if both.sum() < 2:
        return float("nan")
    pairs = np.triu_indices(int(both.sum()), 1)
    together = [np.equal.outer(labels[both], labels[both])[pairs] for labels in (a, b)]
    alike, first_only = int((together[0] & together[1]).sum()), int((together[0] & ~together[1]).sum())
    second_only, apart = int((~together[0] & together[1]).sum()), int((~together[0] & ~together[1]).sum())
    if first_only == second_only == 0:
        return 1.0
    chance = (alike + first_only) * (first_only + apart) + (alike + second_only) * (second_only + apart)
    return 2.0 * (alike * apart - first_only * second_only) / chance


def agreements(
    gw: GWMatrix,
    measures: Mapping[str, ArrayLike],
    labels: Sequence[int] | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """How far Gromov-Wasserstein agrees with each measure of the same activations: what a record keeps of it.

    Args:
        gw: Square matrix of one set of layers, in a geometry of unit scale.
        measures: Name to ``(L, L)`` similarities, higher is closer, such as `layer_similarities` gives. The identity
            column of `gw` is always added, as ``"identity"``.
        labels: Group index per layer that is reported for `gw`, −1 for none; those of `find_groups` if left out.
        permutations: See `mantel`.
        seed: See `mantel`.

    Returns:
        Measure to plain numbers: ``spearman`` and ``p_value`` of the plain Mantel test, ``spearman_beyond_depth`` and
        ``p_value_beyond_depth`` of the one with depth held fixed, ``spearman_neighbours`` and ``p_value_neighbours`` of
        `neighbour_agreement`, ``groups``, the adjusted Rand index of the groups
        found in both (from distances ``√(2 (1 − similarity))``), and for ``"identity"`` also ``matching_gain``, the
        mean over pairs of layers. What cannot be told is NaN.

    Raises:
        ValueError: If `gw` is between two sets of layers, or has no similarity.

    Example:
        >>> import torch
        >>> from lightning_gw import agreements, gw_matrix, layer_similarities
        >>> x = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
        >>> layers = {str(k): torch.cat([x[:, k:], x[:, :k].square()], 1) for k in range(5)}
        >>> found = agreements(gw_matrix(layers), layer_similarities(layers, ["paired_cka"]))
        >>> sorted(found)
        ['identity', 'paired_cka']
        >>> -1 <= found["paired_cka"]["spearman"] <= 1
        True
    """
    if gw.other_layers is not None:
        raise ValueError("This matrix is between two sets of layers; agreement is about the layers of one.")
    labels = _labels(gw.similarity) if labels is None else labels
    found: dict[str, dict[str, float]] = {}
    for name, values in {**measures, "identity": gw.identity_similarity}.items():
        similarity = np.asarray(values, dtype=np.float64)
        plain = mantel(gw.similarity, similarity, permutations, seed)
        partial = mantel(gw.similarity, similarity, permutations, seed, beyond_depth=True)
        steps = neighbour_agreement(gw.similarity, similarity, permutations, seed)
        theirs = _labels(similarity)
        found[name] = {
            "spearman": plain.spearman,
            "p_value": plain.p_value,
            "spearman_beyond_depth": partial.spearman,
            "p_value_beyond_depth": partial.p_value,
            "spearman_neighbours": steps.spearman,
            "p_value_neighbours": steps.p_value,
            "groups": float("nan") if labels is None or theirs is None else adjusted_rand_index(labels, theirs),
        }
    gains = gw.matching_gain[np.triu_indices(len(gw.layers), 1)]
    found["identity"]["matching_gain"] = float(gains[~np.isnan(gains)].mean()) if (~np.isnan(gains)).any() else math.nan
    return found


def _labels(similarity: FloatArray) -> tuple[int, ...] | None:
    """Groups in a similarity matrix; None where entries between usable layers are missing."""
    used = _usable(similarity)
    if np.isnan(similarity[np.ix_(used, used)]).any():
        return None
    distances = np.sqrt(np.maximum(2.0 * (1.0 - similarity), 0.0))
    np.fill_diagonal(distances, np.where(np.isnan(np.diag(similarity)), np.nan, 0.0))
    return find_groups(distances).labels


def _compare(
    first: FloatArray,
    second: FloatArray,
    places: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    items: int,
    starts: NDArray[np.int64],
    permutations: int,
    seed: int,
) -> Agreement:
    """Rank correlation of two vectors, against that of the first rearranged as other orders of its items rearrange it.

    Args:
        first: ``(E,)`` entries.
        second: ``(E,)`` entries.
        places: ``(K, items)`` orders to the ``(K, E)`` places that the entries are taken from.
        items: How many layers, or steps, are put in other orders.
        starts: Where the runs of entries begin whose mean rank is taken off.
        permutations: Orders that are drawn where there are too many to try all.
        seed: Of the draw.
    """
    exact = items <= ENUMERATED
    orders = math.factorial(items) if exact else permutations + 1
    unknown = Agreement(math.nan, math.nan, orders, exact, items)
    if items < MINIMUM_ITEMS or np.isnan(first).any() or np.isnan(second).any():
        return unknown
    ranks = _ranks(first)
    target = _standard(_ranks(second)[None], starts)[0]
    observed = _standard(ranks[None], starts)[0]
    if not (target.any() and observed.any()):
        return unknown
    correlation = float(observed @ target)
    as_large = 0
    for chunk in _orders(items, None if exact else permutations, seed):
        as_large += int((_standard(ranks[places(chunk)], starts) @ target >= correlation - TIED).sum())
    # All orders include the given one; to a sample it is added.
    return replace(unknown, spearman=correlation, p_value=(as_large if exact else 1 + as_large) / orders)


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks, equal where values differ by no more than rounding makes of equals."""
    return np.asarray(rankdata(np.round(values, 12)), dtype=np.float64)


def _common(first: ArrayLike, second: ArrayLike, permutations: int) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Both matrices, checked, and the layers that have values in both."""
    a, b = _symmetric("first", first), _symmetric("second", second)
    if a.shape != b.shape:
        raise ValueError(f"The matrices are of {len(a)} and {len(b)} layers; agreement is about the same layers.")
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; expected at least 1.")
    return a, b, _usable(a, b)


def _symmetric(what: str, matrix: ArrayLike) -> FloatArray:
    checked = np.asarray(matrix, dtype=np.float64)
    if checked.ndim != 2 or checked.shape[0] != checked.shape[1]:
        raise ValueError(f"The {what} matrix has shape {checked.shape}; expected (L, L), one row per layer.")
    if not np.allclose(checked, checked.T, rtol=1e-6, atol=1e-9, equal_nan=True):
        raise ValueError(f"The {what} matrix is not symmetric; expected one value per pair of layers.")
    return checked


def _usable(*matrices: FloatArray) -> NDArray[np.int64]:
    """Layers that have a value with some other layer in every matrix."""
    off_diagonal = ~np.eye(len(matrices[0]), dtype=bool)
    return np.flatnonzero(np.all([(~np.isnan(m) & off_diagonal).any(axis=1) for m in matrices], axis=0))


def _standard(values: FloatArray, starts: NDArray[np.int64]) -> FloatArray:
    """Rows of ``(K, pairs)`` with the mean of every run of columns from `starts` taken off, scaled to norm 1, or 0."""
    lengths = np.diff(starts, append=values.shape[1])
    means = np.add.reduceat(values, starts, axis=1) / lengths
    centred = values - np.repeat(means, lengths, axis=1)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    varies = norms > TIED * np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(np.where(varies, centred / np.where(varies, norms, 1.0), 0.0))


def _orders(count: int, permutations: int | None, seed: int) -> Iterator[NDArray[np.int64]]:
    """All orders of the layers, or so many drawn ones, in ``(K, count)`` chunks."""
    if permutations is None:
        every = itertools.permutations(range(count))
        while chunk := list(itertools.islice(every, CHUNK)):
            yield np.array(chunk)
        return
    generator = np.random.default_rng(seed)
    for start in range(0, permutations, CHUNK):
        drawn = min(CHUNK, permutations - start)
        yield generator.permuted(np.tile(np.arange(count), (drawn, 1)), axis=1)
