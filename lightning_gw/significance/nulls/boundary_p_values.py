"""A p-value for each gap between layers: would a network that learnt nothing take a step as far beyond its kind?

Network and null are one table whose rows are treated alike, so that for one more draw from the null every rank is
equally likely. What is compared is the largest excess over all gaps (Westfall and Young 1993), so that the p-values of
one network hold for all its gaps at once: the chance that any of them is at most p is at most p.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lightning_gw.groups.reference import FLOOR
from lightning_gw.significance.nulls.p_values import TIE
from lightning_gw.utilities.arrays import FloatArray


def boundary_p_values(adjacent: ArrayLike, null: ArrayLike) -> FloatArray:
    """Test every step of a network against those of networks that learnt nothing.

    The logarithm of each step (above a floor, see `Reference.excess`) is held against the mean of all networks at its
    gap; what is left of a network is freed of its straight trend in depth, because a network that takes larger steps
    throughout, or ever larger ones, has no boundary for it; and is divided by the spread of all networks at that gap.

    Args:
        adjacent: ``(L − 1,)`` distances from each layer to the next in the network under test; gaps that are NaN are
            left out.
        null: ``(M, L − 1)`` those of the networks of the null, measured in the same way. A network that lacks a gap
            the tested one has counts against significance.

    Returns:
        ``(L − 1,)`` p-values from ``1 / (M + 1)`` to 1; NaN where the gap was left out, throughout where fewer than
        three are usable.

    Raises:
        ValueError: If the table does not fit.
    """
    observed, others = np.asarray(adjacent, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if observed.ndim != 1 or others.ndim != 2 or others.shape[1] != len(observed) or len(others) == 0:
        raise ValueError(
            f"Expected (L − 1,) adjacent distances and a null of (M, L − 1), got {observed.shape} and {others.shape}."
        )
    p_values = np.full(len(observed), np.nan)
    usable = np.flatnonzero(np.isfinite(observed))
    if len(usable) < 3:
        return p_values
    whole = np.isfinite(others[:, usable]).all(axis=1)
    scores = step_scores(np.vstack([observed[usable], others[whole][:, usable]]), usable)
    largest = scores[1:].max(axis=1)
    at_least = (largest[None, :] >= scores[0][:, None] - TIE).sum(axis=1) + np.count_nonzero(~whole)
    p_values[usable] = (1 + at_least) / (len(others) + 1)
    return p_values


def step_scores(table: FloatArray, depth: ArrayLike) -> FloatArray:
    """How far each step of each network goes beyond its kind, in standard deviations; all rows are treated alike.

    Args:
        table: ``(M, K)`` distances from layer to layer.
        depth: ``(K,)`` where in depth they are.
    """
    floor = FLOOR * np.sqrt((table**2).mean(axis=0)).max()
    logs = np.log(table**2 + floor**2 + np.finfo(float).tiny) / 2
    apart = logs - logs.mean(axis=0)
    place = np.asarray(depth, dtype=np.float64)
    basis = np.linalg.qr(np.vander(place - place.mean(), 2))[0]
    left = apart - apart @ basis @ basis.T
    spread = left.std(axis=0)
    return np.asarray(left / np.where(spread > 0, spread, 1.0))
