"""Bad input: every kind has a message that names the thing and says what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drifting_layers import layers
from torch import Tensor

from lightning_gw.gw import gw_matrix


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


def test_duplicated_inputs_still_give_permutations() -> None:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).repeat(4, 1)
    y = torch.randn(12, 5, generator=torch.Generator().manual_seed(1)).repeat(2, 1)
    couplings = torch.from_numpy(gw_matrix({"x": x, "y": y}).couplings)
    assert (couplings.sort(dim=-1).values == torch.arange(24)).all()


@pytest.mark.parametrize(
    ("reps", "error", "message"),
    [
        ({}, ValueError, "No representations"),
        ({"a": torch.ones(3, 2)}, ValueError, "3 inputs are too few"),
        ({"a": torch.ones(8, 2, 2)}, ValueError, r"'a' has shape \(8, 2, 2\)"),
        ({"a": torch.randn(8, 2), "b": torch.randn(9, 2)}, ValueError, "'a': 8, 'b': 9"),
        ({"a": torch.randn(8, 2).to(torch.complex64)}, TypeError, "complex64"),
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
    result = gw_matrix({"half": x.half(), "brain": x.bfloat16(), "int": (8 * x).int(), "view": x[:, ::2]})
    assert not result.degenerate
    assert result.distortion[0, 1] < 0.01


def test_one_layer_has_a_matrix_of_one() -> None:
    assert gw_matrix({"only": torch.randn(8, 2)}).distortion.tolist() == [[0.0]]
