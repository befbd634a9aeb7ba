"""Couplings of any sizes and weights: known answers, and weights that are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from drifting_layers import layers

from lightning_gw.gw import gw_coupling, gw_distance, gw_matrix


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


def test_a_relabelled_copy_has_distance_exactly_zero() -> None:
    x = layers(20)["layer.2"]
    assert gw_distance(x, x[torch.randperm(20, generator=torch.Generator().manual_seed(0))]) < 1e-7
    assert gw_distance(x, x) == 0


@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 3), (3, 7), (12, 8)])
def test_sizes_that_split_into_equal_parts_are_searched_as_permutations(n: int, m: int) -> None:
    """Euclidean distances: a best coupling is a permutation of lcm(n, m) equal parts, its entries multiples of one."""
    generator = torch.Generator().manual_seed(n)
    found = gw_coupling(torch.randn(n, 3, generator=generator), torch.randn(m, 2, generator=generator))
    parts = math.lcm(n, m) * found.coupling
    np.testing.assert_allclose(parts, parts.round(), atol=1e-6)
    np.testing.assert_allclose(found.coupling.sum(axis=1), 1 / n)
    assert found.converged


def test_all_weight_on_one_input_has_no_scale() -> None:
    with pytest.raises(ValueError, match="x cannot be compared: it is constant"):
        gw_coupling(torch.randn(3, 2), torch.randn(4, 2), a=[1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(5), ValueError, "weights a add up to 5; expected 1. Divide them by their sum"),
        (np.zeros(5), ValueError, "weights a add up to 0; expected 1"),
        (np.full(4, 0.25), ValueError, r"weights a have shape \(4,\); expected \(5,\)"),
        (np.array([1.5, -0.5, 0, 0, 0]), ValueError, "weights a must be finite and not negative"),
        (np.array([0.5, float("nan"), 0.5, 0, 0]), ValueError, "weights a must be finite and not negative"),
        (np.array([0.5, float("inf"), 0.5, 0, 0]), ValueError, "weights a must be finite and not negative"),
        (np.full(5, 0.2 + 0j), TypeError, "weights a have dtype torch.complex128"),
        (np.ones(5, dtype=bool), TypeError, "weights a have dtype torch.bool"),
    ],
)
def test_unusable_weights_are_refused(weights: np.ndarray, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gw_coupling(torch.randn(5, 2), torch.randn(4, 2), a=weights)


@pytest.mark.parametrize(
    ("y", "geometry", "error", "message"),
    [
        (torch.ones(4, 2), "euclidean", ValueError, "y cannot be compared: it is constant"),
        (torch.randn(1, 2), "euclidean", ValueError, "y cannot be compared: it is constant"),
        (torch.randn(0, 2), "euclidean", ValueError, "y has shape .*: no inputs"),
        (torch.full((4, 2), float("nan")), "euclidean", ValueError, "y cannot be compared: 4 of its 4 inputs have NaN"),
        (torch.randn(4), "euclidean", ValueError, r"y has shape \(4,\); expected \(n, d\)"),
        (torch.randn(2, 2), "standardized", ValueError, "y cannot be compared: all its inputs are equally far apart"),
        (torch.randn(4, 2).to(torch.complex64), "euclidean", TypeError, "y has dtype torch.complex64"),
        (torch.ones(4, 2, dtype=torch.bool), "euclidean", TypeError, "y has dtype torch.bool"),
    ],
)
def test_an_unusable_side_is_named(y: torch.Tensor, geometry: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gw_coupling(torch.randn(5, 2), y, geometry=geometry)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.zeros(4, 3), r'y has shape \(4, 3\); geometry="precomputed" expects a symmetric'),
        (torch.arange(16.0).view(4, 4), "matrix of y is not symmetric"),
        (torch.full((4, 4), float("inf")), "y cannot be compared: 4 of its 4 inputs have NaN or infinite"),
    ],
)
def test_an_unusable_matrix_is_named(y: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gw_distance(torch.zeros(5, 5), y, geometry="precomputed")


def test_autocast_around_it_changes_nothing() -> None:
    x, y = layers(16)["layer.0"], layers(16)["layer.2"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = gw_distance(x, y)
    assert inside == gw_distance(x, y)
