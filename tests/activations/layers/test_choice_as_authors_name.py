"""What is chosen of networks as their authors wrote them: ways up and down, lists of few blocks, places left empty."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from callback_nets import Block
from torch import Tensor, nn
from traced_nets import Net, X, chosen, numbered


class TwoConvolutions(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.both = nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.both(x)


class Down(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.both = nn.Sequential(nn.MaxPool2d(2), TwoConvolutions(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.both(x)


class Up(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up, self.conv = nn.ConvTranspose2d(inputs, outputs, 2, 2), TwoConvolutions(inputs, outputs)

    def forward(self, x: Tensor, across: Tensor) -> Tensor:
        return self.conv(torch.cat([across, self.up(x)], 1))


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_both_ways_of_a_u_net_are_named_as_its_author_did(depth: int) -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        found = [self.inc(x)]
        for k in range(depth):
            found.append(getattr(self, f"down{k}")(found[-1]))
        x = found.pop()
        for k in range(depth):
            x = getattr(self, f"up{k}")(x, found.pop())
        return self.out(x)

    widths = [4 * 2**k for k in range(depth + 1)]
    downs = {f"down{k}": Down(*widths[k : k + 2]) for k in range(depth)}
    ups = {f"up{k}": Up(*reversed(widths[depth - k - 1 : depth - k + 1])) for k in range(depth)}
    net = Net(forward, inc=TwoConvolutions(3, 4), **downs, **ups, out=nn.Conv2d(4, 2, 1))
    layers = list(chosen(net, torch.randn(3, 3, 32, 32)).layers)
    assert [name for name in layers if name != "inc"] == [*downs, *ups]


def test_blocks_that_stand_in_a_list_are_blocks_however_few_they_are() -> None:
    """As in N-BEATS: what a block explains is taken off what the next one is given."""

    class Trend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12))

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x)

    def forward(self: Net, x: Tensor) -> Tensor:
        for block in self.net_blocks:
            x = x - block(x)
        return x

    layers = chosen(Net(forward, net_blocks=nn.ModuleList(Trend() for _ in range(3))), X).layers
    assert list(layers) == numbered("net_blocks.{}", 3)


def test_places_that_an_author_left_empty_are_passed_over() -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        for _, layer in self.rows:
            x = x + layer(x)
        return self.out[0](x)

    rows = nn.ModuleList(nn.ModuleList([None, Block()]) for _ in range(3))
    layers = chosen(Net(forward, rows=rows, out=nn.Sequential(nn.Linear(12, 12), None, nn.ReLU())), X).layers
    assert list(layers) == numbered("rows.{}.1", 3)

    class Skips(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            for layer in self:
                x = x if layer is None else layer(x)
            return x

    plain = Net(lambda self, x: self.one(x), one=nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3)))
    plain.one = Skips(nn.Linear(12, 12), None, nn.ReLU(), nn.Linear(12, 3))
    assert list(chosen(plain, X).layers) == ["one.2", "one.3"]


class Attention(nn.Module):
    """Several heads, each with projections of its own, as forecasting networks write them."""

    def __init__(self, width: int = 12, heads: int = 2) -> None:
        super().__init__()
        self.queries = nn.ModuleList(nn.Linear(width, width // heads) for _ in range(heads))
        self.keys = nn.ModuleList(nn.Linear(width, width // heads) for _ in range(heads))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        pairs = zip(self.queries, self.keys, strict=True)
        return self.out(torch.cat([query(x) * key(x).softmax(-1) for query, key in pairs], -1))


class Gated(nn.Module):
    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.first, self.gate = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | float = 0.0) -> Tensor:
        return x + self.first(x + context).relu() * self.gate(x).sigmoid()


def test_contexts_and_gates_beside_the_way_through_do_not_cut_it() -> None:
    """As in a temporal fusion transformer: every step has a way around it, and static contexts come in at several."""

    def run(self: Net, x: Tensor) -> Tensor:
        static = self.static(x)
        past = self.past(x, self.choosing(static))
        future = self.future(x.flip(-1))
        joined = self.recurrent(past) + future
        enriched = self.enrichment(joined, self.enriching(static))
        return joined + self.forward_block(enriched + self.attention(enriched))

    names = "static", "choosing", "past", "future", "recurrent", "enriching", "enrichment", "forward_block"
    held: dict[str, nn.Module] = {name: Gated() for name in names}
    choice = chosen(Net(run, **held, attention=Attention()), X)
    way, *beside = [list(part) for part in choice.sequences]
    assert way == ["static", "choosing", "past", "recurrent", "enrichment", "attention", "forward_block"]
    assert beside == [["future"], ["enriching"]]


def test_what_lies_beside_each_other_within_one_step_is_one_layer() -> None:
    class Inception(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.narrow, self.pre, self.wide = nn.Linear(12, 4), nn.Linear(12, 4), nn.Linear(4, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.narrow(x), self.wide(self.pre(x).relu())], -1)

    parts = {"stem": nn.Linear(12, 12), "mixed": Inception(), "attention": Attention(), "last": nn.Linear(12, 12)}
    net = Net(lambda self, x: self.last(self.attention(self.mixed(self.stem(x)))), **parts)
    assert [list(part) for part in chosen(net, X).sequences] == [["stem", "mixed", "attention", "last"]]


def test_heads_and_towers_beside_each_other_are_no_step() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.spread = nn.Linear(12, 12), nn.Linear(12, 12)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.mean(x), self.spread(x)

    parts = {"one": nn.Linear(12, 12), "two": nn.Linear(12, 12), "three": nn.Linear(12, 12), "heads": Heads()}
    net = Net(lambda self, x: self.heads(self.three(self.two(self.one(x).relu()).relu()).relu()), **parts)
    parted = [list(part) for part in chosen(net, X).sequences]
    assert parted == [["one", "two", "three"], ["heads.mean"], ["heads.spread"]]


def test_message_passing_is_one_layer_per_call_of_one_pass() -> None:
    """A step that runs the network once for the loss and once more for a metric makes it no deeper."""

    def once(self: Net, x: Tensor) -> Tensor:
        states = begun = self.begin(x)
        for _ in range(3):
            states = (begun + self.message(states)).relu()
        return self.end(states)

    parts = {name: nn.Linear(12, 12) for name in ("begin", "message", "end")}
    twice = Net(lambda self, x: once(self, x) + once(self, x).detach(), **parts)
    assert list(chosen(twice, X).layers) == ["begin", "message", "message#2", "message#3", "end"]


def test_a_backbone_goes_on_where_heads_begin_at_each_of_its_stages() -> None:
    def run(self: Net, x: Tensor) -> list[Tensor]:
        found = []
        for block, head in zip(self.backbone, self.heads, strict=True):
            x = block(x)
            found.append(head(x))
        return found

    heads = nn.ModuleList(nn.Sequential(Gated(), Gated()) for _ in range(3))
    net = Net(run, backbone=nn.ModuleList(Block(12) for _ in range(3)), heads=heads)
    parted = [list(part) for part in chosen(net, X).sequences]
    assert parted[0] == [*numbered("backbone.{}", 3), "heads.2.0", "heads.2.1"]
    assert parted[1:] == [["heads.0.0", "heads.0.1"], ["heads.1.0", "heads.1.1"]]


def test_encoders_with_a_decoder_between_them_are_made_of_the_layers_that_are_meant() -> None:
    """As in GANomaly, which encodes once more what it decoded."""

    class Coder(nn.Module):
        def __init__(self, *widths: int) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x).relu()
            return x

    class Decoder(Coder):
        pass

    parts = {"encoder1": Coder(12, 8, 8, 4), "decoder": Decoder(4, 8, 8, 12), "encoder2": Coder(12, 8, 8, 4)}
    net = Net(lambda self, x: self.encoder2(self.decoder(self.encoder1(x))), **parts)
    assert list(chosen(net, X).layers) == [f"{part}.layers.{k}" for part in parts for k in range(3)]
