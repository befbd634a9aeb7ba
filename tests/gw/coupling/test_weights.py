"""What weights are, and what they are nothing to: theorems of couplings between weighted points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_gw.gw import gw_coupling, gw_distance
from lightning_gw.gw.coupling import coupling_distortion
from lightning_gw.gw.parts import coinciding, in_parts, with_marginals

#: Those that read distances as they are; off-diagonal centring tells one input twice from one of twice the weight.
MERGING = ["euclidean", "dcor", "cka"]


def points(n: int, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("geometry", ["euclidean", "standardized", "rbf"])
@pytest.mark.parametrize("weightless", [0.0, np.nan, 1e30])
@pytest.mark.representatives("nan-standardized", "0.0-euclidean")
def test_inputs_of_weight_0_are_not_there(geometry: str, weightless: float) -> None:
    x, y, counts = points(8), points(6, seed=1), np.array([1, 2, 1, 1, 3, 1, 1, 2]) / 12
    more = np.insert(x, [0, 3, 8], np.full((3, 3), weightless), axis=0)
    weights = np.insert(counts, [0, 3, 8], 0.0)
    without, with_them = gw_coupling(x, y, counts, geometry=geometry), gw_coupling(more, y, weights, geometry=geometry)
    assert with_them.distortion == pytest.approx(without.distortion, rel=1e-9)
    np.testing.assert_allclose(with_them.coupling[weights > 0], without.coupling, atol=1e-9)
    assert (with_them.coupling[weights == 0] == 0).all()


@pytest.mark.parametrize("geometry", MERGING)
@pytest.mark.parametrize("n", [4, 10])
@pytest.mark.representatives("4-cka")
def test_an_input_twice_is_one_of_twice_the_weight(n: int, geometry: str) -> None:
    counts = np.random.default_rng(n).integers(1, 4, size=n)
    x, y = points(n), points(7, seed=1)
    merged = gw_distance(x, y, counts / counts.sum(), geometry=geometry)
    assert gw_distance(np.repeat(x, counts, axis=0), y, geometry=geometry) == pytest.approx(merged, rel=1e-9)
    apart = np.concatenate([x, x[:1]]), np.append(np.full(n, 1 / n), 0.25 / n)
    apart[1][0] *= 0.75
    assert gw_distance(apart[0], y, apart[1], geometry=geometry) == pytest.approx(
        gw_distance(x, y, geometry=geometry), rel=1e-9
    )


@pytest.mark.parametrize("weights", ["uniform", "rational", "any"])
@pytest.mark.parametrize(("n", "m"), [(9, 9), (12, 7)])
@pytest.mark.representatives("12-7-rational")
def test_the_order_of_the_two_is_nothing_to_the_value(n: int, m: int, weights: str) -> None:
    generator = np.random.default_rng(n)
    draw = {
        "uniform": lambda k: None,
        "rational": lambda k: (1 + np.arange(k) % 3) / (1 + np.arange(k) % 3).sum(),
        "any": lambda k: generator.dirichlet(np.ones(k)),
    }[weights]
    x, y, a, b = points(n), points(m, 2, seed=1), draw(n), draw(m)
    one, other = gw_coupling(x, y, a, b), gw_coupling(y, x, b, a)
    assert one.distortion == other.distortion
    np.testing.assert_allclose(one.coupling.sum(axis=1), 1 / n if a is None else a, atol=1e-12)
    np.testing.assert_allclose(other.coupling.sum(axis=0), 1 / n if a is None else a, atol=1e-12)


@pytest.mark.representatives("1e-06", "1e-12")
@pytest.mark.parametrize("off", [1e-12, 1e-8, 1e-6, 1e-5, 1e-3])
def test_weights_that_are_nearly_uniform_are_nearly_as_far(off: float) -> None:
    x, y = points(10), points(10, 2, seed=1)
    weights = 0.1 + off * np.tile([1.0, -1.0], 5)
    uneven = gw_coupling(x, y, weights, weights[::-1])
    np.testing.assert_allclose(uneven.coupling.sum(axis=1), weights, atol=1e-12)
    assert uneven.distance == pytest.approx(gw_distance(x, y), rel=0.01 + 10 * off)


@pytest.mark.parametrize("counts", [(3, 1, 2, 2, 4), (1, 1, 1, 1, 8), (5, 5, 1, 1, 1)])
def test_rational_weights_are_searched_as_permutations_of_their_parts(counts: tuple[int, ...]) -> None:
    """Euclidean distances: a best coupling is a permutation of equal parts, so its entries are multiples of one."""
    a = np.array(counts) / sum(counts)
    found = gw_coupling(points(5), points(4, seed=1), a)
    parts = np.lcm(sum(counts), 4) * found.coupling
    np.testing.assert_allclose(parts, parts.round(), atol=1e-6)


def test_the_search_serves_weights_of_any_kind() -> None:
    """Below what conditional gradient reaches from POT's own start, on average by more than 5 %."""
    import ot

    gains = []
    for seed in range(4):
        generator = np.random.default_rng(seed)
        x, y = points(16, 5, seed), points(12, 4, seed + 50)
        a, b = generator.dirichlet(np.ones(16)), generator.dirichlet(np.ones(12))
        first, second = (np.linalg.norm(z[:, None] - z[None], axis=-1) for z in (x, y))
        theirs = ot.gromov.gromov_wasserstein2(first, second, a, b)
        gains.append(gw_coupling(first, second, a, b, geometry="precomputed").distortion / theirs)
    assert max(gains) <= 1 + 1e-9
    assert np.mean(gains) < 0.95


def test_parts_are_as_few_as_make_up_all_weights() -> None:
    a, b = in_parts(np.full(600, 1 / 600), np.full(600, 1 / 600))
    assert (a == 1).all()
    assert (b == 1).all()
    a, b = in_parts(np.array([0.5, 0.5]), np.array([1 / 3, 2 / 3]))
    assert (a.tolist(), b.tolist()) == ([3, 3], [2, 4])
    a, b = in_parts(np.array([0.1, 0.9]), np.array([np.sqrt(0.5), 1 - np.sqrt(0.5)]))
    assert a.sum() == b.sum() == 128
    assert (a.tolist(), b.tolist()) == ([13, 115], [91, 37])


def test_a_plan_is_brought_back_to_the_weights() -> None:
    a, b = np.array([0.3, 0.7]), np.array([0.4, 0.6])
    exact = np.array([[0.3, 0.0], [0.1, 0.6]])
    assert with_marginals(exact, a, b) is exact
    near = with_marginals(np.array([[0.3001, 0.0], [0.0999, 0.6]]), a, b)
    np.testing.assert_allclose(near, exact, atol=1e-12)


def test_points_coincide_if_nothing_tells_them_apart() -> None:
    x = points(4)[[0, 1, 0, 2, 1]]
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
    assert coinciding(distances).tolist() == [0, 1, 0, 2, 1]
    distances[0, 3] = distances[3, 0] = 9.0
    assert coinciding(distances).tolist() == [0, 1, 2, 3, 1]
    assert coinciding(np.zeros((3, 3))).tolist() == [0, 0, 0]


def test_the_distortion_is_the_same_from_either_side() -> None:
    generator = np.random.default_rng(0)
    first, second = (z + z.T for z in (generator.normal(size=(6, 6)), generator.normal(size=(5, 5))))
    plan = generator.random((6, 5))
    plan /= plan.sum()
    by_hand = np.einsum("ijkl,ij,kl->", (first[:, None, :, None] - second[None, :, None, :]) ** 2, plan, plan)
    assert coupling_distortion(first, second, plan) == coupling_distortion(second, first, plan.T)
    assert coupling_distortion(first, second, plan) == pytest.approx(by_hand)


def test_weights_may_be_tensors_of_any_kind() -> None:
    x, y = torch.from_numpy(points(4)), torch.from_numpy(points(3, seed=1))
    half = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float16)
    assert gw_distance(x, y, half) == gw_distance(x, y, half.double().tolist())
