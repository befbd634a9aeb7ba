"""Errors, notes and tables of layers, short enough to read."""

from __future__ import annotations

import pytest
import torch

from lightning_gw.utilities.errors import reason_of
from lightning_gw.utilities.text import folded, short_names


@pytest.mark.parametrize("call", [lambda: torch.conv2d("no tensor", 3), lambda: torch.zeros("a"), lambda: torch.sum()])
def test_of_torchs_errors_no_signatures_are_passed_on(call) -> None:
    with pytest.raises(TypeError) as raised:
        call()
    assert "(" in str(raised.value)
    assert "expected one of" not in reason_of(raised.value)
    assert "\n" not in reason_of(raised.value)
    assert reason_of(raised.value).startswith("TypeError: ")


def test_an_error_without_a_message_is_its_class_and_a_long_one_is_cut() -> None:
    assert reason_of(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert reason_of(ValueError("one\n  two")) == "ValueError: one two"
    assert len(reason_of(ValueError("x" * 5000))) < 700


def test_what_is_said_of_many_layers_is_said_once() -> None:
    notes = [f"Layer block.{k}: the mask does not fit." for k in range(9)]
    assert folded([*notes, "Other.", notes[0]]) == (
        "Layers block.0, block.1, block.2, block.3 and 5 more: the mask does not fit.",
        "Other.",
    )
    assert folded(notes[:1]) == tuple(notes[:1])
    assert folded(["Layer 'a': x.", "Layer 'b': y.", "Layer 'b': x."]) == ("Layers a and b: x.", "Layer b: y.")
    assert folded([]) == ()


def test_long_names_are_cut_between_components_and_never_into_the_same() -> None:
    assert short_names(["net.stem", "layers.10.blocks.11"]) == ("net.stem", "…10.blocks.11")
    assert short_names(["stem", "y" * 20]) == ("stem", "…" + "y" * 15)
    stacks = ("stem", "encoder.layers.10", "decoder.layers.10")
    assert short_names(stacks) == stacks
