"""Values over the few seeds of a strategy, with 95 % intervals that are honest about how few they are.

**Shares** have Wilson's score interval, whose coverage is near nominal down to a handful of runs, where the textbook
interval has none (Brown, Cai and DasGupta 2001, "Interval Estimation for a Binomial Proportion"). **Means** have
Student's interval. It assumes that the values are about normally distributed; the bootstrap would assume less and be
worse here, since resamples of three to five runs hold few distinct values and its intervals come out far too short.
Where all runs have the same value Student's interval is that value: it says nothing of what another run could do. The
**agreement** of pairs of runs is a mean over pairs that share runs, so its error is that of the jackknife over runs
(Arvesen 1969, "Jackknifing U-Statistics"), or that of the pairs where it is larger, and its interval Student's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest
from scipy.stats import t as student

from lightning_gw.statistics.results import Estimate, FloatArray

CONFIDENCE = 0.95


def share_estimate(true: int, runs: int) -> Estimate:
    """The share of `runs` runs of which something is `true`, with Wilson's interval.

    Returns:
        Estimate; without an interval for a single run, and all NaN for none.
    """
    if runs == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    if runs == 1:
        return Estimate(float(true), np.nan, np.nan, 1)
    interval = binomtest(true, runs).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(true / runs, float(interval.low), float(interval.high), runs)


def mean_estimate(values: Sequence[float | None], lowest: float = -np.inf, highest: float = np.inf) -> Estimate:
    """The mean of what runs have, with Student's interval.

    Args:
        values: One per run; None and values that are not finite are left out, and not counted.
        lowest: No value can lie below this; the interval ends there.
        highest: No value can lie above this.

    Returns:
        Estimate; without an interval for a single value, and all NaN for none.
    """
    known = np.array([value for value in values if value is not None and np.isfinite(value)], dtype=np.float64)
    if not len(known):
        return Estimate(np.nan, np.nan, np.nan, 0)
    mean = float(known.mean())
    if len(known) == 1:
        return Estimate(mean, np.nan, np.nan, 1)
    return _student(mean, float(known.std(ddof=1) / np.sqrt(len(known))), len(known), lowest, highest)


def agreement_estimate(agreement: FloatArray) -> Estimate:
    """The mean agreement of two runs, with an interval from the jackknife over runs.

    Args:
        agreement: ``(R, R)`` symmetric agreement of every two runs; the diagonal is not read.

    Returns:
        Estimate, ``runs`` being ``R``; without an interval for two runs, and all NaN for fewer.
    """
    runs = len(agreement)
    if runs < 2:
        return Estimate(np.nan, np.nan, np.nan, runs)
    per_run = agreement.sum(axis=1) - np.diag(agreement)
    total = float(per_run.sum())
    mean = total / (runs * (runs - 1))
    if runs == 2:
        return Estimate(mean, np.nan, np.nan, runs)
    without = (total - 2.0 * per_run) / ((runs - 1) * (runs - 2))
    error = float(np.sqrt((runs - 1) / runs * np.square(without - without.mean()).sum()))
    # Where every run agrees equally well with the others the jackknife sees no error at all, though pairs differ.
    pairs = agreement[np.triu_indices(runs, 1)]
    error = max(error, float(pairs.std(ddof=1) / np.sqrt(len(pairs))))
    return _student(mean, error, runs, -1.0, 1.0)


def _student(mean: float, error: float, runs: int, lowest: float, highest: float) -> Estimate:
    reach = float(student.ppf(0.5 + CONFIDENCE / 2, runs - 1)) * error
    return Estimate(mean, max(mean - reach, lowest), min(mean + reach, highest), runs)
