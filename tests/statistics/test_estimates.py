"""Intervals against closed forms, SciPy and their own coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lightning_gw.statistics.estimates import agreement_estimate, mean_estimate, share_estimate


@pytest.mark.parametrize(("true", "runs"), [(0, 3), (3, 3), (2, 5), (7, 10)])
def test_shares_have_wilsons_interval(true: int, runs: int) -> None:
    z, share = 1.959963984540054, true / runs
    middle = (share + z**2 / (2 * runs)) / (1 + z**2 / runs)
    reach = z * math.sqrt(share * (1 - share) / runs + z**2 / (4 * runs**2)) / (1 + z**2 / runs)
    found = share_estimate(true, runs)
    assert (found.value, found.runs) == (share, runs)
    assert (found.low, found.high) == pytest.approx((middle - reach, middle + reach), abs=1e-12)


def test_means_have_students_interval_and_stay_where_values_can_be() -> None:
    values = [2.0, 3.0, 5.0, 4.0]
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_estimate([*values, None, float("nan")])
    assert (found.value, found.low, found.high, found.runs) == pytest.approx((3.5, *expected, 4))
    bounded = mean_estimate(values, 3.0, 4.0)
    assert (bounded.low, bounded.high) == (3.0, 4.0)


def test_a_single_run_has_no_interval_and_no_run_has_nothing() -> None:
    for single in (share_estimate(1, 1), mean_estimate([1.0])):
        assert (single.value, single.runs) == (1.0, 1)
        assert np.isnan([single.low, single.high]).all()
    for none in (share_estimate(0, 0), mean_estimate([]), mean_estimate([None]), agreement_estimate(np.ones((1, 1)))):
        assert np.isnan([none.value, none.low, none.high]).all()


def test_agreement_is_the_mean_over_pairs_with_the_jackknifes_error() -> None:
    generator = np.random.default_rng(0)
    agreement = generator.uniform(0, 1, (5, 5))
    agreement = (agreement + agreement.T) / 2
    pairs = agreement[np.triu_indices(5, 1)]
    kept = [np.delete(np.delete(agreement, run, 0), run, 1)[np.triu_indices(4, 1)].mean() for run in range(5)]
    error = math.sqrt(4 / 5 * np.square(np.array(kept) - np.mean(kept)).sum())
    found = agreement_estimate(agreement)
    assert found.value == pytest.approx(pairs.mean())
    reach = 2.7764451051977987 * max(error, pairs.std(ddof=1) / math.sqrt(10))
    assert (found.low, found.high) == pytest.approx((max(found.value - reach, -1), min(found.value + reach, 1)))


def test_pairs_that_differ_are_never_reported_without_error() -> None:
    """Two runs of one kind and two of another: each agrees equally well with the rest, and the jackknife sees none."""
    kinds = np.array([0, 0, 1, 1])
    found = agreement_estimate(np.where(kinds[:, None] == kinds, 1.0, 0.5))
    assert found.low < found.value < found.high


def test_intervals_of_means_cover_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    found = [mean_estimate(list(generator.normal(1.0, 2.0, 4))) for _ in range(1000)]
    assert 0.93 <= np.mean([each.low <= 1.0 <= each.high for each in found]) <= 0.97
