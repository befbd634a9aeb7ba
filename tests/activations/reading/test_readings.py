"""Which axis of an output is inputs, channels and positions is told by other passes and by the operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from callback_nets import Block
from torch import Tensor, nn

from lightning_gw.activations.reading.capture import capture
from lightning_gw.activations.reading.readings import Reading
from lightning_gw.activations.running.forward import call_forward
from lightning_gw.activations.running.settle import Settled, check_layout, settle
from lightning_gw.utilities.errors import ArgumentError


class Layer(nn.Module):
    """What `how` makes of the input and the module inside."""

    def __init__(self, how: Any, inner: nn.Module) -> None:
        super().__init__()
        self.how, self.inner = how, inner

    def forward(self, x: Tensor) -> Any:
        return self.how(self.inner, x)


def settled(net: nn.Module, batch: Any, asked: Any = "**", **options: Any) -> Settled:
    net.eval()
    with torch.no_grad():
        return settle(net, batch, lambda item: call_forward(net, item), asked, **options)


def looked(net: nn.Module, batch: Any, found: Settled, **options: Any) -> Mapping[str, Tensor]:
    with torch.no_grad():
        run = lambda item: call_forward(net, item)  # noqa: E731
        return capture(net, found.choice.layers, [batch], run, how=found.how, **options).representations


def axes(net: nn.Module, batch: Any, layer: str = "0", **options: Any) -> tuple[int, int | None, str]:
    reading = settled(net, batch, layer, **options).how[layer]
    assert isinstance(reading, Reading)
    return reading.rows, reading.channels, reading.guessed


def one(how: Any, inner: nn.Module) -> nn.Module:
    return nn.Sequential(Layer(how, inner))


@pytest.mark.parametrize(
    ("how", "inner", "shape", "expected"),
    [
        pytest.param(lambda f, x: f(x), nn.Conv2d(3, 4, 3, padding=1), (4, 3, 4, 4), (0, 1), id="n c h w"),
        pytest.param(lambda f, x: f(x.permute(0, 2, 3, 1)), nn.Linear(4, 4), (4, 4, 4, 4), (0, 3), id="n h w c"),
        pytest.param(
            lambda f, x: x + f(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
            nn.Linear(4, 4),
            (4, 4, 4, 4),
            (0, 1),
            id="ConvNeXt",
        ),
        pytest.param(
            lambda f, x: f(x.flatten(0, 1)).unflatten(0, x.shape[:2]),
            nn.Conv2d(4, 4, 3, 1, 1),
            (4, 4, 4, 4, 4),
            (0, 2),
            id="n t c h w",
        ),
        pytest.param(
            lambda f, x: f(x) * torch.sigmoid(nn.functional.linear(f(x).mean(2), torch.ones(4, 4)))[:, :, None],
            nn.Conv1d(4, 4, 3, padding=1),
            (4, 4, 4),
            (0, 1),
            id="squeeze and excitation",
        ),
        pytest.param(lambda f, x: f(x), nn.Linear(4, 4), (4, 4, 4), (0, 2), id="n t d"),
        pytest.param(lambda f, x: f(x.transpose(0, 1)), nn.Linear(4, 4), (4, 4, 4), (1, 2), id="t n d"),
        pytest.param(lambda f, x: f(x)[0], nn.LSTM(4, 4, batch_first=True), (4, 4, 4), (0, 2), id="LSTM"),
        pytest.param(lambda f, x: f(x), nn.LayerNorm(4), (4, 2, 3, 4), (0, 3), id="normed last"),
        pytest.param(lambda f, x: f(x).roll(1, 1), nn.LayerNorm(4), (4, 4, 4, 4), (0, 3), id="shifted windows"),
    ],
)
def test_axes_are_told_where_sizes_do_not_tell(how: Any, inner: nn.Module, shape: Any, expected: Any) -> None:
    """Every size is 4, that of the batch too."""
    assert axes(one(how, inner), torch.randn(*shape)) == (*expected, "")


def test_xlnet_puts_positions_first() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.XLNetConfig(vocab_size=20, d_model=8, n_layer=2, n_head=2, d_inner=8)
    net = transformers.XLNetModel(config)
    ids = torch.arange(16).reshape(4, 4)  # as many positions as inputs
    found = settled(net, ids, ["layer.*"])
    assert [(found.how[f"layer.{k}"].rows, found.how[f"layer.{k}"].channels) for k in range(2)] == [(1, 2)] * 2
    seen = looked(net, ids, found)
    torch.testing.assert_close(seen["layer.1"][2], net(ids[2:3]).last_hidden_state[0].mean(0), atol=1e-4, rtol=1e-3)


def test_channels_last_are_kept_and_space_is_averaged() -> None:
    net = one(lambda f, x: f(x), nn.Linear(5, 6))
    x = torch.randn(4, 3, 3, 5)
    seen = looked(net, x, settled(net, x, "0"), pooling="mean")
    torch.testing.assert_close(seen["0"], net(x).mean((1, 2)))


def test_what_stays_unknown_is_said_and_a_layout_says_it() -> None:
    net = one(lambda f, x: x.cumsum(1), nn.Identity())
    x = torch.randn(4, 3, 5, 6)
    assert axes(net, x)[2] == "channels"
    with torch.no_grad():
        found = settled(net, x, "0")
        notes = capture(net, ["0"], [x], net, how=found.how).notes
    assert "the channels was not told" in notes[0]
    assert "layout=" in notes[0]
    assert axes(net, x, layout="n h w c") == (0, 3, "")
    assert axes(net, x, layout={"1": "n d", "*": "n h c w"}) == (0, 2, "")
    with pytest.raises(ArgumentError, match="names 3 axes, but layer '0' puts out shape"):
        axes(net, x, layout="n t d")
    with pytest.raises(ArgumentError, match="layout='h w c' is not understood"):
        check_layout("h w c")


@dataclass
class Result:
    loss: Tensor
    states: Tensor


@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda h: Result(h.sum(), h), ".states"),
        (lambda h: (h.sum(0), h), "[1]"),
        (lambda h: (h.argmax(1), {"deep": [h]}), "[1].deep[0]"),
        (lambda h: {"other": h + 1, "last_hidden_state": h}, ".last_hidden_state"),
        (lambda h: (h.mean(1), h), "[1]"),
    ],
    ids=["dataclass", "second of a tuple", "nested", "last hidden state", "no single values"],
)
def test_the_tensor_with_the_rows_is_found_in_any_output(wrap: Any, path: str) -> None:
    net = one(lambda f, x: wrap(f(x)), nn.Linear(8, 5))
    x = torch.randn(4, 8)
    found = settled(net, x, "0")
    assert found.how["0"].path == path
    torch.testing.assert_close(looked(net, x, found)["0"], net[0].inner(x))


def test_whole_numbers_are_left_out_by_name_and_quantised_outputs_are_read() -> None:
    net = one(lambda f, x: f(x).argmax(1), nn.Linear(8, 5))
    x = torch.randn(4, 8)
    found = settled(net, x, "0")
    assert "whole numbers only (int64)" in found.how["0"]
    notes = capture(net, ["0"], [x], net, how=found.how, optional=True).notes
    assert "'0'" in notes[0]
    net = one(lambda f, x: torch.quantize_per_tensor(f(x), 0.1, 0, torch.qint8), nn.Linear(8, 5))
    torch.testing.assert_close(looked(net, x, settled(net, x, "0"))["0"], net[0].inner(x), atol=0.06, rtol=0)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 12)
        self.blocks = nn.ModuleList(Block() for _ in range(2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        h = self.embed(input_ids)
        for block in self.blocks:
            h = block(h)
        return h


IDS = torch.randint(1, 11, (4, 6), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(6)[None] < torch.tensor([[2], [6], [3], [5]])).long()


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def test_a_mask_is_found_in_a_tuple_by_the_name_that_forward_gives_it() -> None:
    net = Tokens()
    run = lambda item: net(item[0], item[1])  # noqa: E731
    batch = (IDS, MASK, torch.zeros(4))
    with torch.no_grad():
        found = settle(net, batch, run)
        seen = capture(net, found.choice.layers, [batch], run, pooling="mean", how=found.how).representations
    assert found.masks() == {"": "attention_mask"}
    torch.testing.assert_close(seen["blocks.1"], pooled(net(IDS), MASK))


def t5() -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(
        vocab_size=11, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    return transformers.T5Model(config).eval()


def test_the_mask_of_an_encoder_is_not_that_of_its_decoder() -> None:
    net = t5()
    batch = {"input_ids": IDS, "decoder_input_ids": IDS, "attention_mask": MASK}
    layers = ["encoder.block.*", "decoder.block.*"]
    with torch.no_grad():
        found = settle(net, batch, lambda item: net(**item), layers)
        seen = capture(net, found.choice.layers, [batch], lambda item: net(**item), "mean", how=found.how)
        states = net(**batch, output_hidden_states=True)
    assert found.masks() == {"encoder": "attention_mask"}
    torch.testing.assert_close(seen.representations["encoder.block.0"], pooled(states.encoder_hidden_states[1], MASK))
    torch.testing.assert_close(seen.representations["decoder.block.0"], states.decoder_hidden_states[1].mean(1))
    assert "Layer decoder.block.0: no mask fits, since decoder was given no attention_mask" in " ".join(seen.notes)


def test_each_stack_has_its_own_mask() -> None:
    net = t5()
    other = MASK.flip(0)
    batch = {"input_ids": IDS, "decoder_input_ids": IDS, "attention_mask": MASK, "decoder_attention_mask": other}
    with torch.no_grad():
        found = settle(net, batch, lambda item: net(**item), ["encoder.block.*", "decoder.block.*"])
        seen = capture(net, found.choice.layers, [batch], lambda item: net(**item), "mean", how=found.how)
        states = net(**batch, output_hidden_states=True)
    assert found.masks() == {"encoder": "attention_mask", "decoder": "attention_mask"}
    torch.testing.assert_close(seen.representations["decoder.block.0"], pooled(states.decoder_hidden_states[1], other))


def test_pytorchs_transformer_masks_by_stack() -> None:
    net = nn.Transformer(8, 2, 2, 2, 16, batch_first=True).eval()
    padding = MASK == 0
    batch = (torch.randn(4, 6, 8), torch.randn(4, 6, 8))
    masks = {"src_key_padding_mask": padding, "tgt_key_padding_mask": padding.flip(0)}

    def run(item: Any) -> Any:
        return net(*item, **{name: mask[: len(item[0])] for name, mask in masks.items()})

    with torch.no_grad():
        found = settle(net, batch, run, ["encoder.layers.*", "decoder.layers.*"])
    assert {stack.split(".")[0] for stack in found.masks()} == {"encoder", "decoder"}
    reading = found.how["decoder.layers.0"]
    assert isinstance(reading, Reading)
    assert reading.mask is not None
    assert (reading.mask.argument, reading.mask.counts) == ("tgt_key_padding_mask", False)


@pytest.mark.parametrize("at_once", [True, False])
def test_the_mask_of_a_text_is_not_that_of_the_picture_beside_it(at_once: bool) -> None:
    """Both have six positions."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.text, self.patches = Tokens(), nn.ModuleList(Block() for _ in range(2))

        def forward(self, input_ids: Tensor, pixels: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            for block in self.patches:
                pixels = block(pixels)
            return self.text(input_ids, attention_mask).mean(1) * pixels.mean(1)

    net = Both().eval()
    pixels = torch.randn(4, 6, 12)
    batch = {"input_ids": IDS, "pixels": pixels, "attention_mask": MASK}
    run = (lambda item: net(**item)) if at_once else (lambda item: net(*item.values()))
    with torch.no_grad():
        found = settle(net, batch, run)
        looks = capture(net, found.choice.layers, [batch], run, "mean", how=found.how)
        seen = looks.representations
        torch.testing.assert_close(seen["patches.0"], net.patches[0](pixels).mean(1))
        torch.testing.assert_close(seen["text.blocks.1"], pooled(net.text(IDS), MASK))
    assert found.masks() == {"text": "attention_mask"}
    assert "Layer patches.0: no mask fits, since" in " ".join(looks.notes)


def test_where_nothing_is_masked_nothing_is_said_of_masks() -> None:
    net = nn.Transformer(8, 2, 2, 2, 16, batch_first=True).eval()
    batch = (torch.randn(4, 6, 8), torch.randn(4, 6, 8))
    with torch.no_grad():
        found = settle(net, batch, lambda item: net(*item))
        looks = capture(net, found.choice.layers, [batch], lambda item: net(*item), "mean", how=found.how)
    assert looks.notes == ()


class Shuffle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


@pytest.mark.parametrize("last", [Shuffle(), nn.InstanceNorm2d(8)])
def test_channels_are_followed_through_what_cuts_them_up_and_puts_them_together(last: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.Sequential(nn.Conv2d(8, 8, 1), last, nn.ReLU()))
    with torch.no_grad():
        reading = settle(net.eval(), torch.randn(4, 3, 6, 6), net, ["0", "1"]).how["1"]
    assert isinstance(reading, Reading)
    assert (reading.channels, reading.guessed) == (1, "")
