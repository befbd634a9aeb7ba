"""Networks of the planted grid that train in a moment, and distances with planted blocks."""

from __future__ import annotations

import numpy as np

from benchmarks.planted.grid import specification as spec
from benchmarks.planted.grid.specification import Specification

TINY = Specification("mlp", "sums", spec.EVERY_LAYER, (1, 2), 0)
TINY_NULL = Specification("linear", spec.REGRESSION, spec.UNTRAINED, (3,), 0)
TINY_NULL_ASIDE = Specification("linear", spec.REGRESSION, spec.UNTRAINED, (3,), 1)
TINY_ASIDE = Specification("mlp", "sums", spec.EVERY_LAYER, (2, 1), 1)


def blocks(lengths: tuple[int, ...], near: float = 0.1, far: float = 1.0) -> np.ndarray:
    groups = np.repeat(np.arange(len(lengths)), lengths)
    return np.where(groups[:, None] == groups, near, far) * (1 - np.eye(len(groups)))
