"""Where a best permutation need not be a best coupling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drifting_layers import GEOMETRIES, layers
from small_spaces import best_permutation, distances, gram, largest_difference, points

from lightning_gw.geometry.spaces import Geometry, get_geometry, make_spaces
from lightning_gw.gw import gw_coupling, gw_matrix


class TestRestricted:
    @pytest.mark.parametrize("geometry", GEOMETRIES)
    def test_no_known_geometry_is_and_none_costs_an_eigendecomposition(
        self, geometry: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.linalg, "eigvalsh", None)
        assert not np.any(gw_matrix(layers(16), geometry=geometry, bounds=None).restricted)

    @pytest.mark.parametrize("geometry", GEOMETRIES)
    def test_what_is_known_of_a_geometry_is_what_a_look_at_its_matrices_says(self, geometry: str) -> None:
        known = get_geometry(geometry)
        looked_at = Geometry("looked at", known.distance, known.centring, known.scale)
        for reps in (layers(40), layers(7), {"duplicated": layers(20)["layer.1"].repeat(2, 1)}):
            spaces = make_spaces(reps, looked_at)
            assert bool((spaces.negative if known.definite == "negative" else spaces.positive).all())
            assert not np.any(gw_matrix(reps, geometry=looked_at, effort="fast", bounds=None).restricted)

    def test_pairs_of_one_kind_are_not_and_of_two_kinds_are(self) -> None:
        given = {
            "distance": distances(points(9, 3, 0)),
            "its root, float32": distances(points(9, 3, 1)).sqrt().float(),
            "kernel": gram(points(9, 3, 2)),
            "shifted kernel": gram(points(9, 4, 3)) + 5,
            "neither": gram(points(9, 2, 4)) - gram(points(9, 2, 5)),
            "point": torch.zeros(9, 9),
        }
        found = gw_matrix(given, geometry="precomputed")
        yes = True
        expected = [
            [not yes, not yes, yes, yes, yes, not yes],
            [not yes, not yes, yes, yes, yes, not yes],
            [yes, yes, not yes, not yes, yes, not yes],
            [yes, yes, not yes, not yes, yes, not yes],
            [yes, yes, yes, yes, not yes, yes],
            [not yes, not yes, not yes, not yes, yes, not yes],
        ]
        np.testing.assert_array_equal(found.restricted, expected)
        assert "9 restricted to permutations" in repr(found)
        broken = gw_matrix({**given, "dead": torch.full((9, 9), float("inf"))}, geometry="precomputed")
        assert broken.restricted is not None
        assert not broken.restricted[6].any()
        rectangle = gw_matrix({"distance": given["distance"]}, given, geometry="precomputed")
        np.testing.assert_array_equal(rectangle.restricted, expected[:1])

    def test_a_kernel_against_a_distance_is_best_spread_out_evenly(self) -> None:
        """A = 1 − I, B = I: every permutation has distortion 1, the even coupling 1 − 2 (n − 1) / n²."""
        n = 6
        a, b = 1 - torch.eye(n), torch.eye(n)
        found = gw_matrix([a, b], geometry="precomputed")
        assert found.distortion[0, 1] == 1
        assert found.restricted is not None
        assert found.restricted[0, 1]
        relaxed = gw_coupling(a, b, geometry="precomputed")
        assert relaxed.distortion == pytest.approx(1 - 2 * (n - 1) / n**2)
        np.testing.assert_allclose(relaxed.coupling, 1 / n**2, atol=1e-9)

    @pytest.mark.slow
    def test_couplings_fall_below_the_best_permutation_only_where_it_is_restricted(self) -> None:
        below = 0
        for seed in range(5):
            x, y = points(6, 3, 2 * seed), points(6, 3, 2 * seed + 1)
            a, b = distances(x), distances(y)
            found = gw_matrix([a, b], geometry="precomputed")
            assert not np.any(found.restricted)
            assert found.distortion[0, 1] == pytest.approx(best_permutation(a, b), rel=1e-12)
            assert gw_coupling(a, b, geometry="precomputed").distortion >= best_permutation(a, b) - 1e-12

            a = gram(points(6, 3, seed))
            found = gw_matrix([a, b], geometry="precomputed")
            assert found.restricted is not None
            assert found.restricted[0, 1]
            best = best_permutation(a, b)
            assert found.distortion[0, 1] == pytest.approx(best, rel=1e-12)
            below += gw_coupling(a, b, geometry="precomputed").distortion < 0.99 * best
        assert below >= 4

    def test_a_geometry_of_ones_own_is_looked_at_before_it_is_centred(self) -> None:
        """The shift of off-diagonal centring makes the spaces indefinite, but moves no permutation."""
        own = Geometry("own", distances, "offdiagonal", "rms")
        assert not np.any(gw_matrix(layers(12), geometry=own).restricted)
        chebyshev = Geometry("chebyshev", largest_difference, "offdiagonal", "rms")
        assert np.all(np.any(gw_matrix(layers(24), geometry=chebyshev).restricted, axis=0))

    def test_it_stays_with_the_values_when_they_are_converted(self) -> None:
        result = gw_matrix(layers(12))
        np.testing.assert_array_equal(result.to("euclidean").restricted, result.restricted)
