"""What the architecture does by itself: a reference that learnt nothing decides what counts as a step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightning_gw import find_groups, gw_matrix
from lightning_gw.groups.finding import find_boundaries
from lightning_gw.groups.reference import Reference


def on_a_line(*steps: float) -> NDArray[np.float64]:
    """Distances of layers that lie on a line with these steps between them."""
    place = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(np.abs(place[:, None] - place[None, :]))


#: A network whose width changes after the third and the sixth of nine layers, and that takes larger steps there.
WIDENING = (0.1, 0.1, 0.6, 0.1, 0.1, 0.8, 0.1, 0.1)


def test_a_network_like_its_reference_has_no_groups_however_large_its_steps() -> None:
    network = on_a_line(*WIDENING)
    alone, held = find_groups(network), find_groups(network, reference=network)
    assert (alone.strength, alone.boundaries) == ("weak", (5,))
    assert (held.strength, held.boundaries, held.labels) == ("none", (), (0,) * 9)
    assert held.built_in == (2, 5)
    np.testing.assert_allclose(held.excess, 1.0)


def test_without_a_reference_nothing_is_strong() -> None:
    network = on_a_line(0.1, 0.1, 0.1, 5.0, 0.1, 0.1, 0.1)
    groups = find_groups(network)
    assert (groups.strength, groups.reference, groups.excess, groups.built_in) == ("weak", 0, None, ())
    assert groups.contrast > 10


def test_a_boundary_that_training_made_is_found_beside_those_of_the_architecture() -> None:
    trained = on_a_line(0.1, 0.1, 0.6, 0.1, 0.7, 0.8, 0.1, 0.1)
    groups = find_groups(trained, reference=on_a_line(*WIDENING))
    assert groups.boundaries == (4,)
    assert groups.strength == "strong"
    assert groups.built_in == (2, 5)
    assert groups.reference == 1


def test_distances_of_exactly_zero_give_finite_contrasts() -> None:
    identities = on_a_line(0.0, 0.5, 0.0, 0.8, 0.0, 0.9, 0.0)  # blocks that begin as the identity
    same = find_groups(identities, reference=identities)
    assert same.strength == "none"
    assert same.built_in == (1, 3, 5)
    assert same.excess is not None
    assert np.isfinite(same.excess).all()
    trained = find_groups(on_a_line(0.1, 0.5, 0.1, 0.8, 0.8, 0.9, 0.1), reference=identities)
    assert trained.boundaries == (4,)
    assert np.isfinite(trained.contrast)
    nothing = find_groups(on_a_line(0.1, 0.1, 1.0, 0.1, 0.1), reference=np.zeros((6, 6)))
    assert nothing.boundaries == (2,)
    assert np.isfinite(nothing.contrast)


def test_several_references_are_read_as_their_root_mean_square() -> None:
    network = on_a_line(0.1, 0.1, 0.9, 0.1, 0.1)
    one, other = on_a_line(*[0.3] * 5), on_a_line(*[0.4] * 5)
    several = find_groups(network, reference=[one, other])
    assert several.reference == 2
    mean = find_groups(network, reference=on_a_line(*[np.sqrt((0.3**2 + 0.4**2) / 2)] * 5))
    np.testing.assert_allclose(several.excess, mean.excess)
    stacked = find_groups(network, reference=np.stack([one, other]))
    np.testing.assert_array_equal(several.excess, stacked.excess)


def test_neither_scale_nor_order_of_references_matters() -> None:
    rng = np.random.default_rng(0)
    references = [on_a_line(*rng.uniform(0.1, 0.5, 7)) for _ in range(3)]
    network = on_a_line(*rng.uniform(0.1, 0.9, 7))
    first = find_groups(network, reference=references)
    again = find_groups(1e-3 * network, reference=[1e-3 * one for one in references[::-1]])
    assert again.boundaries == first.boundaries
    np.testing.assert_allclose(again.excess, first.excess)


def test_boundaries_alone_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    reference = on_a_line(*rng.uniform(0.1, 0.3, 9))
    networks = [on_a_line(*rng.uniform(0.02, 1, 9)) for _ in range(20)]
    found = find_boundaries(np.stack(networks), Reference(reference[np.arange(9), np.arange(1, 10)][None]))
    for network, ends in zip(networks, found, strict=True):
        assert tuple(np.flatnonzero(ends)) == find_groups(network, reference=reference).boundaries


def test_a_gap_that_the_reference_lacks_is_named_and_makes_nothing_strong() -> None:
    network = on_a_line(0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1)
    reference = on_a_line(*[0.3] * 7)
    reference[4, :] = reference[:, 4] = np.nan
    groups = find_groups(network, reference=reference)
    assert groups.unreferenced == (3, 4)
    assert (groups.boundaries, groups.strength) == ((3,), "weak")
    whole = find_groups(network, reference=[reference, on_a_line(*[0.3] * 7)])
    assert (whole.unreferenced, whole.strength) == ((), "strong")


def test_a_layer_left_out_of_the_matrix_is_stepped_over_in_the_reference_too() -> None:
    network, reference = on_a_line(0.1, 0.1, 0.4, 0.4, 0.1, 0.1), on_a_line(*[0.2] * 6)
    network[3, :] = network[:, 3] = np.nan
    groups = find_groups(network, reference=reference)
    assert groups.labels[3] == -1
    assert groups.boundaries == (2,)
    assert groups.unreferenced == ()
    assert groups.excess is not None
    assert np.isnan(groups.excess[[2, 3]]).all()


def matrices() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return tuple({f"layer {k}": torch.randn(12, 4, generator=generator) for k in range(4)} for _ in range(2))  # type: ignore[return-value]


def test_references_that_cannot_be_compared_are_refused_by_name() -> None:
    one, other = matrices()
    matrix = gw_matrix(one, anchor=0.4)
    find_groups(matrix, reference=gw_matrix(other, anchor=0.4))
    with pytest.raises(ValueError, match=r"anchor=0\.0, the matrix with anchor=0\.4"):
        find_groups(matrix, reference=gw_matrix(other))
    with pytest.raises(ValueError, match="geometry='cka', the matrix with geometry='standardized'"):
        find_groups(matrix, reference=[gw_matrix(other, anchor=0.4), gw_matrix(other, geometry="cka", anchor=0.4)])
    renamed = replace(matrix, layers=("layer 0", "layer 1", "layer two", "layer 3"))
    with pytest.raises(ValueError, match=r"Reference 1 is of other layers.*beginning with 'layer two' for 'layer 2'"):
        find_groups(matrix, reference=renamed)
    with pytest.raises(ValueError, match="Reference 1 is of 5 layers, the matrix of 4"):
        find_groups(matrix, reference=np.ones((5, 5)) - np.eye(5))
    with pytest.raises(ValueError, match="reference is empty"):
        find_groups(matrix, reference=[])
    with pytest.raises(ValueError, match="where 4 layers ask for"):
        find_groups(matrix, reference=Reference(np.ones((1, 5))))
