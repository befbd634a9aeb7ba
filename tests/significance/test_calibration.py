"""Under the null, p-values are uniform: re-initialised networks tested against re-initialised networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest, kstest
from significance_nets import Convolutions, CustomStart, Drift, probe, represent_on
from torch import nn

from lightning_gw.significance import p_value, reinitialisation_null
from lightning_gw.significance.nulls.boundary_p_values import boundary_p_values
from lightning_gw.significance.nulls.p_values import STATISTICS


def null_p_values(make: type[nn.Module], cases: int, samples: int, statistic: str) -> NDArray[np.float64]:
    """p-values of live networks, as their constructors leave them, each against a null and on a probe of its own.

    A p-value is uniform on its ``samples + 1`` steps; it is spread over its step, so that it is uniform altogether.
    """
    found = []
    for case in range(cases):
        torch.manual_seed(case)
        live, represent = make(), represent_on(probe(case))
        null = reinitialisation_null(live, represent, samples, seed=case)
        found.append(null.test(represent(live), statistic).value)  # type: ignore[arg-type]
    return np.array(found) - np.random.default_rng(0).random(cases) / (samples + 1)


@pytest.mark.slow
@pytest.mark.parametrize("make", [Drift, CustomStart])
@pytest.mark.representatives("Drift")
def test_p_values_of_fresh_networks_are_uniform(make: type[nn.Module]) -> None:
    values = null_p_values(make, cases=30, samples=7, statistic="roughness")
    assert kstest(values, "uniform").pvalue > 0.05


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("make", [Drift, CustomStart])
@pytest.mark.parametrize("statistic", ["roughness"])
def test_p_values_of_500_fresh_networks_are_uniform(make: type[nn.Module], statistic: str) -> None:
    values = null_p_values(make, cases=500, samples=19, statistic=statistic)
    result = kstest(values, "uniform")
    print(f"{make.__name__}, {statistic}: KS statistic {result.statistic:.4f}, p = {result.pvalue:.3f}")
    assert result.pvalue > 0.05


def smallest_p_values(make: type[nn.Module], cases: int, samples: int) -> NDArray[np.float64]:
    """The smallest p-value over all gaps of live networks, spread over its step."""
    found = []
    for case in range(cases):
        torch.manual_seed(case)
        live, represent = make(), represent_on(probe(case))
        null = reinitialisation_null(live, represent, samples, seed=case)
        found.append(np.nanmin(boundary_p_values(null.solver(represent(live)).matched, null.adjacent)))
    return np.array(found) - np.random.default_rng(0).random(cases) / (samples + 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("make", [Drift, CustomStart, Convolutions])
def test_boundary_p_values_of_500_fresh_networks_are_uniform(make: type[nn.Module]) -> None:
    result = kstest(smallest_p_values(make, cases=500, samples=19), "uniform")
    print(f"{make.__name__}: KS statistic {result.statistic:.4f}, p = {result.pvalue:.3f}")
    assert result.pvalue > 0.05


def test_boundary_p_values_of_any_exchangeable_networks_hold_for_all_gaps_at_once() -> None:
    generator = np.random.default_rng(0)
    profile = np.exp(generator.normal(size=8))
    cases, samples = 2000, 19
    tables = profile * np.exp(generator.normal(0, 0.3, size=(cases, samples + 1, 8)))
    tables[:, :, 2] = 0.0  # blocks that begin as the identity
    values = np.array([np.nanmin(boundary_p_values(table[0], table[1:])) for table in tables])
    assert kstest(values - generator.random(cases) / (samples + 1), "uniform").pvalue > 0.001
    assert binomtest(int((values <= 0.05).sum()), cases, 0.05).pvalue > 0.001


def test_one_step_beyond_its_kind_is_found_where_it_is() -> None:
    generator = np.random.default_rng(0)
    table = np.exp(generator.normal(0, 0.1, size=(20, 8)))
    table[0, 5] *= 3
    values = boundary_p_values(table[0], table[1:])
    assert values[5] == 1 / 20
    assert (np.delete(values, 5) > 0.05).all()
    assert np.isnan(boundary_p_values([0.1, np.nan, 0.2], np.ones((19, 3)))).all(), "two gaps have no trend to leave"


@pytest.mark.parametrize("statistic", list(STATISTICS))
def test_p_values_of_any_exchangeable_networks_are_uniform(statistic: str) -> None:
    generator = np.random.default_rng(0)
    profile = np.exp(generator.normal(size=8))  # steep places of its own, as architectures have them
    cases, samples = 2000, 19
    tables = profile * np.exp(generator.normal(0, 0.3, size=(cases, samples + 1, 8)))
    values = [p_value(table[0], table[1:], statistic).value for table in tables]  # type: ignore[arg-type]
    # Uniform by theorem: chance alone fails this for one seed in a thousand, a statistic that peeks for every seed.
    assert kstest(np.array(values) - generator.random(cases) / (samples + 1), "uniform").pvalue > 0.001
    assert binomtest(sum(v <= 0.05 for v in values if v is not None), cases, 0.05).pvalue > 0.001
