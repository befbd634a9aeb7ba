"""Weights as whole numbers of equal parts, and points that coincide as one: neither changes any distortion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_gw.utilities.arrays import FloatArray

#: A weight that is a whole number of parts within this counts as one.
WEIGHT_TOLERANCE = 1e-6
#: Marginals further than this from the weights are no coupling of theirs.
MARGINAL_TOLERANCE = 1e-12
#: Points whose distances to all others agree within this share of the largest coincide.
COINCIDENCE = 1e-12
#: Inputs are split into at most so many parts, or rounded to so many, unless they are more themselves.
MAXIMUM_PARTS = 512
ROUNDED_PARTS = 128


def in_parts(a: FloatArray, b: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many parts of equal weight each input of either side has: as few as make up all weights, or rounded.

    Args:
        a: ``(n,)`` weights that add up to 1.
        b: ``(m,)`` weights that add up to 1.

    Returns:
        ``(n,)`` and ``(m,)`` whole numbers of one sum.
    """
    sizes = [len(a)] if len(a) == len(b) else []  # uniform weights need no splitting, however many inputs there are
    for parts in (*sizes, *range(1, MAXIMUM_PARTS + 1)):
        counts = [np.rint(weights * parts).astype(np.int64) for weights in (a, b)]
        if all(
            count.sum() == parts and np.abs(weights - count / parts).max() <= WEIGHT_TOLERANCE
            for weights, count in zip((a, b), counts, strict=True)
        ):
            return counts[0], counts[1]
    parts = max(ROUNDED_PARTS, len(a), len(b))
    return _apportioned(a, parts), _apportioned(b, parts)


def _apportioned(weights: FloatArray, parts: int) -> NDArray[np.int64]:
    """Whole numbers that add up to `parts`, nearest to the weights times it: by the largest remainders."""
    counts = np.floor(weights * parts).astype(np.int64)
    remainders = weights * parts - counts
    counts[np.argsort(-remainders, kind="stable")[: parts - counts.sum()]] += 1
    return counts


def with_marginals(plan: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """The coupling of two weights that has most in common with an ``(n, m)`` plan whose marginals are nearly they."""
    import ot  # where it is needed: it brings packages along that take a second to import

    off = max(np.abs(plan.sum(axis=1) - a).max(), np.abs(plan.sum(axis=0) - b).max())
    return plan if off <= MARGINAL_TOLERANCE else np.asarray(ot.emd(a, b, -plan))


def coinciding(matrix: FloatArray) -> NDArray[np.int64]:
    """``(n,)``: for every point of a symmetric ``(n, n)`` matrix the number of the place it lies at, from 0.

    Points share a place if exchanging them changes nothing in the matrix.
    """
    tolerance = COINCIDENCE * np.abs(matrix).max()
    places = np.full(len(matrix), -1)
    diagonal = matrix.diagonal()
    count = 0
    for i in range(len(matrix)):
        if places[i] < 0:
            near = (np.abs(matrix[i] - matrix[i, i]) <= tolerance) & (np.abs(diagonal - matrix[i, i]) <= tolerance)
            others = np.flatnonzero(near & (places < 0))
            places[others[(np.abs(matrix[others] - matrix[i]) <= tolerance).all(axis=1)]] = count
            count += 1
    return places
