"""gw_matrix: invariants that hold for every input, and answers that are known."""

from __future__ import annotations

from functools import cache

import numpy as np
import ot
import pytest
import torch
from drifting_layers import GEOMETRIES, layers, mean_scaled

from lightning_gw.gw import GWMatrix, gw_matrix
from lightning_gw.gw.moves.batched.swaps import invert


@cache
def solved(geometry: str, moves: str) -> GWMatrix:
    """Solved once for all tests; `moves` is what the search runs on at the time."""
    return gw_matrix(layers(), geometry=geometry)


@pytest.fixture(params=GEOMETRIES)
def result(request: pytest.FixtureRequest, moves: str) -> GWMatrix:
    return solved(request.param, moves)


def test_values_lie_between_bound_and_identity(result: GWMatrix) -> None:
    assert (result.distortion <= result.identity).all()
    assert (result.lower <= result.distortion).all()
    assert (result.lower >= 0).all()
    assert (result.lower[~np.eye(4, dtype=bool)] > 0).all()
    assert result.converged.all()


def test_matrices_are_symmetric_with_zero_diagonal(result: GWMatrix) -> None:
    for values in (result.distortion, result.lower, result.identity):
        np.testing.assert_array_equal(values, values.T)
        np.testing.assert_array_equal(values.diagonal(), 0)


def test_couplings_are_permutations_inverse_across_the_diagonal(result: GWMatrix) -> None:
    couplings = torch.from_numpy(result.couplings)
    assert (couplings.sort(dim=-1).values == torch.arange(40)).all()
    assert (invert(couplings) == couplings.transpose(0, 1)).all()


def test_a_geometry_of_unit_scale_has_similarities_up_to_one(result: GWMatrix) -> None:
    if result.geometry == "euclidean":
        with pytest.raises(ValueError, match="no unit scale"):
            _ = result.similarity
    else:
        assert (result.similarity >= result.identity_similarity).all()
        assert (result.similarity <= result.similarity_bound).all()
        assert (result.similarity <= 1).all()


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("moves")
@pytest.mark.representatives("*-0-*", "*0*standardized*")
def test_a_relabelled_layer_has_distance_zero_and_its_permutation_is_recovered(geometry: str, seed: int) -> None:
    x = layers(n=60, seed=seed)["layer.2"]
    scrambled = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    result = gw_matrix({"here": x, "relabelled": x[scrambled]}, geometry=geometry)
    assert result.distortion[0, 1] == pytest.approx(0, abs=1e-12)
    # Input k of "here" is matched to the place that the relabelling put it in.
    np.testing.assert_array_equal(scrambled.numpy()[result.couplings[0, 1]], np.arange(60))


def test_equal_layers_give_exactly_zero() -> None:
    x = layers()["layer.1"]
    result = gw_matrix({"one": x, "same": x.clone(), "scaled and turned": 3 * x.flip(1)})
    np.testing.assert_allclose(result.distortion, 0, atol=1e-12)
    assert result.distortion[0, 1] == 0


@pytest.mark.slow
def test_relabelling_all_layers_alike_leaves_every_value() -> None:
    reps = layers(n=50)
    scrambled = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    one = gw_matrix(reps, effort="high")
    other = gw_matrix({name: x[scrambled] for name, x in reps.items()}, effort="high")
    np.testing.assert_allclose(one.identity, other.identity, atol=1e-12)
    np.testing.assert_allclose(one.lower, other.lower, atol=1e-9)
    np.testing.assert_allclose(one.distortion, other.distortion, rtol=0.05, atol=1e-9)


def test_standardized_and_euclidean_convert_exactly_into_each_other() -> None:
    standardized = gw_matrix(layers())
    euclidean = standardized.to("euclidean")
    direct = gw_matrix(layers(), geometry="euclidean")
    np.testing.assert_allclose(euclidean.identity, direct.identity, atol=1e-12)
    for pair in ((0, 1), (1, 3)):
        matrices = [mean_scaled(layers()[f"layer.{k}"]) for k in pair]
        p = standardized.couplings[pair]
        by_hand = ((matrices[0] - matrices[1][p][:, p]) ** 2).mean()
        assert euclidean.distortion[pair] == pytest.approx(by_hand, abs=1e-10)
    back = euclidean.to("standardized")
    np.testing.assert_allclose(back.distortion, standardized.distortion, atol=1e-9)
    assert (euclidean.lower <= euclidean.distortion).all()
    with pytest.raises(ValueError, match="cannot be read as 'cka'"):
        standardized.to("cka")


def test_never_above_what_pot_reaches() -> None:
    reps = layers(n=48)
    ours = gw_matrix(reps, geometry="euclidean")
    matrices = [mean_scaled(x) for x in reps.values()]
    for i in range(4):
        for j in range(i):
            for start in (None, np.eye(48) / 48):
                theirs = ot.gromov.gromov_wasserstein2(matrices[i], matrices[j], G0=start)
                assert ours.distortion[i, j] <= theirs + 1e-9


@pytest.mark.parametrize("anchor", [0.0, 0.4])
@pytest.mark.slow
def test_tight_bounds_are_higher_and_still_below_every_value(anchor: float) -> None:
    seen: list[tuple[int, int]] = []
    reps = layers(n=16, count=3)
    tight = gw_matrix(reps, bounds="tight", anchor=anchor, progress=lambda done, total: seen.append((done, total)))
    fast = gw_matrix(reps, anchor=anchor)
    between = ~np.eye(3, dtype=bool)
    assert (tight.lower >= fast.lower).all()
    assert (tight.lower[between] > fast.lower[between]).any()
    assert (tight.lower <= gw_matrix(reps, effort="high", anchor=anchor).distortion).all()
    assert seen[-1][0] == seen[-1][1]


def test_progress_reaches_its_end() -> None:
    seen: list[tuple[int, int]] = []
    gw_matrix(layers(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.slow
@pytest.mark.usefixtures("moves")
def test_duplicated_inputs_still_give_permutations() -> None:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).repeat(4, 1)
    y = torch.randn(12, 5, generator=torch.Generator().manual_seed(1)).repeat(2, 1)
    result = gw_matrix({"x": x, "y": y, "all but one": torch.cat([torch.zeros(23, 2), torch.ones(1, 2)])})
    assert (torch.from_numpy(result.couplings).sort(dim=-1).values == torch.arange(24)).all()
    assert not result.degenerate
    assert (result.lower <= result.distortion).all()
    relabelled = gw_matrix([x, x.roll(1, dims=0)])
    assert relabelled.distortion[0, 1] == pytest.approx(0, abs=1e-12)
