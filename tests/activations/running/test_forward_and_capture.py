"""Batches find their way into forward, and what the layers put out is kept by name."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning
import torch
from callback_nets import Block, plain_net
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.activations.layers import outputs
from lightning_gw.activations.layers.trace import trace
from lightning_gw.activations.reading.capture import capture
from lightning_gw.activations.running.forward import call_forward
from lightning_gw.activations.running.settle import asked_layers
from lightning_gw.utilities.calls import module_of
from lightning_gw.utilities.errors import ArgumentError

X, Y = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])


class Recorder(nn.Module):
    """Keeps what its forward was called with; `signature` is put in front of it by the tests."""

    seen: Any = None


def with_forward(function: Any) -> Recorder:
    return type("Recorder", (Recorder,), {"forward": function})()


def one(self: Recorder, x: Tensor) -> None:
    self.seen = {"x": x}


def two(self: Recorder, x: Tensor, y: Tensor) -> None:
    self.seen = {"x": x, "y": y}


def optional(self: Recorder, x: Tensor, mask: Tensor | None = None) -> None:
    self.seen = {"x": x, "mask": mask}


def whole(self: Recorder, batch: Any) -> None:
    self.seen = batch


def keywords(self: Recorder, **inputs: Any) -> None:
    self.seen = inputs


@pytest.mark.parametrize(
    ("forward", "batch", "expected"),
    [
        (one, X, {"x": X}),
        (one, (X, Y), {"x": X}),
        (one, [X, Y], {"x": X}),
        (one, [X], {"x": X}),
        (one, {"x": X, "y": Y}, {"x": X}),
        (one, {"inputs": X}, {"x": {"inputs": X}}),
        (one, ({"x": X, "mask": X}, Y), {"x": X}),
        (two, (X, Y, Y), {"x": X, "y": Y}),
        (two, {"y": Y, "x": X, "z": Y}, {"x": X, "y": Y}),
        (optional, (X, Y), {"x": X, "mask": None}),
        (optional, {"x": X, "mask": Y, "labels": Y}, {"x": X, "mask": Y}),
        (whole, (X, Y), (X, Y)),
        (whole, {"x": X}, {"x": X}),
        (keywords, {"x": X, "y": Y}, {"x": X, "y": Y}),
    ],
)
def test_forward_gets_what_batch_and_signature_suggest(forward: Any, batch: Any, expected: Any) -> None:
    module = with_forward(forward)
    call_forward(module, batch)
    if not isinstance(expected, dict):
        module.seen, expected = dict(enumerate(module.seen)), dict(enumerate(expected))
    assert module.seen.keys() == expected.keys()
    assert all(seen is expected[key] or seen.keys() == expected[key].keys() for key, seen in module.seen.items())


def test_huggingface_batches_pass_by_keyword() -> None:
    transformers = pytest.importorskip("transformers")
    module = with_forward(optional)
    call_forward(module, transformers.BatchEncoding({"x": X, "mask": Y, "labels": Y}))
    assert module.seen["x"] is X
    assert module.seen["mask"] is Y


def test_a_batch_that_does_not_fit_is_explained() -> None:
    with pytest.raises(TypeError, match=r"requires 2 arguments \(x, y\), but the batch has 1 elements"):
        call_forward(with_forward(two), [X])
    with pytest.raises(TypeError, match=r"requires y, which the batch.*keys x, z"):
        call_forward(with_forward(two), {"x": X, "z": Y})


def look(module: nn.Module, layers: list[str], batches: list[Any], **options: Any) -> Any:
    with undisturbed(module):
        return capture(module, layers, batches, lambda batch: call_forward(module, batch), **options)


def test_representations_are_what_the_layers_put_out() -> None:
    net = plain_net()
    kept = look(net, ["1", "6"], [X[:3], X[3:]]).representations
    torch.testing.assert_close(kept["1"], net[:2](X))
    torch.testing.assert_close(kept["6"], net(X))
    assert not kept["1"].requires_grad


class Wrap(nn.Module):
    def __init__(self, how: Any) -> None:
        super().__init__()
        self.how = how
        self.inner = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        return self.how(self.inner(x))


class Outer(nn.Module):
    def __init__(self, how: Any) -> None:
        super().__init__()
        self.wrap = Wrap(how)

    def forward(self, x: Tensor) -> Any:
        return self.wrap(x)


@pytest.mark.parametrize(
    "how",
    [
        lambda h: (h, "cache"),
        lambda h: (None, (h, h + 1)),
        lambda h: {"loss": h.sum(), "logits": h},
        lambda h: {"other": h + 1, "last_hidden_state": h},
    ],
    ids=["tuple", "nested tuple", "mapping", "last_hidden_state"],
)
def test_outputs_of_every_kind(how: Any) -> None:
    module = Outer(how)
    torch.testing.assert_close(look(module, ["wrap"], [X]).representations["wrap"], module.wrap.inner(X))


def test_modeloutput_counts_by_its_last_hidden_state() -> None:
    transformers = pytest.importorskip("transformers.modeling_outputs")
    module = Outer(lambda h: transformers.BaseModelOutput(last_hidden_state=h[:, None, :], hidden_states=(h + 1,)))
    torch.testing.assert_close(look(module, ["wrap"], [X]).representations["wrap"], module.wrap.inner(X))


def test_a_shared_module_appears_once_per_call() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = Block(8)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(self.cell(self.cell(x)))

    module = Loop()
    kept = look(module, ["cell"], [X]).representations
    assert list(kept) == ["cell", "cell#2", "cell#3"]
    torch.testing.assert_close(kept["cell#2"], module.cell(module.cell(X)))


def test_silent_layers_are_errors_when_asked_for_and_notes_otherwise() -> None:
    net = nn.ModuleDict({"a": nn.Linear(8, 4), "b": nn.Linear(4, 4), "idle": nn.Linear(4, 4)})
    net.forward = lambda x: net["b"](net["a"](x))
    with pytest.raises(ValueError, match=r"'idle' was never called.*Called were: a, b\. Take it out of .*probe_step="):
        look(net, ["a", "b", "idle"], [X])
    found = look(net, ["a", "b", "idle"], [X], optional=True)
    assert list(found.representations) == ["a", "b"]
    assert "never calls them: idle" in found.notes[0]


def test_layers_without_a_row_per_input_name_both_shapes() -> None:
    module = Outer(lambda h: h.mean(0, keepdim=True))
    with pytest.raises(ValueError, match=r"'wrap' put out shape \(1, 5\); expected one row per .*\(4, \.\.\.\)"):
        look(module, ["wrap"], [X])
    assert "(1, 5)" in look(module, ["wrap", "wrap.inner"], [X], optional=True).notes[0]


def test_hooks_are_gone_after_an_error() -> None:
    module = Outer(lambda h: h[:2])
    with pytest.raises(ValueError, match="wrap"):
        capture(module, ["wrap", "wrap.inner"], [X], module)
    assert not any(child._forward_hooks for child in module.modules())


@pytest.mark.parametrize("batch_first", [True, False])
def test_padding_and_batch_order_of_pytorchs_transformer(batch_first: bool) -> None:
    """With a padding mask, its fast path hands hooks nested tensors; padding must not count either way."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, x: Tensor, padding_mask: Tensor) -> Tensor:
            h = self.encoder(x if batch_first else x.transpose(0, 1), src_key_padding_mask=padding_mask)
            return h if batch_first else h.transpose(0, 1)

    module = Encoder().eval()
    x = torch.randn(3, 5, 8)
    padding = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]]).bool()
    kept = look(module, ["encoder.layers.0", "encoder.layers.1"], [{"x": x, "padding_mask": padding}]).representations
    for row, length in enumerate((3, 2, 4)):
        alone = module(x[row : row + 1, :length], padding[row : row + 1, :length])
        torch.testing.assert_close(kept["encoder.layers.1"][row], alone[0].mean(0))


def test_packed_sequences_are_padded_and_masked() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 6, batch_first=True)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            return self.lstm(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))

    module = Recurrent()
    x, lengths = torch.randn(3, 5, 8), torch.tensor([2, 5, 3])
    kept = look(module, ["lstm"], [{"x": x, "lengths": lengths}]).representations["lstm"]
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(kept[row], module.lstm(x[row : row + 1, :length])[0][0].mean(0))


def test_one_dimensional_convolutions_keep_their_channels() -> None:
    net = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU())
    x = torch.randn(4, 2, 9)
    torch.testing.assert_close(look(net, ["0"], [x]).representations["0"], net[0](x).mean(2))


def test_a_mask_that_does_not_fit_is_said() -> None:
    module = Outer(lambda h: h[:, None, :].repeat(1, 3, 1))
    batch = {"x": X, "attention_mask": torch.ones(4, 6, dtype=torch.long)}
    with undisturbed(module):
        found = capture(module, ["wrap"], [batch], lambda batch: module(batch["x"]))
    assert "6 positions and the output 3" in found.notes[0]


def test_unequal_widths_over_batches_name_the_layer() -> None:
    module = Outer(lambda h: h)
    module.wrap.inner = nn.Identity()
    with pytest.raises(ValueError, match="'wrap' gave 3 and 4 values per input"):
        look(module, ["wrap"], [torch.randn(2, 3), torch.randn(2, 4)], pooling="flatten")


def test_compiled_modules_still_fire() -> None:
    net = plain_net()
    compiled = torch.compile(net, backend="eager")
    with torch.no_grad():
        compiled.eval()(X)  # warm: hooks added now would silently not fire
    torch.testing.assert_close(look(compiled, ["1", "6"], [X]).representations["1"], net[:2](X))


def test_lightning_modules_probe_through_their_forward(tmp_path: Any) -> None:
    class Silent(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = plain_net()

        def forward(self, x: Tensor) -> Tensor:
            self.log("seen", x.sum())  # would raise outside a Trainer's loops
            return self.net(x)

    assert list(look(Silent(), ["net.1", "net.3"], [(X, Y)]).representations) == ["net.1", "net.3"]


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).relu().to_sparse()


class Quantised(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.quantize_per_tensor(x, 0.5, 0, torch.qint8)


@pytest.mark.parametrize("layer", [Sparse(), Quantised()], ids=["sparse", "quantised"])
def test_outputs_that_are_stored_in_another_way_are_their_values(layer: nn.Module) -> None:
    module = nn.Sequential(layer)
    put_out = module(X)
    expected = put_out.dequantize() if put_out.is_quantized else put_out.to_dense()
    torch.testing.assert_close(look(module, ["0"], [X]).representations["0"], expected)
    ((path, leaf),) = outputs.output_leaves((None, put_out))
    assert path == "[1]"
    torch.testing.assert_close(leaf, expected)


class OneByOne(nn.Module):
    """Its inner layers see one input at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.vmap(self.inner)(x)


@pytest.mark.parametrize(
    ("module", "silent", "why"),
    [
        (nn.Sequential(OneByOne()), "0.inner", "inside torch.vmap or torch.func, where it sees one input at a time"),
        (Outer(lambda h: h.to("meta")), "wrap", "on the meta device, which holds no values"),
    ],
    ids=["vmap", "meta"],
)
def test_outputs_that_nothing_can_be_read_from_are_named(module: nn.Module, silent: str, why: str) -> None:
    around = [name for name, _ in module.named_modules() if name and name != silent]
    with pytest.raises(ArgumentError, match=f"Layer '{silent}' cannot be read: .*{why}"):
        look(module, [*around, silent], [X])
    found = look(module, [*around, silent], [X], optional=True)
    assert list(found.representations) == around
    assert any(silent in note and why in note for note in found.notes)


def test_a_module_whose_name_looks_like_a_second_call_is_itself() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleDict({"a": Block(8), "a#2": Block(8)})

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks["a#2"](self.blocks["a"](self.blocks["a"](x)))

    module = Net()
    kept = look(module, ["blocks.a", "blocks.a#2#1"], [X]).representations
    assert list(kept) == ["blocks.a", "blocks.a#2", "blocks.a#2#1"]
    first, second = module.blocks.values()
    torch.testing.assert_close(kept["blocks.a#2"], first(first(X)))
    torch.testing.assert_close(kept["blocks.a#2#1"], second(first(first(X))))
    with undisturbed(module):
        full = trace(module, lambda: module(X))
        assert asked_layers(module, full, ["blocks.a#2"]).layers == ("blocks.a#2#1",)
        assert asked_layers(module, full, ["blocks.a#*"]).layers == ("blocks.a", "blocks.a#2")
    assert [module_of(key) for key in kept] == ["blocks.a", "blocks.a", "blocks.a#2"]
