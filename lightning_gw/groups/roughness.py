"""How unevenly the steps between layers follow each other in depth: one number, which a null is asked about."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

#: A quadratic in depth fits three adjacent distances whatever they are.
MINIMUM_FOR_ROUGHNESS = 4


def roughness(adjacent: ArrayLike) -> float:
    """Standard deviation of the residuals of log adjacent distance about a quadratic in depth.

    Args:
        adjacent: ``(L − 1,)`` adjacent distances; NaN and zero entries are left out.

    Returns:
        The standard deviation, a pure number; NaN with fewer than 4 usable entries, where the quadratic fits anything.
    """
    values = np.asarray(adjacent, dtype=np.float64)
    depth = np.arange(len(values))
    usable = np.isfinite(values) & (values > 0)
    if usable.sum() < MINIMUM_FOR_ROUGHNESS:
        return float("nan")
    logs = np.log(values[usable])
    fit = np.polynomial.Polynomial.fit(depth[usable], logs, deg=2)
    return float((logs - fit(depth[usable])).std())


def why_no_roughness(value: float) -> str | None:
    """Why groups have no `roughness`, in one sentence; None where they have one.

    Args:
        value: Their `roughness`.
    """
    if np.isfinite(value):
        return None
    return (
        f"Roughness was left out: it is told from at least {MINIMUM_FOR_ROUGHNESS} distances above zero between "
        "neighbouring layers, and there are fewer."
    )
