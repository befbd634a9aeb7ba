"""Relabelling runs within seeds: the null distribution of how far strategies lie apart.

Runs with the same seed resemble each other whatever the strategy. So that this neither passes for nor hides an effect
of it, only pairs of **different seeds** are compared, and strategies are relabelled **within each seed**, as in a
randomised block design: the test is exact whatever seeds share (Anderson 2001, "Permutation tests for univariate or
multivariate analysis of variance and regression", on restricted permutations; Anderson 2001, "A new method for
non-parametric multivariate analysis of variance"). With squared differences of coordinates the effects of seeds cancel
altogether in ``between − within`` if they add to those of strategies and every strategy has every seed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lightning_gw.statistics.results import FloatArray

IntArray = NDArray[np.int64]

#: Entries of the one-hot relabellings that are worked on at once.
CHUNK_ENTRIES = 4_000_000


def relabellings(strategies: IntArray, seeds: IntArray, most: int, seed: int) -> tuple[IntArray, bool]:
    """Ways to hand out the strategies of each seed to its runs.

    Args:
        strategies: ``(N,)`` strategy of each run, numbered from 0.
        seeds: ``(N,)`` seed of each run.
        most: All are listed where there are at most so many, else so many are drawn.
        seed: Seed of the draw; the global generators are never touched.

    Returns:
        ``(K, N)`` strategies, the given ones first, and whether these are all there are. Where every strategy has every
        seed, those that only rename strategies throughout count as one, since nothing tells them apart.
    """
    blocks = [np.flatnonzero(seeds == value) for value in np.unique(seeds)]
    whole = all(len(block) == len(np.unique(strategies)) for block in blocks)
    free = blocks[1:] if whole else blocks
    # Beyond this many runs of one seed, the orders of it alone are too many.
    count = math.prod(math.factorial(min(len(block), 20)) for block in free)
    if count <= most:
        return _every(strategies, free, count), True
    generator = np.random.default_rng(seed)
    drawn = np.tile(strategies, (most, 1))
    for block in blocks:
        drawn[1:, block] = generator.permuted(drawn[1:, block], axis=1)
    return drawn, False


def mean_differences(differences: FloatArray, seeds: IntArray, labels: IntArray, count: int) -> Iterator[FloatArray]:
    """Mean difference between runs of every two strategies, and of each one, under relabellings.

    Args:
        differences: ``(N, N)`` symmetric differences between runs.
        seeds: ``(N,)`` seed of each run; pairs with the same are left out.
        labels: ``(K, N)`` strategies, each a relabelling of the first within seeds.
        count: Number of strategies ``S``.

    Yields:
        ``(k, S, S)`` for some of the relabellings at a time, in order; NaN where there are no pairs.
    """
    apart = (seeds[:, None] != seeds[None, :]).astype(np.float64)
    masked = differences * apart
    first = np.eye(count)[labels[0]]
    # Relabelling within seeds leaves every strategy its seeds, and so its number of pairs with every other.
    pairs = first.T @ apart @ first
    pairs[pairs == 0] = np.nan
    step = max(1, CHUNK_ENTRIES // max(count * len(seeds), 1))
    for start in range(0, len(labels), step):
        chunk = labels[start : start + step]
        # (k, S, N): which runs each strategy has
        has = (chunk[:, None, :] == np.arange(count)[None, :, None]).astype(np.float64)
        half = (has.reshape(len(chunk) * count, len(seeds)) @ masked).reshape(has.shape)
        yield (half @ has.transpose(0, 2, 1)) / pairs


def _every(strategies: IntArray, blocks: list[IntArray], count: int) -> IntArray:
    """All combinations of the orders of each block; the first leaves everything as it is."""
    every = np.tile(strategies, (count, 1))
    repeats = count
    for block in blocks:
        orders = np.array(list(itertools.permutations(strategies[block])))
        repeats //= len(orders)
        every[:, block] = orders[np.arange(count) // repeats % len(orders)]
    return every
