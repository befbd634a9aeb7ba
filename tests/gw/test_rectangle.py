"""Rectangles between two models that saw equally many inputs: the square matrix's laws, two sides kept apart."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from drifting_layers import GEOMETRIES, layers, mean_scaled
from torch import Tensor

from lightning_gw.geometry.geometries import GEOMETRIES as KNOWN
from lightning_gw.gw import GWMatrix, gw_matrix

#: What is certified from prices in single precision may fall short of the bound by, more or less by what else is there.
BOUND = 5e-6


def two_models(n: int = 24) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Layers of the same names, which are different layers."""
    return layers(n), layers(n, count=3, seed=1)


@cache
def solved(geometry: str, moves: str) -> GWMatrix:
    """Solved once for all tests; `moves` is what the search runs on at the time."""
    return gw_matrix(*two_models(), geometry=geometry)


@pytest.fixture(params=GEOMETRIES)
def result(request: pytest.FixtureRequest, moves: str) -> GWMatrix:
    return solved(request.param, moves)


@pytest.mark.representatives("standardized-compiled", "cka-compiled")
def test_rows_and_columns_are_named_and_values_lie_between_bound_and_identity(result: GWMatrix) -> None:
    assert result.layers == ("layer.0", "layer.1", "layer.2", "layer.3")
    assert result.columns == ("layer.0", "layer.1", "layer.2")
    for values in (result.distortion, result.lower, result.identity, result.converged, result.gap, result.moved):
        assert values.shape == (4, 3)
    assert (result.lower > 0).all()
    assert (result.lower <= result.distortion).all()
    assert (result.distortion <= result.identity).all()
    assert (result.distortion > 0).all()  # the diagonal is nothing special
    assert result.converged.all()
    np.testing.assert_array_equal(result.gap, result.distortion - result.lower)


def test_couplings_are_permutations_of_the_value_they_come_with(result: GWMatrix) -> None:
    couplings = torch.from_numpy(result.couplings)
    assert couplings.shape == (4, 3, 24)
    assert (couplings.sort(dim=-1).values == torch.arange(24)).all()
    np.testing.assert_allclose(result.moved, (result.couplings != np.arange(24)).mean(axis=-1))
    if result.geometry == "euclidean":
        a, b = (mean_scaled(model["layer.2"]) for model in two_models())
        p = result.couplings[2, 2]
        assert result.distortion[2, 2] == pytest.approx(((a - b[p][:, p]) ** 2).mean(), abs=1e-10)


def test_the_rectangle_is_a_block_of_the_square_matrix_of_both_models() -> None:
    rows, columns = two_models()
    rectangle = gw_matrix(rows, columns, effort="high")
    together = {f"{side} {name}": x for side, model in enumerate((rows, columns)) for name, x in model.items()}
    both = gw_matrix(together, effort="high")
    np.testing.assert_allclose(rectangle.identity, both.identity[:4, 4:], rtol=1e-12)
    np.testing.assert_allclose(rectangle.lower, both.lower[:4, 4:], rtol=BOUND)
    np.testing.assert_allclose(rectangle.distortion, both.distortion[:4, 4:], rtol=0.05)


def test_the_other_way_round_is_the_transpose() -> None:
    rows, columns = two_models(7)
    here, there = gw_matrix(rows, columns), gw_matrix(columns, rows)
    for name in ("distortion", "identity"):
        np.testing.assert_allclose(getattr(here, name), getattr(there, name).T, rtol=1e-9)
    np.testing.assert_allclose(here.lower, there.lower.T, rtol=BOUND)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_relabelling_the_inputs_of_one_model_leaves_every_exact_value(geometry: str) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(7, width, generator=generator) for width in (2, 4)]
    columns = [torch.randn(7, width, generator=generator) for width in (3, 2, 5)]
    scrambled = torch.randperm(7, generator=generator)
    one = gw_matrix(rows, columns, geometry=geometry)
    other = gw_matrix(rows, [x[scrambled] for x in columns], geometry=geometry)
    np.testing.assert_allclose(other.distortion, one.distortion, rtol=1e-9)
    assert (other.identity != one.identity).any()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_relabelled_copy_of_a_model_is_found_again_layer_by_layer(geometry: str) -> None:
    model = layers(n=60, count=3)
    scrambled = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    result = gw_matrix(model, {name: x[scrambled] for name, x in model.items()}, geometry=geometry)
    np.testing.assert_allclose(result.distortion.diagonal(), 0, atol=1e-12)
    off_diagonal = ~np.eye(3, dtype=bool)
    assert (result.distortion[off_diagonal] > 1e-3).all()
    for k in range(3):
        np.testing.assert_array_equal(scrambled.numpy()[result.couplings[k, k]], np.arange(60))


def test_a_warm_start_is_found_by_the_names_of_row_and_column() -> None:
    rows, columns = two_models()
    cold = gw_matrix(rows, columns)
    fewer = {name: columns[name] for name in ("layer.2", "layer.0")}
    warm = gw_matrix(rows, fewer, warm_start=cold, effort="fast")
    assert (warm.distortion <= cold.distortion[:, [2, 0]] + 1e-12).all()


def test_an_anchor_holds_inputs_of_two_models_together() -> None:
    anchored = gw_matrix(*two_models(), anchor=0.4)
    assert (anchored.lower <= anchored.distortion).all()
    assert (anchored.distortion <= anchored.identity).all()
    heavy = gw_matrix(*two_models(), anchor=1e3)
    np.testing.assert_array_equal(heavy.distortion, heavy.identity)


@pytest.mark.slow
def test_tight_bounds_are_higher() -> None:
    rows, columns = layers(16, count=2), layers(16, count=2, seed=1)
    tight, fast = gw_matrix(rows, columns, bounds="tight"), gw_matrix(rows, columns)
    assert (tight.lower >= fast.lower).all()
    assert (tight.lower > fast.lower).any()
    assert (tight.lower <= gw_matrix(rows, columns, effort="high").distortion).all()


def test_it_converts_between_standardized_and_euclidean() -> None:
    standardized = gw_matrix(*two_models())
    euclidean = standardized.to("euclidean")
    direct = gw_matrix(*two_models(), geometry="euclidean")
    np.testing.assert_allclose(euclidean.identity, direct.identity, atol=1e-12)
    np.testing.assert_allclose(euclidean.to("standardized").distortion, standardized.distortion, atol=1e-9)
    with pytest.raises(ValueError, match="no unit scale"):
        _ = euclidean.similarity


def test_broken_layers_are_named_on_the_side_they_are_on() -> None:
    rows, columns = two_models()
    rows["layer.1"] = torch.ones(24, 3)
    columns["layer.2"] = torch.full((24, 3), float("nan"))
    result = gw_matrix(rows, columns)
    assert set(result.degenerate) == {"layer.1"}
    assert set(result.other_degenerate) == {"layer.2"}
    missing = np.isnan(result.distortion)
    assert missing[1].all()
    assert missing[:, 2].all()
    assert missing.sum() == 3 + 4 - 1
    whole = gw_matrix(*two_models())
    np.testing.assert_allclose(result.lower[~missing], whole.lower[~missing], rtol=BOUND)
    assert "2 degenerate" in repr(result)
    again = gw_matrix(*two_models(), warm_start=result)  # what is missing is searched from cold
    assert not np.isnan(again.distortion).any()


def test_a_side_with_no_usable_layer_is_all_nan() -> None:
    result = gw_matrix(layers(), {"dead": torch.ones(40, 3)})
    assert np.isnan(result.distortion).all()
    assert result.distortion.shape == (4, 1)


def test_one_layer_against_one() -> None:
    result = gw_matrix([layers()["layer.0"]], [layers()["layer.3"]])
    assert result.distortion.shape == (1, 1)
    assert result.distortion[0, 0] == pytest.approx(gw_matrix(layers()).distortion[0, 3], rel=0.05)


@pytest.mark.parametrize("geometry", ["dcor", KNOWN["dcor"]])
def test_a_geometry_has_to_be_named(geometry: object) -> None:
    with pytest.raises(TypeError, match=r"another set of layers, got the geometry 'dcor'\. Pass it by name"):
        gw_matrix(layers(), geometry)  # type: ignore[arg-type]


def test_a_warm_start_of_another_kind_is_refused() -> None:
    rows, columns = two_models()
    square, rectangle = gw_matrix(rows, effort="fast"), gw_matrix(rows, columns, effort="fast")
    with pytest.raises(ValueError, match="of one set of layers, but two were given"):
        gw_matrix(rows, columns, warm_start=square)
    with pytest.raises(ValueError, match="between two sets of layers, but one was given"):
        gw_matrix(rows, warm_start=rectangle)
    with pytest.raises(ValueError, match="couplings of 24 inputs, but the representations have 30"):
        gw_matrix(*two_models(30), warm_start=rectangle)


def test_faults_of_the_second_set_say_so() -> None:
    with pytest.raises(ValueError, match="'a' of others has shape"):
        gw_matrix(layers(), {"a": torch.ones(8, 2, 2)})
    with pytest.raises(ValueError, match="No representations of others"):
        gw_matrix(layers(), {})
    with pytest.raises(ValueError, match="All layers of others need the same number"):
        gw_matrix(layers(), [torch.randn(8, 2), torch.randn(9, 2)])
