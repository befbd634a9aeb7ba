"""Layers that saw different inputs: what is the same is at distance 0, what differs is found, noise makes no groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from lightning_gw.groups.finding import find_groups
from lightning_gw.gw import GWMatrix, gw_matrix
from lightning_gw.measures import UnpairedMatrix, unpaired_gw_matrix

BLOCKS = (0, 0, 1, 1, 1, 2, 2, 2)


def clusters(count: int, n: int, seed: int, width: int = 8) -> Tensor:
    """A fresh sample of a layer that keeps apart `count` classes of inputs, turned at random."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(count, (n,), generator=generator)
    x = torch.eye(width)[classes] + 0.15 * torch.randn(n, width, generator=generator)
    return x @ torch.linalg.qr(torch.randn(width, width, generator=generator)).Q


def network(counts: tuple[int, ...], seed: int, n: int = 64) -> dict[str, Tensor]:
    """Every layer is shown inputs of its own, in numbers of its own."""
    return {f"{k}": clusters(count, n + 2 * k, 100 * seed + k) for k, count in enumerate(counts)}


@pytest.fixture(scope="module")
def planted() -> UnpairedMatrix:
    return unpaired_gw_matrix(network(tuple((7, 3, 2)[block] for block in BLOCKS), seed=0, n=96), splits=4)


@pytest.mark.slow
def test_planted_blocks_are_found_though_no_two_layers_saw_the_same_inputs(planted: UnpairedMatrix) -> None:
    alike = unpaired_gw_matrix(network((4,) * len(BLOCKS), seed=1), splits=4)
    groups = find_groups(planted.resolved_distance, reference=alike.resolved_distance)
    assert adjusted_rand_score(BLOCKS, groups.labels) == 1
    assert groups.strength == "strong"
    assert planted.half == 48  # half of the inputs of the layer with fewest


def test_layers_that_do_the_same_have_no_groups_and_noise_on_both_sides_of_zero() -> None:
    matrix = unpaired_gw_matrix(network((4,) * 8, seed=1), splits=4)
    assert find_groups(matrix.resolved_distance).strength == "none"
    pairs = np.triu_indices(8, 1)
    assert (matrix.debiased[pairs] < 0).any()
    assert abs(matrix.debiased[pairs].mean()) < 2 * matrix.resolution
    assert (matrix.between[pairs] > 3 * matrix.resolution).all()  # what is taken off is no small thing
    assert (matrix.distance >= 0).all()
    assert (matrix.similarity <= 1).all()


@pytest.mark.slow
def test_what_is_taken_off_is_the_mean_of_what_halves_of_both_are_apart(planted: UnpairedMatrix) -> None:
    expected = planted.between - (planted.within[:, None] + planted.within[None]) / 2
    np.testing.assert_allclose(planted.debiased, expected, atol=1e-12)
    np.testing.assert_allclose(np.diag(planted.between), planted.within)
    np.testing.assert_array_equal(np.diag(planted.debiased), 0)
    np.testing.assert_array_equal(np.diag(planted.resolved_distance), 0)
    np.testing.assert_array_equal(planted.debiased, planted.debiased.T)
    pairs = np.triu_indices(8, 1)
    assert planted.resolution == np.median(planted.spread[pairs])
    np.testing.assert_allclose(
        planted.resolved_distance[pairs], np.sqrt(np.maximum(planted.debiased[pairs], planted.resolution))
    )
    assert repr(planted) == "UnpairedMatrix(8 layers, 4 splits into halves of 48, cka)"


def test_a_turned_and_scaled_layer_is_exactly_as_far_from_its_own_other_half() -> None:
    x = clusters(4, 40, 0).double()
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)).Q
    matrix = unpaired_gw_matrix({"x": x, "turned": 3 * x @ turn - 1, "other": clusters(2, 40, 1)}, splits=2)
    assert matrix.debiased[0, 1] == pytest.approx(0, abs=1e-9)
    assert matrix.between[0, 1] > 0.01
    assert matrix.spread[0, 1] == pytest.approx(0, abs=1e-9)
    assert matrix.debiased[0, 2] == pytest.approx(matrix.debiased[1, 2], abs=1e-9)
    assert matrix.debiased[0, 2] > 0.1


def test_two_models_find_their_counterparts_whatever_each_was_shown() -> None:
    rows, columns = network((7, 4, 2), seed=2, n=60), network((2, 7), seed=3, n=80)
    matrix = unpaired_gw_matrix(rows, columns, splits=3)
    assert (matrix.layers, matrix.columns) == (("0", "1", "2"), ("0", "1"))
    assert matrix.debiased.shape == matrix.spread.shape == matrix.between.shape == (3, 2)
    assert matrix.debiased.argmin(axis=0).tolist() == [2, 0]
    assert matrix.debiased.min(axis=0) == pytest.approx(0, abs=3 * matrix.resolution)
    assert matrix.other_within is not None
    expected = matrix.between - (matrix.within[:, None] + matrix.other_within[None]) / 2
    np.testing.assert_allclose(matrix.debiased, expected, atol=1e-12)
    assert "3 × 2 layers, 3 splits into halves of 30" in repr(matrix)


def test_a_set_and_itself_make_the_square_matrix() -> None:
    layers = network((5, 3, 2), seed=4, n=40)
    square, rectangle = unpaired_gw_matrix(layers, splits=2), unpaired_gw_matrix(layers, layers, splits=2)
    np.testing.assert_allclose((rectangle.debiased + rectangle.debiased.T) / 2, square.debiased, atol=1e-12)
    np.testing.assert_allclose(rectangle.within, square.within, atol=1e-12)
    np.testing.assert_allclose(rectangle.other_within, square.within, atol=1e-12)


def test_it_is_repeatable_and_leaves_the_generators_alone() -> None:
    layers = network((5, 2), seed=5, n=24)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (unpaired_gw_matrix(layers, splits=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(first.debiased, again.debiased)
    assert (first.debiased != other.debiased).any()


def test_equally_many_inputs_are_split_alike_so_that_no_input_is_on_both_sides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = torch.randn(24, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shared: list[set[float]] = []

    def spying(first: dict[str, Tensor], second: dict[str, Tensor], **options: Any) -> GWMatrix:
        shared.append({float(row[0]) for row in first["x"]} & {float(row[0]) for row in second["copy"]})
        return gw_matrix(first, second, **options)

    monkeypatch.setattr("lightning_gw.measures.unpaired.gw_matrix", spying)
    unpaired_gw_matrix({"x": x, "copy": x.clone()}, splits=3)
    assert shared == [set()] * 3


def test_degenerate_layers_are_named_and_harm_no_other() -> None:
    layers = network((5, 3), seed=6, n=32)
    alone = unpaired_gw_matrix(layers, splits=2, half=10)
    broken = clusters(3, 34, 9)
    broken[33, 0] = float("inf")
    matrix = unpaired_gw_matrix({"dead": torch.ones(32, 3), **layers, "broken": broken}, splits=2, half=10)
    assert set(matrix.degenerate) == {"dead", "broken"}
    assert "constant" in matrix.degenerate["dead"]
    for values in (matrix.between, matrix.debiased, matrix.spread, matrix.distance, matrix.resolved_distance):
        assert np.isnan(values[[0, 3]]).all()
        assert np.isnan(values[:, [0, 3]]).all()
    np.testing.assert_array_equal(np.isnan(matrix.within), [True, False, False, True])
    assert not np.isnan(matrix.debiased[1:3, 1:3]).any()
    assert find_groups(matrix.resolved_distance).labels[0] == -1
    assert alone.half == matrix.half == 10
    rectangle = unpaired_gw_matrix(layers, {"dead": torch.ones(40, 3), "x": layers["0"]}, splits=2)
    assert set(rectangle.other_degenerate) == {"dead"}
    assert np.isnan(rectangle.debiased[:, 0]).all()
    assert not np.isnan(rectangle.debiased[:, 1]).any()


def test_what_cannot_be_done_is_refused() -> None:
    x = clusters(3, 20, 0)
    with pytest.raises(ValueError, match=r"Halves of 3 inputs.*at least 4, and the layer with fewest was shown 7"):
        unpaired_gw_matrix([x, x[:7]])
    with pytest.raises(ValueError, match="Halves of 11 inputs"):
        unpaired_gw_matrix([x], half=11)
    with pytest.raises(ValueError, match="splits is 1; expected at least 2"):
        unpaired_gw_matrix([x], splits=1)
    with pytest.raises(ValueError, match="Unknown effort 'most'"):
        unpaired_gw_matrix([x], effort="most")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(20,\); expected \(n, d\)"):
        unpaired_gw_matrix([x[:, 0]])
    with pytest.raises(ValueError, match="No representations of others"):
        unpaired_gw_matrix([x], [])
    with pytest.raises(ValueError, match="'euclidean' has no unit scale"):
        _ = unpaired_gw_matrix([x, x], geometry="euclidean", splits=2).similarity
