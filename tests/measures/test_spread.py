"""How evenly a layer spreads the inputs, against known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_gw.measures.spread import dominant_inputs, dominant_share, effective_rank


def gaussian(n: int = 100, d: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_the_share_of_the_most_distant_inputs_is_what_they_carry() -> None:
    x = torch.zeros(40, 3)
    x[:20, 0], x[20:, 0] = 1.0, -1.0  # all at distance 1 from the centre
    assert dominant_share({"even": x}) == pytest.approx(2 / 40)
    x = gaussian()
    squares = (x - x.mean(dim=0)).square().sum(dim=1).sort()[0]
    assert dominant_share({"layer": x}) == pytest.approx(float(squares[-5:].sum() / squares.sum()))


def test_a_few_far_inputs_are_found_and_said_to_carry_nearly_all() -> None:
    x = gaussian()
    x[[3, 50, 70, 71, 99]] *= 100
    assert dominant_share({"layer": x})[0] > 0.95
    assert dominant_inputs({"layer": x, "other": gaussian(seed=1)}).tolist() == [3, 50, 70, 71, 99]


def test_the_effective_rank_counts_equal_directions() -> None:
    for k in (1, 2, 5):
        directions = torch.linalg.qr(gaussian(64, 64) - gaussian(64, 64).mean(dim=0))[0][:, :k]
        even = torch.linalg.qr(directions - directions.mean(dim=0))[0]
        assert effective_rank({"layer": even @ gaussian(k, 9).square().fill_diagonal_(9.0)})[0] <= k + 1e-6
        assert effective_rank({"layer": torch.cat([even, torch.zeros(64, 3)], dim=1)}) == pytest.approx(k)


def test_neither_scale_nor_rotation_nor_place_matters() -> None:
    x, rotation = gaussian(), torch.linalg.qr(gaussian(8, 8))[0]
    moved = 3 * x @ rotation + 5
    for measure in (dominant_share, effective_rank):
        np.testing.assert_allclose(measure({"a": x}), measure({"a": moved}), rtol=1e-4)


def test_degenerate_layers_have_none() -> None:
    layers = {"constant": torch.ones(20, 3), "broken": torch.full((20, 3), math.nan)}
    assert np.isnan(dominant_share(layers)).all()
    assert np.isnan(effective_rank(layers)).all()
    assert dominant_inputs(layers).tolist() == []
