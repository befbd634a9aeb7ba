"""The permutation tests against enumeration by hand, known p-values, and their own false positive rates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score

from lightning_gw.gw import gw_matrix
from lightning_gw.measures import (
    Agreement,
    adjusted_rand_index,
    agreements,
    layer_similarities,
    mantel,
    neighbour_agreement,
)

Array = NDArray[np.float64]


def cloud(seed: int, count: int) -> Array:
    return squareform(pdist(np.random.default_rng(seed).standard_normal((count, 3))))


def drift(generator: np.random.Generator, count: int) -> Array:
    """Layers that drift with steps of random size: ordered by depth, otherwise like no other network."""
    steps = generator.standard_normal((count, 20)) * generator.lognormal(0, 0.5, (count, 1))
    return squareform(pdist(steps.cumsum(axis=0)))


@pytest.mark.parametrize("seed", range(3))
def test_up_to_seven_layers_every_order_is_tried(seed: int) -> None:
    a, b = cloud(seed, 5), cloud(seed + 10, 5)
    upper = np.triu_indices(5, 1)
    orders = [list(order) for order in itertools.permutations(range(5))]
    correlations = np.array([spearmanr(a[np.ix_(o, o)][upper], b[upper]).statistic for o in orders])
    found = mantel(a, b)
    assert found.spearman == pytest.approx(correlations[0])
    assert found.p_value == pytest.approx((correlations >= correlations[0] - 1e-9).mean())
    assert (found.orders, found.exact, found.layers) == (120, True, 5)


def test_a_sample_of_orders_comes_near_to_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    a = cloud(0, 7)
    b = a + 0.8 * cloud(1, 7)
    exact = mantel(a, b)
    monkeypatch.setattr("lightning_gw.measures.rank_correlation.ENUMERATED", 3)
    sampled = mantel(a, b, permutations=4000)
    assert (sampled.exact, sampled.orders) == (False, 4001)
    assert sampled.spearman == exact.spearman
    assert sampled.p_value == pytest.approx(exact.p_value, abs=0.02)
    assert mantel(a, b, permutations=200, seed=1) == mantel(a, b, permutations=200, seed=1)


def test_equal_matrices_agree_as_far_as_orders_can_tell() -> None:
    a = cloud(0, 12)
    assert mantel(a, a**2, permutations=199) == Agreement(pytest.approx(1.0), 1 / 200, 200, False, 12)
    assert mantel(a, -a, permutations=199).p_value == 1
    assert mantel(a, -a, permutations=199).spearman == pytest.approx(-1)


def test_with_depth_held_fixed_it_is_a_partial_correlation_on_the_depth_difference_as_a_factor() -> None:
    a, b = drift(np.random.default_rng(0), 9), drift(np.random.default_rng(1), 9)
    i, j = np.triu_indices(9, 1)
    depth = np.eye(9)[j - i]
    ranks = [spearmanr(m[i, j], m[i, j]).statistic * m[i, j].argsort().argsort() for m in (a, b)]
    residuals = [r - depth @ np.linalg.lstsq(depth, r, rcond=None)[0] for r in ranks]
    assert mantel(a, b, 99, beyond_depth=True).spearman == pytest.approx(np.corrcoef(*residuals)[0, 1])


@pytest.mark.slow
def test_false_positives_are_as_many_as_promised_and_the_plain_test_on_depth_ordered_layers_is_none() -> None:
    """Shares of 200 pairs of unrelated networks at p ≤ 0.05: what the docstrings say of the three tests."""
    generator = np.random.default_rng(0)
    drifts = [(drift(generator, 9), drift(generator, 9)) for _ in range(200)]
    clouds = [(cloud(2 * k, 9), cloud(2 * k + 1, 9)) for k in range(200)]

    def share(pairs: list[tuple[Array, Array]], test: str) -> float:
        options = {"beyond_depth": True} if test == "beyond" else {}
        function = neighbour_agreement if test == "neighbours" else mantel
        return float(np.mean([function(a, b, 99, **options).p_value <= 0.05 for a, b in pairs]))

    assert share(clouds, "plain") < 0.1
    assert share(clouds, "beyond") < 0.1
    assert share(drifts, "plain") > 0.8
    assert 0.05 < share(drifts, "beyond") < 0.4
    assert share(drifts, "neighbours") < 0.1


def test_the_same_large_steps_are_found_beyond_depth() -> None:
    generator = np.random.default_rng(0)
    sizes = np.where(np.arange(9) % 4 == 3, 6.0, 1.0) * generator.lognormal(0, 0.1, 9)
    a, b = (squareform(pdist((generator.standard_normal((9, 30)) * sizes[:, None]).cumsum(axis=0))) for _ in range(2))
    assert mantel(a, b, beyond_depth=True).p_value < 0.02
    assert neighbour_agreement(a, b).p_value < 0.05
    assert neighbour_agreement(a, b).spearman == pytest.approx(spearmanr(np.diag(a, 1), np.diag(b, 1)).statistic)


def test_layers_without_values_are_left_out_and_too_few_say_nothing() -> None:
    a, b = cloud(0, 6), cloud(1, 6)
    kept = [0, 1, 2, 4, 5, 6]
    one, other = np.full((2, 7, 7), np.nan)
    one[np.ix_(kept, kept)], other[np.ix_(kept, kept)] = a, b
    assert mantel(one, other) == mantel(a, b)
    assert neighbour_agreement(one, other) == neighbour_agreement(a, b)
    assert mantel(one, cloud(2, 7)).layers == 6
    for found in (mantel(a[:3, :3], b[:3, :3]), neighbour_agreement(a[:4, :4], b[:4, :4]), mantel(np.ones((6, 6)), b)):
        assert np.isnan([found.spearman, found.p_value]).all()
    holes = a.copy()
    holes[0, 1] = holes[1, 0] = np.nan
    assert np.isnan(mantel(holes, b).p_value)


def test_bad_matrices_are_refused() -> None:
    with pytest.raises(ValueError, match="of 5 and 6 layers"):
        mantel(cloud(0, 5), cloud(0, 6))
    with pytest.raises(ValueError, match="second matrix is not symmetric"):
        neighbour_agreement(cloud(0, 5), np.triu(cloud(0, 5)))
    with pytest.raises(ValueError, match=r"first matrix has shape \(5,\)"):
        mantel(np.ones(5), cloud(0, 5))
    with pytest.raises(ValueError, match="permutations is 0"):
        mantel(cloud(0, 9), cloud(0, 9), permutations=0)


def test_the_rand_index_is_the_one_of_scikit_learn_without_layers_in_no_group() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        a, b = generator.integers(-1, 3, (2, 9))
        both = (a >= 0) & (b >= 0)
        expected = adjusted_rand_score(a[both], b[both]) if both.sum() > 1 else np.nan
        assert adjusted_rand_index(a.tolist(), b.tolist()) == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert adjusted_rand_index([0, 0, 0], [0, 0, 0]) == 1
    assert adjusted_rand_index([0, 0, 0, 0], [0, 0, 1, 1]) == 0
    assert np.isnan(adjusted_rand_index([0, -1], [0, 0]))
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        adjusted_rand_index([0, 1], [0, 1, 2])


def test_what_a_record_keeps() -> None:
    """Two blocks of layers that every measure sees."""
    generator = torch.Generator().manual_seed(0)
    blocks = [torch.randn(24, 3, generator=generator), torch.randn(24, 6, generator=generator) ** 3]
    layers = {
        f"{k}": torch.cat([blocks[k // 3], 0.2 * torch.randn(24, 2, generator=generator)], dim=1) for k in range(6)
    }
    layers["dead"] = torch.ones(24, 2)
    gw = gw_matrix(layers, effort="fast", bounds=None)
    similarities = layer_similarities(layers, ["paired_cka", "procrustes", "cca"])
    found = agreements(gw, similarities)
    assert set(found) == {"paired_cka", "procrustes", "cca", "identity"}
    for name in ("paired_cka", "procrustes", "identity"):
        assert found[name]["groups"] == 1
        assert found[name]["spearman"] > 0.5
        assert found[name]["p_value"] <= 0.1  # an order in ten puts two blocks of three in place
        assert -1 <= found[name]["spearman_beyond_depth"] <= 1
        assert 0 < found[name]["p_value_neighbours"] <= 1
    gains = gw.matching_gain[:6, :6][np.triu_indices(6, 1)]
    assert found["identity"]["matching_gain"] == pytest.approx(gains.mean())
    assert found["identity"]["spearman"] == mantel(gw.similarity, gw.identity_similarity).spearman
    assert agreements(gw, {}, labels=[0, 1, 2, 3, 4, 5, -1])["identity"]["groups"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="between two sets of layers"):
        agreements(gw_matrix(layers, layers, effort="fast", bounds=None), {})
