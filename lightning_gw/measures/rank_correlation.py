"""Rank correlation of pairs of layers with a permutation test: one matrix against several, in all orders of layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

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


def compare(
    first: FloatArray,
    several: FloatArray,
    places: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    items: int,
    runs: Sequence[NDArray[np.int64]],
    permutations: int,
    seed: int,
) -> list[list[Agreement]]:
    """Rank correlation of a vector with several, against that of the first rearranged as other orders rearrange it.

    Args:
        first: ``(E,)`` entries.
        several: ``(M, E)`` entries.
        places: ``(K, items)`` orders to the ``(K, E)`` places that the entries are taken from.
        items: How many layers, or steps, are put in other orders.
        runs: Where the runs of entries begin whose mean rank is taken off, one way after the other.
        permutations: Orders that are drawn where there are too many to try all.
        seed: Of the draw.

    Returns:
        For each of several vectors, and each way, what was found.
    """
    exact = items <= ENUMERATED
    orders = math.factorial(items) if exact else permutations + 1
    unknown = Agreement(math.nan, math.nan, orders, exact, items)
    found = [[unknown for _ in runs] for _ in several]
    if items < MINIMUM_ITEMS or np.isnan(first).any():
        return found
    ranks = _ranks(first)
    told = [k for k, second in enumerate(several) if not np.isnan(second).any()]
    theirs = np.array([_ranks(several[k]) for k in told]).reshape(len(told), len(first))
    observed = [_standard(ranks[None], starts)[0] for starts in runs]
    targets = [_standard(theirs, starts) for starts in runs]
    correlations = [np.array([own @ one for one in target]) for own, target in zip(observed, targets, strict=True)]
    as_large = np.zeros((len(runs), len(told)), dtype=np.int64)
    for chunk in _orders(items, None if exact else permutations, seed):
        rearranged = ranks[places(chunk)]
        for way, starts in enumerate(runs):
            others = _standard(rearranged, starts) @ targets[way].T
            as_large[way] += (others >= correlations[way] - TIED).sum(axis=0)
    # All orders include the given one; to a sample it is added.
    p_values = (as_large if exact else 1 + as_large) / orders
    for way in range(len(runs)):
        for place, k in enumerate(told):
            if targets[way][place].any() and observed[way].any():
                correlation = float(correlations[way][place])
                found[k][way] = replace(unknown, spearman=correlation, p_value=float(p_values[way, place]))
    return found


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks, equal where values differ by no more than rounding makes of equals."""
    return np.asarray(rankdata(np.round(values, 12)), dtype=np.float64)


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
