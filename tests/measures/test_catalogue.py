"""What every measure declares about itself is true, and what it does not declare is not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gw.measures import MEASURES, PAIRED_MEASURES, layer_similarities, why_undefined

INPUTS, WIDTH = 24, 5
ALL = ("orthogonal", "isotropic scaling", "translation", "invertible linear", "relabelling of inputs")


@cache
def layers() -> tuple[Tensor, Tensor]:
    """Two layers that have something in common, of different width, both anisotropic and off the origin."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(INPUTS, WIDTH, generator=generator, dtype=torch.float64)
    x = x * torch.tensor([3.0, 1.5, 1.0, 0.6, 0.3]) + 0.5
    mixing = torch.randn(WIDTH, WIDTH + 2, generator=generator, dtype=torch.float64)
    return x, torch.tanh(x @ mixing) + 0.2


def transformed(x: Tensor, what: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    square = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)
    if what == "orthogonal":
        return x @ torch.linalg.qr(square).Q
    if what == "isotropic scaling":
        return 7 * x
    if what == "translation":
        return x + 2 * square[0]
    if what == "invertible linear":
        return x @ torch.diag(torch.tensor([0.05, 0.1, 0.3, 2.0, 9.0], dtype=torch.float64)) @ square
    return x[torch.randperm(len(x), generator=generator)]


@cache
def value(name: str, what: str | None = None) -> float:
    x, y = layers()
    return float(MEASURES[name]({"x": x if what is None else transformed(x, what), "y": y})[0, 1])


@pytest.mark.parametrize("what", ALL)
@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_blind_to_what_it_says_and_to_nothing_else(name: str, what: str) -> None:
    # A search may find another matching for the transformed layer, but what it cannot see moves nothing by much.
    searched = what == "relabelling of inputs" and not MEASURES[name].paired
    difference = abs(value(name) - value(name, what))
    if what in MEASURES[name].invariances:
        assert difference < (0.004 if searched else 1e-9)
    else:
        assert difference > 0.005


@pytest.mark.parametrize("name", MEASURES)
def test_values_lie_in_the_range_and_equals_are_at_its_end(name: str) -> None:
    x, y = layers()
    measure = MEASURES[name]
    parts = torch.randint(2, (INPUTS, 1), generator=torch.Generator().manual_seed(0)).double()
    two_points = parts + 0.01 * torch.rand(INPUTS, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = measure({"x": x, "y": y, "again": x, "else": two_points})
    least, largest = measure.range
    assert (values >= least - 1e-9).all()
    assert (values <= largest + 1e-9).all()
    equal = 1.0 if measure.direction == "similarity" else 0.0
    np.testing.assert_allclose(np.diag(values), equal, atol=1e-12)
    assert values[0, 2] == pytest.approx(equal, abs=1e-6)
    np.testing.assert_allclose(values, values.T, atol=1e-12)
    closer = np.greater if measure.direction == "similarity" else np.less
    assert closer(values[0, 1], values[0, 3])  # a function of the layer is closer than something else


@pytest.mark.parametrize("name", MEASURES)
def test_a_paired_measure_sees_which_input_is_which_and_no_other_does(name: str) -> None:
    assert MEASURES[name].paired == ("relabelling of inputs" not in MEASURES[name].invariances)


@pytest.mark.parametrize("name", MEASURES)
def test_a_degenerate_layer_is_nan_and_harms_no_other(name: str) -> None:
    x, y = layers()
    broken = y.clone()
    broken[3, 0] = float("nan")
    values = MEASURES[name]({"dead": torch.ones(INPUTS, 2), "x": x, "broken": broken, "y": y})
    assert np.isnan(values[[0, 2]]).all()
    assert np.isnan(values[:, [0, 2]]).all()
    assert values[1, 3] == pytest.approx(value(name), abs=1e-9)


def test_several_at_once_by_name() -> None:
    x, y = layers()
    found = layer_similarities([x, y])
    assert tuple(found) == PAIRED_MEASURES
    for name, values in found.items():
        assert values.shape == (2, 2)
        assert values[0, 1] == pytest.approx(value(name), abs=1e-12)


def test_a_distance_cannot_stand_among_similarities() -> None:
    with pytest.raises(ValueError, match=r"'gw_euclidean_distance' is a distance.*MEASURES\['gw_euclidean_distance'\]"):
        layer_similarities(layers(), ["paired_cka", "gw_euclidean_distance"])


def test_an_unknown_measure_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"Unknown measure 'pwcca'.*svcca"):
        layer_similarities(layers(), ["pwcca"])
    with pytest.raises(ValueError, match="Unknown measure 'pwcca'"):
        why_undefined(layers(), ["pwcca"])


def test_names_say_which_are_distances() -> None:
    assert all(name.endswith("_distance") == (m.direction == "distance") for name, m in MEASURES.items())
    assert all(name == measure.name for name, measure in MEASURES.items())
