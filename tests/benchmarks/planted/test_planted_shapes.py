"""Groups planted in the shapes people train: where boundaries and widths are, and how these networks are looked at."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

pytest.importorskip("sklearn")

from benchmarks.planted.grid import shape_grid, shapes
from benchmarks.planted.grid import specification as spec
from benchmarks.planted.grid.recipes import recipe_of
from benchmarks.planted.grid.shape_grid import AT, AT_WIDTHS, OFF, OFF_WIDTHS, SHAPES, block_widths, width_changes
from benchmarks.planted.grid.specification import Specification, grid
from benchmarks.planted.grid.training import train, untrained_look

PLANTED = [one for one in grid() if one.architecture in SHAPES]
FIRST = {one.architecture: one for one in reversed(PLANTED)}


def kind_of(architecture: str) -> str:
    return architecture.removesuffix(OFF).removesuffix(AT)


def test_each_split_has_six_of_every_kind_and_some_without_a_boundary() -> None:
    counts = Counter((one.split, kind_of(one.architecture)) for one in PLANTED)
    assert counts == {(split, kind): 6 for split in ("development", "set aside") for kind in shape_grid.CHANNELS}
    assert {one.architecture for one in PLANTED} == set(SHAPES) == set(shapes.BUILDERS)
    assert all(8 <= one.layers <= 13 and len(one.lengths) <= 4 for one in PLANTED)
    for split in ("development", "set aside"):
        mine = [one for one in PLANTED if one.split == split]
        assert sum(one.boundaries == () for one in mine) == 5
        assert {len(one.lengths) for one in mine} == {1, 2, 3, 4}


@pytest.mark.parametrize("kind", ["resnet", "resnet_identity", "convnext"])
def test_widths_change_where_groups_begin_or_at_least_two_layers_away(kind: str) -> None:
    for lengths, parts in OFF_WIDTHS.items():
        one = Specification(kind + OFF, "narrowing", spec.EVERY_LAYER, lengths, 0)
        changes = width_changes(one.architecture, lengths)
        assert len(changes) == 2
        assert sum(parts) == one.layers
        assert all(abs(change - boundary) >= 2 for change in changes for boundary in one.boundaries)
    for lengths, parts in AT_WIDTHS.items():
        one = Specification(kind + AT, "narrowing", spec.EVERY_LAYER, lengths, 0)
        changes = width_changes(one.architecture, lengths)
        assert set(changes) <= set(one.boundaries)
        assert sum(parts) == one.layers
        assert len(changes) == min(2, len(one.boundaries))


def test_where_widths_change_is_known_of_planned_lengths_only() -> None:
    assert block_widths("resnet_off_widths", (10,)) == (16,) * 3 + (32,) * 4 + (64,) * 3
    assert width_changes("vit", (4, 5, 3)) == ()
    with pytest.raises(KeyError):
        block_widths("resnet_at_widths", (10,))


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.representatives("llama", "resnet_off_widths")
def test_a_fresh_look_repeats_itself_and_has_the_widths_that_are_promised(architecture: str) -> None:
    one = FIRST[architecture]
    look = untrained_look(one, 7)
    widths = block_widths(architecture, one.lengths)
    assert [tuple(x.shape) for x in look.values()] == [(96, width) for width in widths]
    assert list(look) == [f"layer {k + 1}" for k in range(one.layers)]
    again, other = untrained_look(one, 7), untrained_look(one, 8)
    assert all(torch.equal(x, again[name]) and x.isfinite().all() for name, x in look.items())
    assert not torch.equal(look["layer 1"], other["layer 1"])


def test_some_begin_as_the_identity_and_others_do_not() -> None:
    lengths = (3, 5)
    for architecture, same in (("resnet_identity_at_widths", True), ("resnet_at_widths", False)):
        look = untrained_look(Specification(architecture, "widening", spec.EVERY_LAYER, lengths, 2), 0)
        assert torch.equal(look["layer 4"], look["layer 8"]) is same
        assert look["layer 3"].shape != look["layer 4"].shape
    look = untrained_look(Specification("convnext_at_widths", "widening", spec.EVERY_LAYER, lengths, 2), 0)
    assert torch.allclose(look["layer 4"], look["layer 8"], atol=1e-4)
    assert not torch.equal(look["layer 4"], look["layer 8"])


def test_a_look_reads_batch_statistics_and_leaves_buffers_alone() -> None:
    torch.manual_seed(0)
    net = shapes.resnet((4, 4, 8), 1, (3,))
    x = torch.rand(20, 1, 8, 8)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    first = net.look(x)
    assert before
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    assert all(module.training for module in net.modules())
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean += 3  # what training has gathered must not be seen
        norm.running_var *= 5
    assert all(torch.equal(x, first[name]) for name, x in net.look(x).items())
    net.eval()
    assert not torch.allclose(net(x)[-1], first["layer 3"])
    net.look(x)
    assert not any(module.training for module in net.modules())


def test_a_decoder_sees_no_later_token() -> None:
    torch.manual_seed(0)
    block = shapes.LlamaBlock(8, 16, heads=2)
    h = torch.randn(1, 4, 8)
    changed = h.clone()
    changed[:, 2:] += 1
    assert torch.allclose(block(h)[:, :2], block(changed)[:, :2], atol=1e-6)
    assert not torch.allclose(block(h)[:, 2:], block(changed)[:, 2:])


def test_rotary_positions_keep_lengths_and_depend_on_how_far_apart_tokens_are() -> None:
    query, key = torch.randn(2, 1, 1, 1, 6).expand(2, 1, 1, 5, 6)
    turned, other = shapes.rotate(query), shapes.rotate(key)
    assert torch.allclose(turned.norm(dim=-1), query.norm(dim=-1), atol=1e-5)
    scores = (turned @ other.transpose(-1, -2))[0, 0]
    assert torch.allclose(scores[1, 0], scores[4, 3], atol=1e-4)
    assert not torch.allclose(scores[1, 0], scores[3, 0], atol=1e-4)


@pytest.mark.parametrize("architecture", ["resnet_identity_at_widths", "convnext_at_widths", "vit", "llama"])
@pytest.mark.slow
def test_each_kind_trains_with_a_head_on_every_layer(few_steps: None, architecture: str) -> None:
    one = replace(FIRST[architecture], lengths=(3, 5))
    found = train(one)
    assert list(found.looks) == [0, 4]
    assert len(found.accuracy) == 2
    assert all(torch.equal(x, untrained_look(one, one.seed)[name]) for name, x in found.looks[0].items())
    assert not torch.equal(found.looks[0]["layer 8"], found.looks[4]["layer 8"])


def test_every_kind_has_a_recipe() -> None:
    assert all(recipe_of(one).steps > 0 for one in PLANTED)
