"""What p-values leave of groups is judged anew: contrast, strength, and why they are no stronger."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightning_gw.groups.finding import find_groups
from lightning_gw.groups.groups import Groups
from lightning_gw.groups.partition import contrasts
from lightning_gw.groups.reference import Reference
from lightning_gw.groups.strength import why_weak
from lightning_gw.significance.evidence import Tested, judged


def on_a_line(*steps: float) -> NDArray[np.float64]:
    place = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(np.abs(place[:, None] - place[None, :]))


def what_is_left(network: NDArray[np.float64], p_values: dict[int, float]) -> Groups:
    """What is left of the groups of a network, held against one with even steps, where other gaps have p = 0.9."""
    reference = Reference.of(on_a_line(*[0.2] * (len(network) - 1)), network, len(network))
    groups = find_groups(network, reference)
    assert (groups.strength, groups.boundaries) == ("strong", tuple(p_values))
    values = np.full(len(network) - 1, 0.9)
    values[list(p_values)] = list(p_values.values())
    told = replace(groups, stability=tuple(0.6 + k / 100 for k in groups.boundaries))
    return judged(told, Tested("99 networks", values), network, reference)


def test_what_is_left_and_only_cuts_off_an_end_is_weak() -> None:
    block = np.array([0, 1, 1, 1, 2, 2, 2, 2])
    network = np.where(block[:, None] == block, 0.2, 1.0) * (1 - np.eye(8))
    left = what_is_left(network, {0: 0.01, 3: 0.4})
    assert (left.boundaries, left.labels, left.strength) == ((0,), (0, 1, 1, 1, 1, 1, 1, 1), "weak")
    assert "a single layer at an end" in why_weak(left)
    assert (left.p_values, left.p_value, left.stability) == ((0.01,), 0.01, (0.6,))
    assert left.excess is not None  # the step that was taken back is now one of those that the other is held against
    assert left.contrast == contrasts(left.excess[None], np.arange(7)[None] == 0)[0, 0]
    assert left.proposed == find_groups(network).proposed


def test_nothing_is_left_where_every_boundary_is_taken_back() -> None:
    network = on_a_line(0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1)
    left = what_is_left(network, {3: 0.06})
    assert (left.boundaries, left.strength, left.labels, left.p_values) == ((), "none", (0,) * 8, ())
    assert left.contrast > 1.8, "that of the boundary taken back"


def test_a_boundary_beside_a_layer_left_out_stays_and_is_named() -> None:
    network = on_a_line(0.1, 0.1, 0.9, 0.9, 0.1, 0.1)
    network[3, :] = network[:, 3] = np.nan
    left = what_is_left(network, {2: np.nan})
    assert (left.boundaries, left.strength) == ((2,), "weak")
    assert np.isnan(np.array(left.p_values)).all()
    assert left.p_value == 0.9
    assert why_weak(left) == "the boundary after layer 3 has no p-value, since a layer beside it was left out"
