"""Rectangles between sets seen on different numbers of inputs: transport plans, and bounds that hold for all."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import ot
import pytest
import torch
from drifting_layers import GEOMETRIES, layers, mean_scaled
from numpy.typing import NDArray

from lightning_gw.geometry.spaces import make_spaces
from lightning_gw.gw import GWMatrix, gw_coupling, gw_matrix
from lightning_gw.gw.bounds.couplings import Profile, merged_steps, sorted_rows_bound, transport_bound
from lightning_gw.gw.coupling import coupling_distortion


def best_assignment(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Every way to give each of n inputs one of m, equally often: the extreme couplings where m divides n."""
    n, m = len(first), len(second)
    every = np.array(list(permutations(range(n)))) % m
    return float(((first - second[every[:, :, None], every[:, None, :]]) ** 2).mean(axis=(1, 2)).min())


@pytest.fixture(scope="module", params=GEOMETRIES)
def result(request: pytest.FixtureRequest) -> GWMatrix:
    return gw_matrix(layers(n=18, count=3), layers(n=12, count=2, seed=1), geometry=request.param)


@pytest.mark.representatives("standardized", "dcor")
def test_values_are_those_of_transport_plans_with_the_right_marginals(result: GWMatrix) -> None:
    assert result.couplings.shape == (3, 2, 18, 12)
    assert result.couplings.dtype == np.float32
    np.testing.assert_allclose(result.couplings.sum(axis=3), 1 / 18, rtol=1e-5)
    np.testing.assert_allclose(result.couplings.sum(axis=2), 1 / 12, rtol=1e-5)
    rows = make_spaces(layers(n=18, count=3), result.geometry).matrices.numpy()
    columns = make_spaces(layers(n=12, count=2, seed=1), result.geometry).matrices.numpy()
    by_hand = coupling_distortion(rows[1], columns[0], result.couplings[1, 0].astype(np.float64))
    assert result.distortion[1, 0] == pytest.approx(by_hand, rel=1e-5)
    assert (result.lower <= result.distortion).all()
    assert (result.lower > 0).all()


@pytest.mark.representatives("standardized", "dcor")
def test_what_asks_for_a_permutation_is_nan_and_says_its_solver(result: GWMatrix) -> None:
    for values in (result.identity, result.matching_gain, result.moved):
        assert np.isnan(values).all()
        assert values.shape == (3, 2)
    assert result.solver == "conditional gradient (POT)"
    assert result.restricted is not None
    assert not result.restricted.any()  # all couplings are searched
    assert "3 × 2 layers, n=18 × 12" in repr(result)


@pytest.mark.parametrize(("n", "m"), [(6, 3), (8, 2), (12, 4), (15, 5), (2, 6), (1, 5)])
def test_simplices_of_different_size_are_solved_and_certified(n: int, m: int) -> None:
    """C = 1 − I; where the smaller size divides the larger one the value is the difference of the mean squares."""
    found = gw_matrix([1 - torch.eye(n)], [1 - torch.eye(m)], geometry="precomputed")
    expected = abs(1 / m - 1 / n)
    np.testing.assert_allclose(found.distortion, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.lower, expected, rtol=0, atol=1e-12)
    assert (found.lower <= found.distortion).all()


def test_distance_to_a_point_is_the_size_of_the_space() -> None:
    distances = torch.cdist(x := layers(9)["layer.1"].double(), x)
    found = gw_matrix({"space": distances}, {"point": torch.zeros(1, 1)}, geometry="precomputed")
    assert not found.other_degenerate
    assert found.distortion[0, 0] == pytest.approx(float(distances.square().mean()))
    assert found.gap[0, 0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(4, 2), (6, 3), (6, 2)])
@pytest.mark.representatives("4-2")
def test_small_sizes_are_exact_and_the_bound_stays_below(n: int, m: int) -> None:
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        a, b = (torch.cdist(x, x) for x in (torch.randn(k, 3, generator=generator).double() for k in (n, m)))
        found = gw_matrix([a], [b], geometry="precomputed")
        best = best_assignment(a.numpy(), b.numpy())
        assert found.distortion[0, 0] == pytest.approx(best, rel=1e-9)
        assert found.lower[0, 0] <= best


@pytest.mark.parametrize("geometry", ["euclidean", "dcor", "cka"])
@pytest.mark.representatives("dcor")
def test_every_input_twice_is_the_same_space(geometry: str) -> None:
    model = layers(n=20, count=3)
    twice = {name: x.repeat_interleave(2, dim=0) for name, x in model.items()}
    result = gw_matrix(model, twice, geometry=geometry)
    np.testing.assert_allclose(result.distortion.diagonal(), 0, atol=1e-12)
    np.testing.assert_array_equal(result.lower.diagonal(), 0)
    assert (result.distortion[~np.eye(3, dtype=bool)] > 0).all()


@pytest.mark.parametrize("kind", ["distances", "symmetric"])
@pytest.mark.parametrize(("n", "m"), [(7, 5), (9, 6), (8, 8), (1, 4)])
@pytest.mark.representatives("1-4-*")
def test_no_coupling_whatever_lies_below_the_bound(kind: str, n: int, m: int) -> None:
    """Random couplings, sparse ones, and those that POT descends to."""
    generator = np.random.default_rng(n * m)
    for _ in range(5):
        a, b = (generator.normal(size=(k, 3)) for k in (n, m))
        if kind == "distances":
            first, second = (np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (a, b))
        else:
            first, second = (x + x.T for x in (generator.normal(size=(k, k)) for k in (n, m)))
        bound = transport_bound(Profile.of(first), Profile.of(second))
        p, q = np.full(n, 1 / n), np.full(m, 1 / m)
        tried = [ot.emd(p, q, generator.random((n, m))) for _ in range(20)]
        tried += [ot.sinkhorn(p, q, generator.random((n, m)), 0.1) for _ in range(5)]
        tried += [gw_coupling(first, second, geometry="precomputed").coupling]
        assert all(coupling_distortion(first, second, coupling) >= bound for coupling in tried)
        assert bound >= 0


def test_the_sorted_rows_bound_is_the_optimal_transport_of_rows() -> None:
    """Against POT's one-dimensional solver, row by row, and its linear programme."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(7, 7)), generator.normal(size=(5, 5))
    a, b = a + a.T, b + b.T
    cost = np.array([[ot.emd2_1d(row, column) for column in b] for row in a])
    expected = ot.emd2(np.full(7, 1 / 7), np.full(5, 1 / 5), cost)
    assert sorted_rows_bound(Profile.of(a), Profile.of(b)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(6, 4), (5, 7), (3, 3), (1, 8)])
def test_merged_steps_cover_the_unit_interval(n: int, m: int) -> None:
    places, widths = merged_steps(n, m)
    assert widths.sum() == pytest.approx(1)
    assert len(places) == n + m - np.gcd(n, m)
    for size, rank in ((n, places // m), (m, places // n)):
        np.testing.assert_allclose(np.bincount(rank, weights=widths), 1 / size)


def test_never_above_what_pot_reaches() -> None:
    rows, columns = layers(n=24, count=2), layers(n=16, count=2, seed=1)
    ours = gw_matrix(rows, columns, geometry="euclidean")
    for i, x in enumerate(rows.values()):
        for j, y in enumerate(columns.values()):
            theirs = ot.gromov.gromov_wasserstein2(mean_scaled(x), mean_scaled(y))
            assert ours.distortion[i, j] <= theirs + 1e-9


def test_broken_layers_are_named_on_the_side_they_are_on() -> None:
    rows, columns = layers(n=12, count=2), layers(n=9, count=2, seed=1)
    rows["layer.0"] = torch.ones(12, 3)
    columns["layer.1"] = torch.full((9, 3), float("inf"))
    result = gw_matrix(rows, columns)
    assert (set(result.degenerate), set(result.other_degenerate)) == ({"layer.0"}, {"layer.1"})
    np.testing.assert_array_equal(np.isnan(result.distortion), [[True, True], [False, True]])
    np.testing.assert_array_equal(np.isnan(result.couplings).all(axis=(2, 3)), np.isnan(result.distortion))


@pytest.mark.slow
def test_there_is_no_exact_conversion_to_another_geometry() -> None:
    plans = gw_matrix(layers(12, 2), layers(8, 2))
    assert plans.variation is None
    assert plans.to("standardized") is plans
    with pytest.raises(ValueError, match=r"not best in two geometries at once. Call gw_matrix\(..., geometry='eucl"):
        plans.to("euclidean")


@pytest.mark.slow
def test_same_seed_same_result_and_progress_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    rows, columns = layers(n=12, count=2), layers(n=10, count=3)
    one = gw_matrix(rows, columns, seed=3, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(one.couplings, gw_matrix(rows, columns, seed=3).couplings)
    assert seen == [(k, 6) for k in range(1, 7)]
    np.testing.assert_array_equal(gw_matrix(rows, columns, bounds=None).lower, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"effort": "high"}, "leave effort='high' out"),
        ({"anchor": 0.4}, "Leave anchor=0.4 out, or show both models the same inputs"),
        ({"bounds": "tight"}, 'Use bounds="fast" or None'),
        ({"warm_start": "earlier"}, "leave warm_start out"),
    ],
)
def test_options_without_meaning_here_are_refused(options: dict, message: str) -> None:
    if options.get("warm_start"):
        options = {"warm_start": gw_matrix(layers(12, 2), layers(12, 2), effort="fast")}
    with pytest.raises(ValueError, match=f"seen on 12 and 10 inputs.*{message}"):
        gw_matrix(layers(12, 2), layers(10, 2), **options)


@pytest.mark.slow
def test_transport_plans_are_no_warm_start() -> None:
    plans = gw_matrix(layers(12, 2), layers(8, 2))
    with pytest.raises(ValueError, match="transport plans between different numbers of inputs"):
        gw_matrix(layers(12, 2), layers(12, 2), warm_start=plans)
