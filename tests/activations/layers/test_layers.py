"""Which modules count as layers."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from callback_nets import Block, ResNet
from torch import Tensor, nn

from lightning_gw.activations.layers.choice import choose_layers
from lightning_gw.activations.layers.names import match_layers, named_layers
from lightning_gw.activations.layers.trace import trace


class Stacked(nn.Module):
    """Tokens through blocks to heads, each of which reads what comes out at the end."""

    def __init__(self, *blocks: nn.Module, heads: int = 1, vocabulary: int = 11, width: int = 12) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(blocks)
        self.heads = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 11)) for _ in range(heads))

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.embed(x).mean(1)
        for block in self.blocks:
            h = block(h)
        return [head(h) for head in self.heads]


def residual_mlp() -> nn.Module:
    return Stacked(*(Block() for _ in range(9)), heads=9)


def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    )
    return transformers.BertModel(config)


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = Tower(), Tower()

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) * self.right(x)


def chosen(net: nn.Module, *inputs: Tensor) -> Any:
    with torch.no_grad():
        return choose_layers(net, trace(net, lambda: net(*inputs), len(inputs[0])))


IDS = torch.arange(12).reshape(3, 4) % 11


@pytest.mark.parametrize(
    ("net", "inputs", "expected"),
    [
        pytest.param(residual_mlp(), IDS, ["embed", *(f"blocks.{k}" for k in range(9))], id="residual MLP"),
        pytest.param(ResNet(), torch.randn(2, 1, 6, 6), ["layer1.0", "layer1.1", "layer2.0", "layer2.1"], id="ResNet"),
        pytest.param(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32), 3, enable_nested_tensor=False).eval(),
            torch.randn(5, 2, 16),
            ["layers.0", "layers.1", "layers.2"],
            id="TransformerEncoder",
        ),
        pytest.param(
            nn.Sequential(
                nn.Linear(4, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)
            ),
            torch.randn(2, 4),
            ["2", "5", "6"],
            id="Sequential",
        ),
        pytest.param(
            nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Sequential(nn.Linear(4, 4), nn.Tanh())),
            torch.randn(2, 4),
            ["0.1", "1.1"],
            id="nested Sequential",
        ),
        pytest.param(
            nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 4)),
            torch.randn(2, 4),
            ["1", "2"],
            id="spectral norm",
        ),
        pytest.param(
            Towers(),
            torch.randn(2, 12),
            [f"{side}.blocks.{k}" for side in ("left", "right") for k in range(3)],
            id="two towers",
        ),
    ],
)
def test_chooses_what_a_person_would(net: nn.Module, inputs: Tensor, expected: list[str]) -> None:
    assert list(chosen(net, inputs).layers) == expected


class Trunk(nn.Module):
    """A trunk of linear layers with heads side by side, in lists of ``nn.Sequential``."""

    def __init__(self, width: int, heads: int = 3) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.heads = nn.ModuleList(nn.Sequential(nn.Linear(width, 2), nn.Sigmoid()) for _ in range(heads))

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.trunk(x)
        return [head(h) for head in self.heads]


def listed(*blocks: nn.Module) -> nn.Module:
    # Most of the parameters are in the embedding, and none that a block could hold.
    return Stacked(*blocks, vocabulary=1000, width=4)


def mlp(*extra: nn.Module, width: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(4), nn.Linear(4, width), nn.GELU(), nn.Linear(width, 4), *extra)


@pytest.mark.parametrize(
    ("net", "inputs", "expected"),
    [
        pytest.param(
            listed(mlp(), mlp(width=6), mlp()), IDS, ["embed", "blocks.0", "blocks.1", "blocks.2"], id="alike"
        ),
        pytest.param(listed(mlp(Block(4)), mlp(Block(4))), IDS, ["embed", "blocks.0", "blocks.1"], id="blocks inside"),
        pytest.param(
            listed(mlp(), mlp(nn.Tanh())),
            IDS,
            ["embed", "blocks.0.2", "blocks.0.3", "blocks.1.2", "blocks.1.4", "heads.0.1"],
            id="unlike",
        ),
        pytest.param(
            Trunk(16), torch.randn(2, 4), ["trunk.1", "trunk.3", "heads.0.1", "heads.1.1", "heads.2.1"], id="heads"
        ),
    ],
)
def test_sequentials_in_a_list_are_blocks_if_they_are_alike_and_make_up_the_network(
    net: nn.Module, inputs: Tensor, expected: list[str]
) -> None:
    assert list(chosen(net, inputs).layers) == expected


def test_bert_gives_embeddings_and_layers() -> None:
    assert chosen(bert(), IDS).layers == ("embeddings", "encoder.layer.0", "encoder.layer.1", "encoder.layer.2")


def test_a_shared_activation_does_not_stand_for_the_layers_it_follows() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 4), relu)
    assert chosen(net, torch.randn(2, 4)).layers == ("0", "2")


def test_one_layer_is_not_enough() -> None:
    with pytest.raises(ValueError, match=r"at least 2 are needed.*layers=\[\.\.\.\]"):
        chosen(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.randn(2, 4))


def test_names_and_globs_come_in_the_order_of_the_network() -> None:
    net = residual_mlp()
    assert match_layers(net, ["blocks.7", "embed", "blocks.1"]) == ("embed", "blocks.1", "blocks.7")
    assert match_layers(net, "blocks.*") == tuple(f"blocks.{k}" for k in range(9))
    assert match_layers(net, "blocks.[0-2]") == ("blocks.0", "blocks.1", "blocks.2")
    assert match_layers(net, "**.mlp.3") == tuple(f"blocks.{k}.mlp.3" for k in range(9))


def test_unknown_names_are_errors_with_near_names() -> None:
    with pytest.raises(ValueError, match=r"'block\.3' names no module.*blocks\.3"):
        match_layers(residual_mlp(), ["blocks.1", "block.3"])
    with pytest.raises(ValueError, match=r"'blocks' is a ModuleList.*'blocks\.\*'"):
        match_layers(residual_mlp(), "blocks")


def test_all_that_is_wrong_with_the_names_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="names no module") as caught:
        match_layers(residual_mlp(), ["block.3", "blocks.1", "head.0", "blocks"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert re.match(r"layers='block\.3' names no module of Stacked\. Near names: .*blocks\.3", lines[0])
    assert re.match(r"layers='head\.0' names no module of Stacked\. Near names: .*heads\.0", lines[1])
    assert lines[2].startswith("layers='blocks' is a ModuleList")


def test_compiled_modules_keep_their_natural_names() -> None:
    net = residual_mlp()
    natural = list(named_layers(net))
    net.blocks[1] = torch.compile(net.blocks[1], backend="eager")
    assert list(named_layers(net)) == natural
    assert list(named_layers(torch.compile(net, backend="eager"))) == natural


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("block.*", "Near names: blocks.*"),
        ("blocks.12", "In blocks are blocks.0 to blocks.8."),
        ("heads.a", "In heads are heads.0 to heads.8."),
    ],
)
def test_layers_that_are_not_there_bring_to_mind_those_that_are(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        match_layers(residual_mlp(), [pattern])
