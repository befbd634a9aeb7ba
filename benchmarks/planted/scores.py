"""How well boundaries that were found agree with boundaries that were planted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import comb


def labels(boundaries: Sequence[int], layers: int) -> list[int]:
    """Group of every layer, from 0."""
    ends = sorted(boundaries)
    return [sum(end < layer for end in ends) for layer in range(layers)]


def adjusted_rand_index(found: Sequence[int], planted: Sequence[int], layers: int) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985) of two cuts of the same layers.

    Args:
        found: Boundaries.
        planted: Boundaries.
        layers: Number of layers.

    Returns:
        1 for the same cut, about 0 for a cut by chance; 0 if only one of the two is a single group.
    """
    first, second = labels(found, layers), labels(planted, layers)
    table = np.zeros((max(first) + 1, max(second) + 1))
    np.add.at(table, (first, second), 1)
    together = comb(table, 2).sum()
    rows, columns = comb(table.sum(axis=1), 2).sum(), comb(table.sum(axis=0), 2).sum()
    expected = rows * columns / comb(layers, 2)
    most = (rows + columns) / 2
    return 1.0 if most == expected else float((together - expected) / (most - expected))


def boundary_f1(found: Sequence[int], planted: Sequence[int], tolerance: int = 0) -> float:
    """Harmonic mean of precision and recall of boundaries, each matched with at most one other.

    Args:
        found: Boundaries.
        planted: Boundaries.
        tolerance: Layers by which a match may be off.

    Returns:
        From 0 to 1; 1 where neither has boundaries.
    """
    if not found and not planted:
        return 1.0
    if not found or not planted:
        return 0.0
    near = np.abs(np.subtract.outer(np.array(found), np.array(planted))) <= tolerance
    rows, columns = linear_sum_assignment(near, maximize=True)
    return float(2 * near[rows, columns].sum() / (len(found) + len(planted)))


def interval(values: Sequence[float], draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean; the two ends are equal where there is one value, NaN where there is none."""
    if not len(values):
        return float("nan"), float("nan")
    sample = np.asarray(values, dtype=np.float64)
    means = np.random.default_rng(seed).choice(sample, (draws, len(sample))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
