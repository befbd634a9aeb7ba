"""The paired columns against independent implementations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr

from lightning_gw.gw import gw_matrix
from lightning_gw.measures import layer_similarities

PAIRED = ("paired_dcor", "paired_cka")


def pair(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(30, 6, generator=generator)
    return {"x": x, "y": torch.relu(x @ torch.randn(6, 9, generator=generator))}


def two_models(seed: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Two models that saw the same inputs."""
    rows, columns = pair(seed), pair(seed)
    generator = torch.Generator().manual_seed(seed + 50)
    for name, x in columns.items():
        columns[name] = torch.tanh(x @ torch.randn(x.shape[1], 5, generator=generator))
    return rows, columns


def squared_differences(x: NDArray[np.float64], y: NDArray[np.float64], scheme: str) -> float:
    """1 − distortion / 2 of the identity coupling, by hand: the geometries that are no measure of their own name."""
    if scheme == "rbf":
        kernels = []
        for v in (x, y):
            squared = squareform(pdist(v, "sqeuclidean"))
            kernels.append(np.exp(-squared / (2 * np.median(pdist(v, "sqeuclidean")))))
        upper = np.triu_indices(len(x), 1)
        return float(pearsonr(kernels[0][upper], kernels[1][upper]).statistic)
    return float(pearsonr(pdist(x, scheme), pdist(y, scheme)).statistic)


def linear_cka(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Feature form of Kornblith et al.: the same number from d × d matrices instead of n × n."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return float(np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def squared_distance_correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Székely, Rizzo and Bakirov 2007 by the moment identity dCov² = S1 + S2 − 2 S3 of their Remark 3."""
    a, b = (np.linalg.norm(v[:, None] - v[None], axis=-1) for v in (x, y))

    def covariance(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
        return float((p * q).mean() + p.mean() * q.mean() - 2 * (p.mean(axis=1) * q.mean(axis=1)).mean())

    return covariance(a, b) / float(np.sqrt(covariance(a, a) * covariance(b, b)))


INDEPENDENT: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], float]] = {
    "standardized": lambda x, y: squared_differences(x, y, "euclidean"),
    "cka": linear_cka,
    "dcor": squared_distance_correlation,
    "cosine": lambda x, y: squared_differences(x, y, "cosine"),
    "sqeuclidean": lambda x, y: squared_differences(x, y, "sqeuclidean"),
    "rbf": lambda x, y: squared_differences(x, y, "rbf"),
}


def as_numpy(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return tuple(value.double().numpy() for value in pair(seed).values())  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("geometry", INDEPENDENT)
def test_the_identity_column_is_the_measure_the_field_knows(geometry: str, seed: int) -> None:
    """RSA with Pearson correlation, linear CKA, squared distance correlation, and RSA on other distances."""
    x, y = as_numpy(seed)
    found = gw_matrix(pair(seed), geometry=geometry, effort="fast", bounds=None).identity_similarity[0, 1]
    assert found == pytest.approx(INDEPENDENT[geometry](x, y), abs=1e-9)


@pytest.mark.parametrize("geometry", INDEPENDENT)
def test_also_between_two_models(geometry: str) -> None:
    rows, columns = two_models(0)
    found = gw_matrix(rows, columns, geometry=geometry, effort="fast", bounds=None).identity_similarity
    for i, x in enumerate(rows.values()):
        for j, y in enumerate(columns.values()):
            expected = INDEPENDENT[geometry](x.double().numpy(), y.double().numpy())
            assert found[i, j] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_identity_of_euclidean_is_the_mean_squared_difference(seed: int) -> None:
    a, b = (squareform(pdist(v)) for v in as_numpy(seed))
    found = gw_matrix(pair(seed), geometry="euclidean", effort="fast", bounds=None).identity[0, 1]
    assert found == pytest.approx(((a / a.mean() - b / b.mean()) ** 2).mean(), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_paired_columns_without_a_search_are_the_same(seed: int) -> None:
    x, y = as_numpy(seed)
    found = layer_similarities(pair(seed), PAIRED)
    assert found["paired_cka"][0, 1] == pytest.approx(linear_cka(x, y), abs=1e-12)
    assert found["paired_dcor"][0, 1] == pytest.approx(squared_distance_correlation(x, y), abs=1e-9)


def test_a_degenerate_layer_has_nan_and_no_zero() -> None:
    similarities = layer_similarities({**pair(0), "dead": torch.ones(30, 4)}, PAIRED)
    for values in similarities.values():
        assert np.isnan(values[2]).all()
        assert np.isnan(values[:, 2]).all()
        assert not np.isnan(values[:2, :2]).any()


def test_rotation_scale_and_shift_are_invisible() -> None:
    x = pair(0)["x"].double()
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    for values in layer_similarities({"x": x, "turned": 3 * x @ rotation + 1}, PAIRED).values():
        np.testing.assert_allclose(values, 1, atol=1e-9)
