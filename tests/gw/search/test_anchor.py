"""Anchored matching: from pure GW to the paired measure."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from drifting_layers import layers

from lightning_gw.geometry.spaces import make_spaces
from lightning_gw.gw import gw_matrix

pytestmark = pytest.mark.usefixtures("moves")


@pytest.mark.parametrize("moves", ["compiled", pytest.param("batched torch", marks=pytest.mark.slow)], indirect=True)
def test_no_anchor_is_pure_gw_and_a_heavy_one_the_paired_measure() -> None:
    pure, unanchored = gw_matrix(layers()), gw_matrix(layers(), anchor=0.0)
    np.testing.assert_array_equal(pure.distortion, unanchored.distortion)
    heavy = gw_matrix(layers(), anchor=1e3)
    np.testing.assert_array_equal(heavy.distortion, heavy.identity)
    np.testing.assert_array_equal(heavy.moved, 0)


def test_value_is_distortion_plus_the_share_moved_and_lies_between_bound_and_identity() -> None:
    anchored = gw_matrix(layers(), anchor=0.4)
    spaces = make_spaces(layers(), "standardized").matrices.numpy()
    for i, j in [(0, 1), (0, 3), (2, 3)]:
        p = anchored.couplings[i, j]
        by_hand = ((spaces[i] - spaces[j][p][:, p]) ** 2).mean() + 0.4 * (p != np.arange(40)).mean()
        assert anchored.distortion[i, j] == pytest.approx(by_hand, abs=1e-12)
    assert (anchored.lower <= anchored.distortion).all()
    assert (anchored.distortion <= anchored.identity).all()


@pytest.mark.parametrize("moves", ["compiled", pytest.param("batched torch", marks=pytest.mark.slow)], indirect=True)
def test_a_heavier_anchor_moves_fewer_inputs_and_never_lowers_the_optimum() -> None:
    generator = torch.Generator().manual_seed(0)
    reps = [torch.randn(7, width, generator=generator) for width in (2, 3, 4, 5)]  # 7 inputs: exact
    series = [gw_matrix(reps, anchor=anchor) for anchor in (0.0, 0.1, 0.4, 1.6)]
    for lighter, heavier in pairwise(series):
        assert (heavier.distortion >= lighter.distortion - 1e-12).all()
        assert (heavier.moved <= lighter.moved + 1e-12).all()


def test_it_is_not_converted_between_geometries() -> None:
    with pytest.raises(ValueError, match=r"anchored \(anchor=0.4\)"):
        gw_matrix(layers(), anchor=0.4).to("euclidean")


@pytest.mark.parametrize("anchor", [-0.1, float("nan"), float("inf")])
def test_impossible_anchors_are_refused(anchor: float) -> None:
    with pytest.raises(ValueError, match="anchor is"):
        gw_matrix(layers(), anchor=anchor)
