"""The paired columns against independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr

from lightning_gw.gw import gw_matrix
from lightning_gw.measures import paired_similarities


def pair(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(30, 6, generator=generator)
    return {"x": x, "y": torch.relu(x @ torch.randn(6, 9, generator=generator))}


def as_numpy(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return tuple(value.double().numpy() for value in pair(seed).values())  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(4))
def test_identity_of_standardized_is_rsa(seed: int) -> None:
    x, y = as_numpy(seed)
    rsa = pearsonr(pdist(x), pdist(y)).statistic
    assert gw_matrix(pair(seed), effort="fast").identity_similarity[0, 1] == pytest.approx(rsa, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_identity_of_cka_is_linear_cka(seed: int) -> None:
    """Feature form of Kornblith et al.: the same number from d × d matrices instead of n × n."""
    x, y = (value - value.mean(axis=0) for value in as_numpy(seed))
    cka = np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert paired_similarities(pair(seed))["paired_cka"][0, 1] == pytest.approx(cka, abs=1e-12)
    assert gw_matrix(pair(seed), geometry="cka").identity_similarity[0, 1] == pytest.approx(cka, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_identity_of_dcor_is_squared_distance_correlation(seed: int) -> None:
    """Székely, Rizzo and Bakirov 2007 by the moment identity dCov² = S1 + S2 − 2 S3 of their Remark 3."""
    a, b = (np.linalg.norm(v[:, None] - v[None], axis=-1) for v in as_numpy(seed))

    def covariance(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
        return float((p * q).mean() + p.mean() * q.mean() - 2 * (p.mean(axis=1) * q.mean(axis=1)).mean())

    dcor = covariance(a, b) / np.sqrt(covariance(a, a) * covariance(b, b))
    assert paired_similarities(pair(seed))["paired_dcor"][0, 1] == pytest.approx(dcor, abs=1e-9)


def test_a_degenerate_layer_has_nan_and_no_zero() -> None:
    similarities = paired_similarities({**pair(0), "dead": torch.ones(30, 4)})
    for values in similarities.values():
        assert np.isnan(values[2]).all()
        assert np.isnan(values[:, 2]).all()
        assert not np.isnan(values[:2, :2]).any()


def test_rotation_scale_and_shift_are_invisible() -> None:
    x = pair(0)["x"].double()
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    for values in paired_similarities({"x": x, "turned": 3 * x @ rotation + 1}).values():
        np.testing.assert_allclose(values, 1, atol=1e-9)
