"""Geometries and matrices of one's own: used as they are, and what is wrong with them named with the layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drifting_layers import GEOMETRIES, layers
from small_spaces import best_permutation, distances, gram, points
from torch import Tensor

from lightning_gw.geometry.spaces import Geometry, get_geometry, make_spaces
from lightning_gw.gw import gw_matrix


class TestPrecomputed:
    def test_matrices_are_used_as_they_are(self) -> None:
        x = layers(20)
        given = {name: 3 * distances(value.double()) + 1 for name, value in x.items()}
        result = gw_matrix(given, geometry="precomputed")
        a, b = given["layer.0"].numpy(), given["layer.2"].numpy()
        p = result.couplings[0, 2]
        assert result.distortion[0, 2] == pytest.approx(((a - b[p][:, p]) ** 2).mean(), rel=1e-12)
        assert result.identity[0, 2] == pytest.approx(((a - b) ** 2).mean(), rel=1e-12)
        assert result.geometry == "precomputed"
        with pytest.raises(ValueError, match="no unit scale"):
            _ = result.similarity

    @pytest.mark.parametrize("geometry", GEOMETRIES)
    def test_the_spaces_of_a_geometry_give_what_that_geometry_gives(self, geometry: str) -> None:
        spaces = make_spaces(layers(20), geometry)
        given = dict(zip(spaces.layers, spaces.matrices, strict=True))
        one, other = gw_matrix(layers(20), geometry=geometry), gw_matrix(given, geometry="precomputed")
        np.testing.assert_allclose(one.distortion, other.distortion, rtol=1e-12)
        np.testing.assert_allclose(one.lower, other.lower, rtol=1e-9, atol=1e-12)

    def test_a_zero_matrix_is_a_space_of_one_point(self) -> None:
        other = distances(points(8, 2, 0))
        result = gw_matrix({"point": torch.zeros(8, 8), "space": other}, geometry="precomputed")
        assert not result.degenerate
        assert result.distortion[0, 1] == pytest.approx(float(other.square().mean()))
        assert result.gap[0, 1] == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_the_smallest_matrices_are_solved_exactly(self, n: int) -> None:
        a, b = distances(points(n, 2, 0)), distances(points(n, 2, 1))
        result = gw_matrix([a, b], geometry="precomputed")
        assert result.distortion[0, 1] == pytest.approx(best_permutation(a, b), abs=1e-15)

    def test_a_broken_matrix_is_left_out_and_named(self) -> None:
        whole = distances(points(6, 2, 0))
        broken = whole.clone()
        broken[2, 3] = broken[3, 2] = float("nan")
        result = gw_matrix({"whole": whole, "broken": broken}, geometry="precomputed")
        assert result.degenerate == {"broken": "2 of its 6 inputs have NaN or infinite values"}
        assert np.isnan(result.distortion[1]).all()

    def test_half_precision_integers_and_rounding_are_fine(self) -> None:
        x = distances(points(16, 3, 0))
        noisy = x + 1e-7 * points(16, 16, 1)
        given = {"half": x.half(), "brain": x.bfloat16(), "int": (8 * x).int(), "view": x.T, "rounding": noisy}
        result = gw_matrix(given, geometry="precomputed")
        assert not result.degenerate
        assert result.distortion[3, 4] < 1e-12

    @pytest.mark.parametrize(
        ("matrix", "message"),
        [
            (torch.zeros(6, 5), r"'mine' has shape \(6, 5\); geometry=\"precomputed\" expects a symmetric \(n, n\)"),
            (
                torch.arange(36.0).view(6, 6),
                r"matrix of layer 'mine' is not symmetric: entry \(\d, \d\) is .* pass \(C \+ C.T\) / 2",
            ),
            (torch.zeros(6), r"'mine' has shape \(6,\)"),
        ],
    )
    def test_what_is_no_symmetric_matrix_is_refused(self, matrix: Tensor, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            gw_matrix({"mine": matrix}, geometry="precomputed")

    def test_it_is_no_geometry_of_representations(self) -> None:
        with pytest.raises(ValueError, match="Unknown geometry 'precomputed'"):
            get_geometry("precomputed")


class TestOwnGeometry:
    def test_one_of_unit_scale_has_similarities(self) -> None:
        cityblock = Geometry("cityblock", lambda x: torch.cdist(x, x, p=1), "offdiagonal", "rms")
        result = gw_matrix(layers(16), geometry=cityblock)
        assert (result.similarity <= 1).all()
        assert result.similarity[0, 1] == pytest.approx(1 - result.distortion[0, 1] / 2)
        plain = Geometry("plain", lambda x: torch.cdist(x, x, p=1), "none", "mean")
        with pytest.raises(ValueError, match="no unit scale"):
            _ = gw_matrix(layers(16), geometry=plain).similarity

    @pytest.mark.parametrize(
        ("distance", "message"),
        [
            (lambda x: x, r"has shape \(16, 12\); expected a finite symmetric matrix of shape \(16, 16\)"),
            (lambda x: x @ torch.randn(12, 16).to(x), "is not symmetric"),
            (lambda x: gram(x) / 0, "has NaN or infinite entries"),
            (lambda x: gram(x).to(torch.complex64), "has dtype torch.complex64"),
        ],
    )
    def test_a_distance_function_that_goes_wrong_is_named_with_the_layer(self, distance, message: str) -> None:  # type: ignore[no-untyped-def]
        with pytest.raises(ValueError, match=f"'broken' made a matrix of layer 'layer.0' that {message}"):
            gw_matrix({"layer.0": layers(16)["layer.0"]}, geometry=Geometry("broken", distance, "none", "none"))

    def test_a_mean_that_cannot_scale_is_refused(self) -> None:
        negative = Geometry("negative", lambda x: -distances(x), "none", "mean")
        with pytest.raises(ValueError, match=r"'negative' divides by the mean entry, which is -.* use scale=\"rms\""):
            gw_matrix(layers(16), geometry=negative)
        zero = Geometry("zero", lambda x: torch.zeros(len(x), len(x)), "none", "mean")
        assert "all its distances are zero" in gw_matrix(layers(16), geometry=zero).degenerate["layer.0"]
