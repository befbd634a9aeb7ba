"""Layers are chosen from what a forward pass does, along the flow of data; what is left out is said."""

from __future__ import annotations

import pytest
import torch
from callback_nets import Block
from torch import Tensor, nn
from traced_nets import Net, X, chosen, numbered

from lightning_gw.activations.layers.choice import thinned
from lightning_gw.activations.layers.trace import trace
from lightning_gw.activations.running.settle import asked_layers

IDS = torch.arange(12).reshape(3, 4) % 11


class Chain(nn.Module):
    """Blocks one after the other."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def chain(count: int, width: int = 12) -> Chain:
    return Chain(*(Block(width) for _ in range(count)))


def test_a_frozen_teacher_that_forward_never_calls_is_no_candidate() -> None:
    net = Net(lambda self, x: self.student(x), teacher=chain(9), student=chain(3))
    net.teacher.requires_grad_(False)
    choice = chosen(net, X)
    assert list(choice.layers) == numbered("student.blocks.{}", 3)
    assert "teacher (never called by forward)" in choice.left_out


def test_a_frozen_teacher_that_is_called_but_feeds_nothing_is_left_out() -> None:
    net = Net(lambda self, x: (self.student(x) - self.teacher(x)).square(), teacher=chain(9), student=chain(3))
    net.teacher.requires_grad_(False)
    choice = chosen(net, X)
    assert list(choice.layers) == numbered("student.blocks.{}", 3)
    assert "frozen, and nothing that trains uses what they put out" in choice.left_out


def test_a_frozen_backbone_under_a_head_that_trains_is_looked_at() -> None:
    net = Net(lambda self, x: self.head(self.body(x)), body=chain(3), head=nn.Linear(12, 3))
    net.body.requires_grad_(False)
    assert list(chosen(net, X).layers) == numbered("body.blocks.{}", 3)


def test_encoder_decoders_show_both_stacks_in_order_of_call() -> None:
    net = nn.Transformer(16, 2, 3, 2, 32, batch_first=True)
    choice = chosen(net, torch.randn(3, 5, 16), torch.randn(3, 4, 16))
    assert list(choice.layers) == [*numbered("encoder.layers.{}", 3), *numbered("decoder.layers.{}", 2)]
    assert [len(part) for part in choice.sequences] == [3, 2]  # what a decoder works on is none of the encoder's


def test_huggingface_encoder_decoders() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 30, "d_model": 16, "num_heads": 2}
    t5 = transformers.T5Model(transformers.T5Config(**sizes, d_kv=8, d_ff=32, num_layers=2, decoder_start_token_id=0))
    choice = chosen(t5, input_ids=IDS, decoder_input_ids=IDS)
    assert list(choice.layers[1:]) == [*numbered("encoder.block.{}", 2), *numbered("decoder.block.{}", 2)]
    assert [part[-1] for part in choice.sequences] == ["encoder.block.1", "decoder.block.1"]
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = transformers.WhisperConfig(
        vocab_size=30,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        max_source_positions=10,
        num_mel_bins=4,
        **heads,
        **tokens,
    )
    choice = chosen(transformers.WhisperModel(config), input_features=torch.randn(3, 4, 20), decoder_input_ids=IDS)
    assert [name for name in choice.layers if "layers" in name] == [
        *numbered("encoder.layers.{}", 2),
        *numbered("decoder.layers.{}", 2),
    ]


class Conditioned(nn.Module):
    """A block that is given something beside what it works on, before it or after it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear, self.beside = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + self.linear(first).relu() + self.beside(second)


class Last(Conditioned):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return super().forward(second, first)


@pytest.mark.parametrize("kind", [Conditioned, Last], ids=["states first", "states last"])
def test_what_every_block_is_given_begins_no_sequence(kind: type[Conditioned]) -> None:
    def run(self: Net, x: Tensor) -> Tensor:
        beside, states = x * 2, self.blocks[0](x, x)
        for block in self.blocks[1:]:
            states = block(states, beside) if kind is Conditioned else block(beside, states)
        return states

    choice = chosen(Net(run, blocks=nn.ModuleList(kind(12) for _ in range(4))), X)
    assert [list(part) for part in choice.sequences] == [numbered("blocks.{}", 4)]


def test_a_decoder_with_arguments_of_its_own_names_is_a_sequence() -> None:
    def run(self: Net, x: Tensor) -> Tensor:
        context = self.encoder(x)
        states = self.start.expand(len(x), -1)
        for block in self.decoder:
            states = block(states, context)
        return states

    decoder = nn.ModuleList(Conditioned(12) for _ in range(3))
    net = Net(run, encoder=nn.Sequential(*(Block(12) for _ in range(3))), decoder=decoder)
    net.start = nn.Parameter(torch.randn(1, 12))
    choice = chosen(net, X)
    assert [list(part) for part in choice.sequences] == [numbered("encoder.{}", 3), numbered("decoder.{}", 3)]


class ConvBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(self.one(x).relu())


class Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(inputs, outputs, 2, 2)
        self.blocks = nn.Sequential(*(ConvBlock(outputs) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.down(x))


def test_blocks_are_taken_and_not_the_stages_they_are_in() -> None:
    net = nn.Sequential(Stage(3, 4, 2), Stage(4, 6, 2), Stage(6, 8, 3))
    layers = chosen(net, torch.randn(3, 3, 16, 16)).layers
    assert list(layers) == [f"{stage}.blocks.{k}" for stage, count in enumerate((2, 2, 3)) for k in range(count)]


class Dense(nn.Module):
    """Every layer is fed what all before it put out."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Net(
                lambda self, x: self.conv(self.squeeze(x)),
                squeeze=nn.Conv2d(width + 4 * k, 8, 1),
                conv=nn.Conv2d(8, 4, 3, 1, 1),
            )
            for k in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return torch.cat(found, 1)


def test_layers_of_dense_stages_are_taken() -> None:
    net = nn.Sequential(Dense(4, 6), Dense(28, 6))
    assert len(chosen(net, torch.randn(3, 4, 6, 6)).layers) == 12


class Other(ConvBlock):
    """A block of another class."""


class Halving(ConvBlock):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :, ::2, ::2]


def test_blocks_of_other_classes_in_the_same_row_are_not_lost() -> None:
    net = Net(
        lambda self, x: self.head(self.blocks(self.stem(x)).mean((2, 3))),
        stem=nn.Conv2d(3, 4, 3),
        blocks=nn.Sequential(Other(4), ConvBlock(4), ConvBlock(4), Halving(4), ConvBlock(4)),
        head=nn.Linear(4, 2),
    )
    choice = chosen(net, torch.randn(3, 3, 8, 8))
    assert list(choice.layers) == numbered("blocks.{}", 5)
    assert "stem and head (not among the repeated blocks)" in choice.left_out


def test_branches_beside_each_other_are_sequences_of_their_own() -> None:
    def forward(self: Net, x: Tensor) -> list[Tensor]:
        h = self.trunk(x)
        return [self.left(h), self.right(h)]

    net = Net(forward, trunk=chain(2), left=chain(2), right=chain(3))
    choice = chosen(net, X)
    assert [len(part) for part in choice.sequences] == [2, 2, 3]
    assert "beside each other" in choice.sentence


def test_towers_that_take_turns_are_told_apart() -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        left = right = x
        for one, other in zip(self.left.blocks, self.right.blocks, strict=True):
            left, right = one(left), other(right)
        return left * right

    choice = chosen(Net(forward, left=chain(3), right=chain(3)), X)
    assert [list(part) for part in choice.sequences] == [numbered("left.blocks.{}", 3), numbered("right.blocks.{}", 3)]


def test_a_network_that_a_step_calls_three_times_is_no_deeper() -> None:
    net = Net(lambda self, x: self.net(x) + self.net(x + 1) + self.net(x + 2), net=chain(6))
    choice = chosen(net, X)
    assert list(choice.layers) == numbered("net.blocks.{}", 6)
    assert "all but the first of the 3 calls" in choice.left_out
    rollout = Net(lambda self, x: self.net(self.net(self.net(x))), net=chain(6))
    assert list(chosen(rollout, X).layers) == numbered("net.blocks.{}", 6)


def test_a_shared_block_is_one_layer_per_call() -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        for _ in range(self.calls):
            x = self.block(x)
        return x

    net = Net(forward, block=Block())
    net.calls = 5
    assert list(chosen(net, X).layers) == ["block", *(f"block#{k}" for k in range(2, 6))]
    net.calls = 200
    choice = chosen(net, X)
    assert len(choice.layers) == 64
    assert (choice.layers[0], choice.layers[-1]) == ("block", "block#200")
    assert "136 of 200 layers, evenly" in choice.left_out


@pytest.mark.parametrize("cell", [nn.GRUCell(12, 12), nn.RNNCell(12, 12)])
def test_recurrent_cells_are_one_layer_per_call(cell: nn.Module) -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), 12)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h)

    net = Net(forward, cell=cell, head=nn.Linear(12, 2))
    assert list(chosen(net, torch.randn(3, 4, 12)).layers) == ["cell", "cell#2", "cell#3", "cell#4", "head"]


def test_albert_shares_its_block() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.AlbertConfig(
        vocab_size=30,
        hidden_size=16,
        embedding_size=8,
        num_hidden_layers=6,
        num_attention_heads=2,
        intermediate_size=32,
    )
    layers = chosen(transformers.AlbertModel(config), IDS).layers
    assert layers[0] == "embeddings"
    assert [name.partition("#")[2] for name in layers[1:]] == ["", "2", "3", "4", "5", "6"]


def test_more_layers_than_are_worth_their_cost_are_thinned_evenly() -> None:
    choice = chosen(chain(100), X)
    assert len(choice.layers) == 64
    assert (choice.layers[0], choice.layers[-1]) == ("blocks.0", "blocks.99")
    assert "36 of 100 layers, evenly" in choice.left_out
    assert [len(part) for part in thinned([list("ab"), [str(k) for k in range(98)]], 12)] == [2, 9]


def test_a_language_model_of_characters_begins_with_its_tokens_not_its_positions() -> None:
    def forward(self: Net, ids: Tensor) -> Tensor:
        return self.head(self.body(self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))))

    net = Net(
        forward, positions=nn.Embedding(64, 12), tokens=nn.Embedding(11, 12), body=chain(3), head=nn.Linear(12, 11)
    )
    assert list(chosen(net, IDS).layers) == ["tokens", *numbered("body.blocks.{}", 3)]


def test_the_stem_of_a_residual_network_is_no_embedding() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[2, 2], layer_type="basic")
    layers = chosen(transformers.ResNetModel(config), torch.randn(3, 3, 32, 32)).layers
    assert list(layers) == [f"encoder.stages.{stage}.layers.{k}" for stage in range(2) for k in range(2)]


def test_an_autoencoder_shows_the_layers_of_both_halves() -> None:
    def half() -> nn.Module:
        return type("Half", (nn.Sequential,), {})(
            nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12)
        )

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = half()

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    choice = chosen(Net(lambda self, x: self.decoder(self.encoder(x)), encoder=Half(), decoder=Half()), X)
    assert len(choice.layers) == 6


def test_asked_for_by_name() -> None:
    shared = chain(2)
    net = Net(lambda self, x: self.dec(self.enc(x)), enc=shared, dec=shared, head=nn.Linear(2, 2))
    full = trace(net.eval(), lambda: net(X), 3)
    choice = asked_layers(net, full, ["enc.blocks.*", "dec.blocks.*"])
    assert {name.split("#")[0] for name in choice.layers} == {"enc.blocks.0", "enc.blocks.1"}
    assert "dec.blocks.0, another name of enc.blocks.0" in choice.left_out
    assert asked_layers(net, full, ["enc.blocks.0#2"]).layers == ("enc.blocks.0#2",)
    assert asked_layers(net, full, "enc.blocks.1#*").layers == ("enc.blocks.1", "enc.blocks.1#2")


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_two_views_of_one_network_do_not_depend_on_each_other(precision: torch.dtype | None) -> None:
    """Autocast keeps what it casts of the weights from one call to the next."""
    net = Net(lambda self, x, y: (self.net(x), self.net(y)), net=chain(3))
    with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
        choice = chosen(net, X, X + 1)
    assert list(choice.layers) == numbered("net.blocks.{}", 3)
    assert len(choice.sequences) == 1
