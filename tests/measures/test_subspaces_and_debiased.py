"""Procrustes, CCA, SVCCA and the debiased measures against independent implementations and known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import subspace_angles
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist, squareform
from sklearn.cross_decomposition import CCA
from torchmetrics.functional.shape import procrustes_disparity

from lightning_gw.measures import MEASURES, layer_similarities, why_undefined
from lightning_gw.measures.subspaces import svcca_similarity

Array = NDArray[np.float64]


def pair(seed: int, n: int = 40, widths: tuple[int, int] = (4, 4)) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, widths[0])) * np.geomspace(2, 0.5, widths[0])
    return x, np.tanh(x @ generator.standard_normal(widths)) + 0.3 * generator.standard_normal((n, widths[1]))


def measured(name: str, *arrays: Array) -> float:
    return float(MEASURES[name]([torch.from_numpy(a) for a in arrays])[0, 1])


@pytest.mark.parametrize("seed", range(4))
def test_procrustes_is_the_one_of_scipy_and_torchmetrics(seed: int) -> None:
    x, y = pair(seed)
    found = measured("procrustes", x, y)
    assert 1 - found**2 == pytest.approx(procrustes(x, y)[2], abs=1e-12)
    theirs = procrustes_disparity(torch.from_numpy(x)[None], torch.from_numpy(y)[None])
    assert 1 - found**2 == pytest.approx(float(theirs[0]), abs=1e-9)


def test_procrustes_of_other_widths_is_that_of_the_narrower_padded_with_zeros() -> None:
    x, y = pair(0, widths=(3, 6))
    padded = np.hstack([x, np.zeros((40, 3))])
    assert 1 - measured("procrustes", x, y) ** 2 == pytest.approx(procrustes(padded, y)[2], abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_procrustes_angle_is_a_metric(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = [torch.randn(20, 3 + k, generator=generator, dtype=torch.float64) for k in range(5)]
    angle = np.arccos(np.clip(MEASURES["procrustes"](shapes), 0, 1))
    assert (angle[:, None, :] <= angle[:, :, None] + angle[None] + 1e-9).all()


@pytest.mark.parametrize("seed", range(3))
def test_cca_is_the_one_of_scikit_learn(seed: int) -> None:
    x, y = pair(seed, n=60, widths=(3, 4))
    u, v = CCA(n_components=3, max_iter=10_000, tol=1e-12).fit_transform(x, y)
    expected = np.mean([np.corrcoef(u[:, k], v[:, k])[0, 1] for k in range(3)])
    assert measured("cca", x, y) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_canonical_correlations_are_cosines_of_the_angles_between_the_spans(seed: int) -> None:
    x, y = pair(seed, widths=(3, 5))
    expected = np.cos(subspace_angles(x - x.mean(axis=0), y - y.mean(axis=0))).mean()
    assert measured("cca", x, y) == pytest.approx(expected, abs=1e-12)


def test_svcca_is_cca_of_the_leading_components() -> None:
    x, y = pair(0, n=60, widths=(8, 6))

    def leading(values: Array) -> Array:
        u, s, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
        kept = next(k for k in range(1, 9) if (s[:k] ** 2).sum() >= 0.9 * (s**2).sum())
        return np.asarray(u[:, :kept])

    expected = np.cos(subspace_angles(leading(x), leading(y))).mean()
    found = svcca_similarity({"x": torch.from_numpy(x), "y": torch.from_numpy(y)}, variance=0.9)[0, 1]
    assert found == pytest.approx(expected, abs=1e-12)
    assert measured("svcca", x, y) == pytest.approx(measured("cca", x, y), abs=0.2)
    with pytest.raises(ValueError, match="variance is 0; expected a share above 0"):
        svcca_similarity({"x": torch.from_numpy(x)}, variance=0)


def test_a_dimension_that_carries_no_variance_is_none_for_svcca() -> None:
    x, y = pair(1)
    noisy = np.hstack([x, 1e-3 * np.random.default_rng(0).standard_normal((40, 4))])
    assert measured("svcca", noisy, y) == pytest.approx(measured("svcca", x, y), abs=1e-3)
    assert abs(measured("cca", noisy, y) - measured("cca", x, y)) > 0.01


def test_cca_that_could_be_nothing_but_one_is_nan_with_a_reason() -> None:
    generator = torch.Generator().manual_seed(0)
    wide, other, narrow = (torch.randn(20, d, generator=generator) for d in (12, 9, 3))
    values = layer_similarities({"wide": wide, "other": other, "narrow": narrow}, ["cca", "procrustes"])
    assert np.isnan(values["cca"][0, 1])
    assert not np.isnan(values["cca"][2]).any()
    assert not np.isnan(values["procrustes"]).any()
    reasons = why_undefined({"wide": wide, "other": other, "narrow": narrow}, ["cca", "procrustes"])
    assert set(reasons) == {"cca"}
    for word in ("1 of 3 pairs", "'wide' and 'other'", "12 and 9", "at least 22 inputs", "SVCCA"):
        assert word in reasons["cca"]
    enough = [torch.randn(22, d, generator=generator) for d in (12, 9)]
    assert not np.isnan(layer_similarities(enough, ["cca"])["cca"]).any()
    assert why_undefined(enough, ["cca"]) == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_of_the_activations_adds_no_dimensions(dtype: torch.dtype) -> None:
    """Sixteen columns of rank 2 stay of rank 2, however coarsely the values are kept."""
    generator = np.random.default_rng(0)
    plain = [generator.standard_normal((30, 2)) for _ in range(2)]
    values = [torch.from_numpy(v @ generator.standard_normal((2, 16))) for v in plain]
    exact = measured("cca", *plain)
    rounded = MEASURES["cca"]([v.to(dtype) for v in values])[0, 1]
    assert MEASURES["cca"](values)[0, 1] == pytest.approx(exact, abs=1e-12)
    assert rounded == pytest.approx(exact, abs=0.05)


def song(k: Array, other: Array) -> float:
    """Unbiased HSIC as Song et al. (2012) write it, equation 5."""
    n = len(k)
    k, other = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
    one = np.ones(n)
    inner = np.trace(k @ other) + (one @ k @ one) * (one @ other @ one) / ((n - 1) * (n - 2))
    return float((inner - 2 / (n - 2) * (one @ k @ other @ one)) / (n * (n - 3)))


@pytest.mark.parametrize("seed", range(3))
def test_debiased_cka_is_made_of_the_unbiased_estimator_of_hsic(seed: int) -> None:
    x, y = pair(seed, n=12, widths=(9, 7))
    k, other = x @ x.T, y @ y.T
    expected = song(k, other) / np.sqrt(song(k, k) * song(other, other))
    assert measured("debiased_cka", x, y) == pytest.approx(expected, abs=1e-12)
    k, other = squareform(pdist(x)), squareform(pdist(y))
    expected = song(k, other) / np.sqrt(song(k, k) * song(other, other))
    assert measured("debiased_dcor", x, y) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("biased", "debiased"), [("paired_cka", "debiased_cka"), ("paired_dcor", "debiased_dcor")])
def test_independent_layers_have_nothing_in_common_only_when_debiased(biased: str, debiased: str) -> None:
    generator = torch.Generator().manual_seed(0)
    wide = [torch.randn(24, 60, generator=generator) for _ in range(40)]
    pairs = np.triu_indices(40, 1)
    assert MEASURES[biased](wide)[pairs].mean() > 0.6
    assert abs(MEASURES[debiased](wide)[pairs].mean()) < 0.01


def test_equidistant_inputs_leave_nothing_to_compare() -> None:
    simplex, x = torch.eye(10, dtype=torch.float64), torch.from_numpy(pair(0, n=10)[0])
    for name in ("debiased_cka", "debiased_dcor"):
        values = MEASURES[name]([simplex, x])
        assert np.isnan(values[0]).all()
        assert values[1, 1] == 1
