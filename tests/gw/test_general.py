"""Couplings of any sizes and weights: known answers, and weights that are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drifting_layers import layers

from lightning_gw.gw import gw_coupling, gw_matrix


@pytest.mark.parametrize(("n", "m"), [(6, 3), (8, 2), (12, 4)])
def test_simplices_of_different_size(n: int, m: int) -> None:
    found = gw_coupling(1 - np.eye(n), 1 - np.eye(m), geometry="precomputed")
    assert found.distortion == pytest.approx(1 / m - 1 / n, abs=1e-9)
    np.testing.assert_allclose(found.coupling.sum(axis=1), 1 / n)
    np.testing.assert_allclose(found.coupling.sum(axis=0), 1 / m)


def test_distance_to_a_point_is_the_size_of_the_space() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(7, 3))
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
    weights = generator.dirichlet(np.ones(7))
    found = gw_coupling(distances, np.zeros((1, 1)), a=weights, geometry="precomputed")
    assert found.distortion == pytest.approx(weights @ distances**2 @ weights)


def test_equal_sizes_agree_with_the_matrix() -> None:
    reps = layers(n=24)
    matrix = gw_matrix(reps, geometry="euclidean")
    found = gw_coupling(reps["layer.0"], reps["layer.3"])
    assert found.distortion <= matrix.distortion[0, 3] * (1 + 1e-9)
    assert found.distortion >= matrix.lower[0, 3]


def test_splitting_an_input_in_two_halves_changes_nothing() -> None:
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    doubled = torch.cat([x, x[:1]])
    weights = np.full(10, 1 / 9)
    weights[[0, 9]] = 1 / 18
    assert gw_coupling(x, doubled, b=weights).distortion == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), "add up to 5"),
        (np.full(4, 0.25), r"expected \(5,\)"),
        (np.array([1.5, -0.5, 0, 0, 0]), "not negative"),
    ],
)
def test_unusable_weights_are_refused(weights: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gw_coupling(torch.randn(5, 2), torch.randn(4, 2), a=weights)


def test_a_broken_side_is_named() -> None:
    with pytest.raises(ValueError, match="y cannot be compared: it is constant"):
        gw_coupling(torch.randn(5, 2), torch.ones(4, 2))
