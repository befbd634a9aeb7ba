"""How far two measures agree about the same layers: rank correlation with a permutation test, and their groups."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_gw.groups.finding import find_groups
from lightning_gw.gw.result import GWMatrix
from lightning_gw.measures.rank_correlation import Agreement, compare
from lightning_gw.utilities.arrays import FloatArray


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
    return _mantel(first, [second], permutations, seed, (beyond_depth,))[0][0]


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
    return _neighbours(first, [second], permutations, seed)[0]


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
    compared = {**measures, "identity": gw.identity_similarity}
    similarities = [np.asarray(values, dtype=np.float64) for values in compared.values()]
    whole = _mantel(gw.similarity, similarities, permutations, seed, (False, True))
    neighbours = _neighbours(gw.similarity, similarities, permutations, seed)
    for name, similarity, (plain, partial), steps in zip(compared, similarities, whole, neighbours, strict=True):
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


def _mantel(
    first: ArrayLike, several: Sequence[ArrayLike], permutations: int, seed: int, beyond_depth: Sequence[bool]
) -> list[list[Agreement]]:
    """`mantel` of one matrix with each of several, once for every value of `beyond_depth`."""
    found: list[list[Agreement]] = []
    for a, others, used in _common(first, several, permutations):
        i, j = np.triu_indices(len(used), 1)
        by_lag = np.argsort(used[j] - used[i], kind="stable")
        i, j = i[by_lag], j[by_lag]
        whole, lags = np.zeros(1, dtype=np.int64), np.flatnonzero(np.diff(used[j] - used[i], prepend=0))
        a, others = a[used[i], used[j]], others[:, used[i], used[j]]
        # entry[k, l] is where the pair of the k-th and l-th layer stands among the pairs
        entry = np.zeros((len(used), len(used)), dtype=np.int64)
        entry[i, j] = entry[j, i] = np.arange(len(i))
        runs = [lags if beyond else whole for beyond in beyond_depth]

        def places(orders: NDArray[np.int64], e: Any = entry, i: Any = i, j: Any = j) -> NDArray[np.int64]:
            return np.asarray(e[orders[:, i], orders[:, j]])

        compared = compare(a, others, places, len(used), runs, permutations, seed)
        for each in compared:
            both = zip(each, beyond_depth, strict=True)
            found.append([replace(one, layers=len(used), beyond_depth=beyond) for one, beyond in both])
    return found


def _neighbours(first: ArrayLike, several: Sequence[ArrayLike], permutations: int, seed: int) -> list[Agreement]:
    """`neighbour_agreement` of one matrix with each of several."""
    found: list[Agreement] = []
    for a, others, used in _common(first, several, permutations):
        a, others = a[used[:-1], used[1:]], others[:, used[:-1], used[1:]]
        compared = compare(a, others, lambda orders: orders, len(a), [np.zeros(1, dtype=np.int64)], permutations, seed)
        found += [replace(one, layers=len(used)) for (one,) in compared]
    return found


def _common(
    first: ArrayLike, several: Sequence[ArrayLike], permutations: int
) -> Iterator[tuple[FloatArray, FloatArray, NDArray[np.int64]]]:
    """The first matrix, some ``(M, L, L)`` of the others, and the layers with values in all of them.

    The others keep their order; neighbours in it which miss the same layers come together.
    """
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; expected at least 1.")
    a = _symmetric("first", first)
    others = [_symmetric("second", second) for second in several]
    for b in others:
        if a.shape != b.shape:
            raise ValueError(f"The matrices are of {len(a)} and {len(b)} layers; agreement is about the same layers.")
    for used, together in itertools.groupby(others, key=lambda b: tuple(_usable(a, b).tolist())):
        yield a, np.stack(list(together)), np.array(used, dtype=np.int64)


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
