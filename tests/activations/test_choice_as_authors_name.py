"""What is chosen of networks as their authors wrote them: ways up and down, lists of few blocks, places left empty."""

from __future__ import annotations

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
