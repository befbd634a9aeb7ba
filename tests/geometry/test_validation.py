"""Bad input: every kind has a message that names the thing and says what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drifting_layers import layers
from torch import Tensor

from lightning_gw.geometry.geometries import GEOMETRIES, Geometry, squared_euclidean_distances
from lightning_gw.gw import gw_matrix
from lightning_gw.measures import MEASURES
from lightning_gw.measures.spread import effective_rank


def test_broken_layers_are_named_and_the_rest_stands() -> None:
    reps = layers()
    whole = gw_matrix(reps)
    reps["nan"] = torch.full((40, 3), float("nan"))
    reps["dead"] = torch.ones(40, 5)
    reps["half"] = reps["layer.0"].clone()
    reps["half"][3, 2] = float("inf")
    result = gw_matrix(reps)
    assert set(result.degenerate) == {"nan", "dead", "half"}
    assert "40 of its 40 inputs" in result.degenerate["nan"]
    assert "constant" in result.degenerate["dead"]
    assert "1 of its 40 inputs" in result.degenerate["half"]
    assert np.isnan(result.distortion[4:]).all()
    assert np.isnan(result.distortion[:, 4:]).all()
    np.testing.assert_array_equal(result.distortion[:4, :4], whole.distortion)


def test_equidistant_inputs_have_no_centred_scale() -> None:
    result = gw_matrix({"simplex": torch.eye(8), "spread": torch.randn(8, 3), "other": torch.randn(8, 2)})
    assert "equally far apart" in result.degenerate["simplex"]
    assert not np.isnan(gw_matrix([torch.eye(8), torch.randn(8, 3)], geometry="euclidean").distortion).any()


def test_all_layers_broken() -> None:
    result = gw_matrix({"a": torch.ones(5, 2), "b": torch.ones(5, 2)})
    assert np.isnan(result.distortion).all()


@pytest.mark.parametrize(
    ("reps", "error", "message"),
    [
        ({}, ValueError, "No representations"),
        ({"a": torch.randn(3, 2)}, ValueError, "3 inputs are too few to compare layers; at least 4"),
        ({"a": torch.randn(2, 2)}, ValueError, "2 inputs are too few"),
        ({"a": torch.randn(1, 2)}, ValueError, "1 inputs are too few"),
        ({"a": torch.randn(0, 2)}, ValueError, "0 inputs are too few"),
        ({"a": torch.ones(8, 2, 2)}, ValueError, r"'a' has shape \(8, 2, 2\)"),
        ({"a": torch.randn(8, 2), "b": torch.randn(9, 2)}, ValueError, "'a': 8, 'b': 9"),
        ({"a": torch.randn(8)}, ValueError, r"'a' has shape \(8,\); expected \(n, d\)"),
        ({"a": torch.randn(8, 2).to(torch.complex64)}, TypeError, "'a' has dtype torch.complex64; expected real"),
        ({"a": torch.randn(8, 2) > 0}, TypeError, "'a' has dtype torch.bool; expected real"),
        ({1: torch.randn(8, 2), "1": torch.randn(8, 2)}, ValueError, "Two layers are called '1'"),
    ],
)
def test_unusable_input_is_refused(reps: dict[str, Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gw_matrix(reps)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'eucldean'. Known: euclidean"):
        gw_matrix(layers(), geometry="eucldean")
    with pytest.raises(ValueError, match=r"'best'. Known: fast"):
        gw_matrix(layers(), effort="best")  # type: ignore[arg-type]


def test_half_precision_integers_and_strides_are_fine() -> None:
    x = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
    whole = (8 * x).round()
    given = {"half": x.half(), "brain": x.bfloat16(), "view": x[:, ::2], "turned": x.flip(1).T.contiguous().T}
    given |= {"int": whole.int(), "short": whole.short(), "float": whole}
    result = gw_matrix(given)
    assert not result.degenerate
    assert result.distortion[0, 1] < 0.01
    assert result.distortion[0, 3] < 0.01
    np.testing.assert_array_equal(result.distortion[4:, 4:], 0)
    np.testing.assert_array_equal(result.distortion[:, 4], result.distortion[:, 6])
    alone = gw_matrix([x[:, ::2].contiguous(), x])
    assert alone.identity[0, 1] == pytest.approx(gw_matrix([x[:, ::2], x]).identity[0, 1], rel=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("power", [-1000, -500, 500, 1000])
@pytest.mark.representatives("-1000-standardized", "1000-cka")
def test_scale_is_nothing_though_squares_would_vanish_or_overflow(power: int, geometry: str) -> None:
    x = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain, scaled = x.tanh(), torch.ldexp(x.tanh(), torch.tensor(power))
    for measured in (gw_matrix, lambda *layers, **how: gw_matrix(*layers, [x[:9]], **how)):  # permutations, couplings
        ours, theirs = (measured([x, layer], geometry=geometry) for layer in (plain, scaled))
        assert not theirs.degenerate
        np.testing.assert_array_equal(ours.distortion, theirs.distortion)


@pytest.mark.parametrize("power", [-1000, 1000])
def test_no_measure_minds_a_scale_whose_squares_would_vanish_or_overflow(power: int) -> None:
    x = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain, scaled = x.tanh(), torch.ldexp(x.tanh(), torch.tensor(power))
    for name, measure in MEASURES.items():
        np.testing.assert_array_equal(measure({"x": x, "y": plain}), measure({"x": x, "y": scaled}), err_msg=name)
    assert effective_rank({"y": plain}) == effective_rank({"y": scaled})


def test_values_too_large_to_square_are_named_where_the_geometry_may_depend_on_the_scale() -> None:
    squares = Geometry("squares", squared_euclidean_distances, "none", "none")
    huge = {"huge": 1e200 * torch.randn(8, 2, dtype=torch.float64), "other": torch.randn(8, 2)}
    assert "too large" in gw_matrix(huge, geometry=squares).degenerate["huge"]


def test_a_gradient_asks_for_nothing_and_is_left_alone() -> None:
    x = torch.randn(8, 2, requires_grad=True)
    assert gw_matrix([x, 2 * x]).distortion[0, 1] == pytest.approx(0, abs=1e-9)
    assert x.grad is None


def test_one_layer_has_a_matrix_of_one() -> None:
    assert gw_matrix({"only": torch.randn(8, 2)}).distortion.tolist() == [[0.0]]
