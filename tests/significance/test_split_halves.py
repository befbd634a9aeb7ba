"""The noise floor: what parts a layer from itself on other inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from significance_nets import planted

from lightning_gw.gw.matrix import gw_matrix
from lightning_gw.significance import split_half_noise


def test_values_are_those_of_two_halves_against_each_other() -> None:
    layers = planted((1, 2), n=15)
    found = split_half_noise(layers, splits=2, seed=4)
    generator = torch.Generator().manual_seed(4)
    values = []
    for _ in range(2):
        order = torch.randperm(15, generator=generator)
        one, other = ({name: x[part] for name, x in layers.items()} for part in (order[:7], order[7:14]))
        values.append(np.diag(gw_matrix(one, other).distortion))  # seven inputs are solved exactly
    assert found.layers == tuple(layers)
    assert found.mean == pytest.approx(np.mean(values, axis=0))
    assert found.deviation == pytest.approx(np.std(values, axis=0, ddof=1))
    assert (found.inputs, found.splits) == (7, 2)
    assert found.floor == pytest.approx(np.sqrt([np.mean(found.mean[:2]), np.mean(found.mean[1:])]))


def test_halves_that_mirror_each_other_have_no_floor() -> None:
    corner = torch.eye(4).repeat(16, 1)  # any half of these holds all corners, nearly as often
    mixed = split_half_noise({"corners": corner, "cloud": torch.randn(64, 6)}, splits=3)
    assert mixed.mean[0] < 0.5 * mixed.mean[1]


def test_a_scattered_layer_is_farther_from_itself_than_a_clustered_one_and_more_inputs_help() -> None:
    generator = torch.Generator().manual_seed(0)
    line = torch.randn(96, 1, generator=generator)
    few, many = split_half_noise({"line": line[:16]}), split_half_noise({"line": line})
    assert many.mean[0] < few.mean[0]


def test_degenerate_layers_are_missing_and_one_split_has_no_deviation() -> None:
    layers = planted((1, 2), n=16)
    layers["layer1"] = torch.zeros_like(layers["layer1"])
    found = split_half_noise(layers, splits=1)
    assert np.isnan(found.mean).tolist() == [False, True, False]
    assert np.isnan(found.deviation).all()
    assert np.isnan(found.floor).all()


def test_splits_repeat_and_leave_global_random_states_alone() -> None:
    layers, state = planted((2,), n=16), torch.get_rng_state()
    one = split_half_noise(layers)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(split_half_noise(layers).mean, one.mean)


def test_bad_options_are_refused() -> None:
    layers = planted((2,), n=7)
    with pytest.raises(ValueError, match="Half of 7 inputs are 3, too few"):
        split_half_noise(layers)
    with pytest.raises(ValueError, match="splits is 0"):
        split_half_noise(layers, splits=0)
    with pytest.raises(ValueError, match="Unknown effort 'much'"):
        split_half_noise(layers, effort="much")  # type: ignore[arg-type]
