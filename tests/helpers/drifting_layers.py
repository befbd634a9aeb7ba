"""Representations for tests: a drift through random tanh layers of differing width."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GEOMETRIES = ["standardized", "euclidean", "dcor", "cka", "cosine", "sqeuclidean", "rbf"]


def layers(n: int = 40, count: int = 4, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=generator)
    out = {"layer.0": x}
    for k in range(1, count):
        width = 8 + 4 * k
        x = torch.tanh(x @ torch.randn(x.shape[1], width, generator=generator) / 2)
        out[f"layer.{k}"] = x
    return out


def mean_scaled(x: Tensor) -> np.ndarray:
    """The plain geometry by hand."""
    distances = torch.cdist(x.double(), x.double()).numpy()
    return np.asarray(distances / distances.mean())
