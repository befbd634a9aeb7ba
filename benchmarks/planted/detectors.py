"""Ways to read groups from distances between layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_gw import find_groups
from lightning_gw.groups.finding import DEFAULT_GAMMA
from lightning_gw.groups.groups import Strength

FloatArray = NDArray[np.float64]

#: A local maximum of the adjacent distance counts from this share of the way from the least to the largest.
PROMINENCE = 0.3


@dataclass(frozen=True)
class Found:
    """What a detector says of one matrix.

    Attributes:
        boundaries: Each ``k`` such that a group ends after layer ``k`` (from 0).
        strength: ``"none"``, ``"weak"`` or ``"strong"``; a detector that judges nothing calls every boundary strong.
    """

    boundaries: tuple[int, ...]
    strength: Strength


#: ``(L, L)`` distances, the true number of groups, and the same distances before training, None where there are none.
Detector = Callable[[FloatArray, int, FloatArray | None], Found]
#: The detector as it is shipped, and the one that is told the number of groups.
SHIPPED = "find_groups"
CEILING = "number known"


def gated(gamma: float | None) -> Detector:
    """`find_groups` with its gates; with its own exponent where `gamma` is None."""

    def detect(matrix: FloatArray, _: int, untrained: FloatArray | None = None) -> Found:
        groups = find_groups(matrix, untrained, DEFAULT_GAMMA if gamma is None else gamma)
        return Found(groups.boundaries, groups.strength)

    return detect


def ungated(gamma: float | None) -> Detector:
    """What `find_groups` proposes before anything is taken back."""

    def detect(matrix: FloatArray, _: int, untrained: FloatArray | None = None) -> Found:
        groups = find_groups(matrix, untrained, DEFAULT_GAMMA if gamma is None else gamma)
        return Found(groups.proposed, "strong" if groups.proposed else "none")

    return detect


def number_known(matrix: FloatArray, count: int, untrained: FloatArray | None = None) -> Found:
    """The best cut into as many groups as were planted: the ceiling of what a matrix holds."""
    groups = find_groups(matrix, untrained, count=count)
    return Found(groups.boundaries, groups.strength)


def local_maxima(matrix: FloatArray, _: int, untrained: FloatArray | None = None) -> Found:
    """Local maxima of the adjacent distance above min + 0.3 (max − min): what one does by eye."""
    steps = matrix[np.arange(len(matrix) - 1), np.arange(1, len(matrix))]
    padded = np.concatenate([[-np.inf], steps, [-np.inf]])
    peak = (steps >= padded[:-2]) & (steps >= padded[2:])
    high = steps > steps.min() + PROMINENCE * (steps.max() - steps.min())
    boundaries = tuple(int(k) for k in np.flatnonzero(peak & high))
    return Found(boundaries, "strong" if boundaries else "none")


#: Name to detector. Only the ceiling may use the true number of groups; local maxima know nothing of the start.
DETECTORS: Mapping[str, Detector] = {
    SHIPPED: gated(None),
    "gated, γ = 1": gated(1.0),
    "gated, γ = 1.5": gated(1.5),
    "gated, γ = 2": gated(2.0),
    "ungated, γ = 1": ungated(1.0),
    "ungated, γ = 1.5": ungated(1.5),
    "ungated, γ = 2": ungated(2.0),
    "local maxima": local_maxima,
    CEILING: number_known,
}
