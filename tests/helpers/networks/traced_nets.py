"""Networks that are told how to run, and what is chosen of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lightning_gw.activations.layers.choice import Choice, choose_layers
from lightning_gw.activations.layers.trace import trace

X = torch.randn(3, 12)


def chosen(net: nn.Module, *inputs: Any, **keywords: Any) -> Choice:
    net.eval()
    with torch.no_grad():
        return choose_layers(net, trace(net, lambda: net(*inputs, **keywords), 3))


def numbered(pattern: str, count: int) -> list[str]:
    return [pattern.format(k) for k in range(count)]


class Net(nn.Module):
    """Does what it is told with the modules it holds."""

    def __init__(self, forward: Any, **children: nn.Module) -> None:
        super().__init__()
        self.how = forward
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, *inputs: Any) -> Any:
        return self.how(self, *inputs)
