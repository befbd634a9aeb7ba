"""Resampling of the probe: exact for equal weights, unbiased by duplicates, and true to what other inputs give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from significance_nets import planted

import lightning_gw.significance.resampling as module
from lightning_gw.geometry.geometries import GEOMETRIES
from lightning_gw.geometry.spaces import make_spaces
from lightning_gw.groups.finding import find_groups
from lightning_gw.gw.matrix import gw_matrix
from lightning_gw.significance import noise_of_adjacent, resample_distances, stability


def by_hand(a: np.ndarray, b: np.ndarray, w: np.ndarray, centring: str, scale: str) -> float:
    """The estimate from centred and scaled matrices, as a double loop over inputs."""
    n = len(w)
    pairs = [(i, k) for i in range(n) for k in range(n) if i != k]

    def mean(m: np.ndarray) -> float:
        apart = sum(w[i] * w[k] * m[i, k] for i, k in pairs) / sum(w[i] * w[k] for i, k in pairs)
        return (1 - 1 / n) * apart + sum(w[i] * m[i, i] for i in range(n)) / n

    def made_anew(m: np.ndarray) -> np.ndarray:
        off = ~np.eye(n, dtype=bool)
        if centring == "offdiagonal":
            m = np.where(off, m - mean(m * off) / (1 - 1 / n), 0.0)
        return m / (mean(m**2) ** 0.5 if scale == "rms" else mean(m))

    return mean((made_anew(a) - made_anew(b)) ** 2)


@pytest.mark.parametrize("geometry", ["standardized", "euclidean", "cka"])
@pytest.mark.parametrize("paired", [False, True])
def test_draws_are_those_of_the_formula(geometry: str, paired: bool) -> None:
    layers = planted((1, 2, 1), n=9)
    gw = gw_matrix(layers, geometry=geometry, effort="fast")
    resampled = resample_distances(layers, gw, draws=3, seed=5, paired=paired)
    weights = np.random.default_rng(5).dirichlet(np.ones(9), size=3)
    kind, spaces = GEOMETRIES[geometry], make_spaces(layers, geometry).matrices.numpy()
    for i in range(4):
        for j in range(i + 1, 4):
            p = np.arange(9) if paired else gw.couplings[i, j]
            matched = spaces[j][p][:, p]
            expected = [by_hand(spaces[i], matched, w, kind.centring, kind.scale) ** 0.5 for w in weights]
            assert resampled[:, i, j] == pytest.approx(expected)
            assert np.array_equal(resampled[:, j, i], resampled[:, i, j])


@pytest.mark.parametrize("options", [{}, {"geometry": "cka"}, {"geometry": "dcor"}, {"anchor": 0.5}])
def test_equal_weights_give_back_the_matrix(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = planted(n=20)
    gw = gw_matrix(layers, effort="fast", **options)
    monkeypatch.setattr(
        "lightning_gw.significance.resampling._dirichlet",
        lambda draws, n, seed: torch.full((draws, n), 1 / n, dtype=torch.float64),
    )
    assert resample_distances(layers, gw, draws=2)[1] == pytest.approx(gw.distance, abs=1e-7)
    assert resample_distances(layers, gw, draws=2, paired=True)[0] == pytest.approx(gw.identity_distance, abs=1e-7)


def test_no_input_is_compared_with_itself_more_often_than_in_the_matrix() -> None:
    """The mean over draws is the mean over pairs of different inputs; uncorrected it would lie 2 / (n + 1) below."""
    residuals = planted((1,), n=12)["layer0"] @ planted((1,), n=12, seed=1)["layer0"].T
    residuals = (residuals + residuals.T)[None].double().square()
    off, place = ~torch.eye(12, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
    weights = module._dirichlet(20_000, 12, 0)
    drawn = module._means(residuals, place, place, torch.arange(12)[None], place[:0], weights)[0][0, 0]
    assert float(drawn.mean()) == pytest.approx(float(residuals[0][off].mean()), rel=0.02)


@pytest.mark.slow
def test_noise_and_stability_are_those_of_other_inputs() -> None:
    """Of disjoint probes each has its own matrix and groups; one of them resampled has to tell as much."""
    n, probes = 24, 24
    everything = planted((3, 3, 3), within=0.65, seed=3, n=n * probes)
    found = []
    for k in range(probes):
        layers = {name: x[k * n : (k + 1) * n] for name, x in everything.items()}
        gw = gw_matrix(layers, effort="fast", bounds=None, anchor=0.4)
        found.append((layers, gw, find_groups(gw)))
    truly = np.array([[k in groups.boundaries for k in range(8)] for _, _, groups in found]).mean(axis=0)
    spread = np.log([np.diag(gw.distance, 1) for _, gw, _ in found]).std(axis=0)
    resampled = [resample_distances(layers, gw, draws=40, seed=k) for k, (layers, gw, _) in enumerate(found[:8])]
    told = np.mean([stability(found[k][2], each).found for k, each in enumerate(resampled)], axis=0)
    noise = np.mean([noise_of_adjacent(each) for each in resampled], axis=0)
    assert 0.3 < truly.max() < 1
    assert np.abs(told - truly).max() < 0.25
    assert ((0.5 * spread < noise) & (noise < 2 * spread)).all()


def test_vivid_groups_always_return_and_drift_brings_none() -> None:
    layers = planted()
    gw = gw_matrix(layers, effort="fast")
    groups = find_groups(gw)
    found = stability(groups, resample_distances(layers, gw))
    assert found.boundaries == (2, 6)
    assert found.returned == (1.0, 1.0)
    assert found.found[[2, 6]].tolist() == [1.0, 1.0]
    assert found.found.sum() < 2.2
    assert (found.draws, found.asked) == (100, 100)
    depth = np.arange(9)
    smooth = np.sqrt(np.abs(depth[:, None] - depth[None, :]))
    assert stability(find_groups(smooth), np.stack([smooth] * 5)).returned == ()


def test_more_inputs_make_less_noise() -> None:
    def noise(n: int) -> np.ndarray:
        layers = planted((2, 2), within=0.5, n=n)
        return noise_of_adjacent(resample_distances(layers, gw_matrix(layers, effort="fast", bounds=None)))

    assert (noise(64) < 0.75 * noise(16)).all()


def test_degenerate_layers_stay_missing() -> None:
    layers = planted((2, 2))
    layers["layer1"] = torch.zeros_like(layers["layer1"])
    gw = gw_matrix(layers, effort="fast")
    resampled = resample_distances(layers, gw, draws=3)
    assert np.array_equal(np.isnan(resampled).any(axis=0), np.isnan(gw.distance))
    assert np.isnan(noise_of_adjacent(resampled)).tolist() == [True, True, False]
    assert stability(find_groups(gw), resampled).draws == 3
    assert resample_distances({"a": torch.zeros(5, 2)}, gw_matrix({"a": torch.zeros(5, 2)}), 2).shape == (2, 1, 1)


def test_one_and_two_layers_and_equal_distances() -> None:
    for count in (1, 2):
        layers = {f"layer{k}": torch.randn(8, 3) for k in range(count)}
        gw = gw_matrix(layers, effort="fast")
        resampled = resample_distances(layers, gw, draws=4)
        assert stability(find_groups(gw), resampled).returned == ()
        assert noise_of_adjacent(resampled).shape == (count - 1,)
    same = {f"layer{k}": torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) for k in range(5)}
    resampled = resample_distances(same, gw_matrix(same, effort="fast"), draws=4)
    assert np.array_equal(resampled, np.zeros_like(resampled))
    assert np.isnan(noise_of_adjacent(resampled)).all()


def test_draws_repeat_and_leave_global_random_states_alone() -> None:
    layers = planted(n=12)
    gw = gw_matrix(layers, effort="fast")
    numpy, state = np.random.get_state()[1].copy(), torch.get_rng_state()
    one = resample_distances(layers, gw, draws=5)
    assert np.array_equal(np.random.get_state()[1], numpy)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(one, resample_distances(make_spaces(layers, "standardized"), gw, draws=5))
    assert not np.array_equal(one, resample_distances(layers, gw, draws=5, seed=1))


def test_memory_is_bounded_by_working_on_few_inputs_and_pairs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = planted(n=12)
    gw = gw_matrix(layers, effort="fast")
    whole = resample_distances(layers, gw, draws=5)
    sizes = []
    inner = module._looked_up
    monkeypatch.setattr(module, "_looked_up", lambda m, p, i, k: sizes.append(len(i)) or inner(m, p, i, k))
    monkeypatch.setattr(module, "CHUNK_BYTES", 8 * 5 * 20)  # 20 of the 66 pairs of inputs, and one pair of layers
    parts = resample_distances(layers, gw, draws=5)
    np.testing.assert_allclose(parts, whole, rtol=1e-9, atol=1e-12)
    assert max(sizes) == 20


def test_of_many_layers_fewer_draws_are_looked_at_and_that_is_said() -> None:
    points = np.arange(60)[:, None] // 7 + 0.1 * np.arange(60)[:, None]
    distances = np.abs(points - points.T).astype(float)
    found = stability(find_groups(distances), np.stack([distances] * 100))
    assert (found.draws, found.asked) == (5000 // 60, 100)
    assert set(found.returned) == {1.0}


def test_what_does_not_belong_together_is_refused() -> None:
    layers = planted((2, 2), n=12)
    gw = gw_matrix(layers, effort="fast")
    renamed = {f"other{k}": x for k, x in enumerate(layers.values())}
    with pytest.raises(ValueError, match=r"layers layer0.*got other0"):
        resample_distances(renamed, gw)
    with pytest.raises(ValueError, match=r"on 12 inputs.*on 11"):
        resample_distances({name: x[:11] for name, x in layers.items()}, gw)
    with pytest.raises(ValueError, match=r"'standardized'.*'cka'"):
        resample_distances(make_spaces(layers, "cka"), gw)
    with pytest.raises(ValueError, match="two sets of layers"):
        resample_distances(layers, gw_matrix(layers, renamed, effort="fast"))
    with pytest.raises(ValueError, match="draws is 0"):
        resample_distances(layers, gw, draws=0)
    with pytest.raises(ValueError, match="groups are of 4 layers, the resampled distances of 3"):
        stability(find_groups(gw), np.zeros((2, 3, 3)))
