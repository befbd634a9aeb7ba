"""One number per network that says how much its depth falls into blocks, and its p-value against a null.

Statistics see the network under test and those of the null as one table and treat all rows alike. Where the network is
one more draw from the null, every rank of it is equally likely, so ``p = (1 + #{null >= observed}) / (M + 1)`` is
uniform on its steps, and above uniform where there are ties (Phipson and Smyth 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_gw.groups.roughness import MINIMUM_FOR_ROUGHNESS
from lightning_gw.utilities.arrays import FloatArray

Statistic = Literal["roughness", "departure"]

#: Values this near are ties, and ties count against significance.
TIE = 1e-9


@dataclass(frozen=True)
class PValue:
    """What a test against a null said.

    Attributes:
        value: The p-value, or None where there is none; `reason` then says why.
        statistic: Its name.
        observed: The statistic of the network under test; NaN where there is none.
        null: ``(M,)`` that of the networks of the null; infinite where theirs could not be told, which counts against
            significance.
        reason: Why there is no p-value, or what it leaves out, in words; empty where there is nothing to say.
    """

    value: float | None
    statistic: Statistic
    observed: float
    null: FloatArray
    reason: str = ""


def p_value(adjacent: ArrayLike, null: ArrayLike, statistic: Statistic = "roughness") -> PValue:
    """Test adjacent distances against those of a null.

    Args:
        adjacent: ``(L − 1,)`` adjacent distances of the network under test. NaN and zero entries are left out, of the
            null too.
        null: ``(M, L − 1)`` adjacent distances of the networks of the null, measured in the same way.
        statistic: ``"roughness"``: standard deviation of the residuals of log adjacent distance about a quadratic in
            depth. ``"departure"``: the same after the mean profile of all networks in the table is taken off, so that
            steep places that the architecture always has do not count.

    Returns:
        PValue.

    Raises:
        ValueError: For an unknown statistic or tables that do not fit.
    """
    if statistic not in STATISTICS:
        raise ValueError(f"Unknown statistic {statistic!r}. Known: {', '.join(STATISTICS)}.")
    observed, others = np.asarray(adjacent, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if observed.ndim != 1 or others.ndim != 2 or others.shape[1] != len(observed):
        raise ValueError(
            f"Expected (L − 1,) adjacent distances and a null of (M, L − 1), got {observed.shape} and {others.shape}."
        )

    def none(reason: str) -> PValue:
        return PValue(None, statistic, float("nan"), np.full(len(others), np.nan), reason)

    usable = _positive(observed)
    if usable.sum() < MINIMUM_FOR_ROUGHNESS:
        return none(
            f"No p-value: it takes at least {MINIMUM_FOR_ROUGHNESS} distances above zero between neighbouring layers, "
            f"so {MINIMUM_FOR_ROUGHNESS + 1} layers, and there are {int(usable.sum())}."
        )
    whole = np.asarray(_positive(others[:, usable]).all(axis=1))
    if not whole.any():
        return none(
            f"No p-value: none of the {len(others)} networks of the null has distances above zero at the same places."
        )
    table = np.log(np.vstack([observed[usable], others[whole][:, usable]]))
    values = STATISTICS[statistic](table, np.flatnonzero(usable))
    spread = np.full(len(others), np.inf)
    spread[whole] = values[1:]
    at_least = int((spread >= values[0] * (1 - TIE) - TIE).sum())
    said = []
    if not usable.all():
        said.append(f"{int((~usable).sum())} of {len(observed)} adjacent distances are zero or missing and left out")
    if not whole.all():
        said.append(f"{int((~whole).sum())} of {len(others)} networks of the null lack some and count as no smoother")
    return PValue((1 + at_least) / (len(others) + 1), statistic, float(values[0]), spread, "; ".join(said))


def _positive(values: FloatArray) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(values) & (values > 0))


def _roughness(table: FloatArray, depth: NDArray[np.int64]) -> FloatArray:
    """``(M + 1, K)`` log distances at ``(K,)`` depths to ``(M + 1,)``."""
    basis = np.linalg.qr(np.vander(depth - depth.mean(), 3))[0]
    residuals = table - table @ basis @ basis.T
    return np.asarray(residuals.std(axis=1))


def _departure(table: FloatArray, depth: NDArray[np.int64]) -> FloatArray:
    return _roughness(table - table.mean(axis=0), depth)


STATISTICS: Mapping[Statistic, Callable[[FloatArray, NDArray[np.int64]], FloatArray]] = {
    "roughness": _roughness,
    "departure": _departure,
}
