"""Small networks that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

INPUTS = 17
WIDTH = 8


class Drift(nn.Module):
    """Residual layers that all do alike: depth without blocks. All its parts have ``reset_parameters``."""

    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        states = {}
        for k, layer in enumerate(self.layers):
            x = x + torch.tanh(layer(x))
            states[f"layer{k}"] = x
        return states


class CustomStart(LightningModule):
    """Weights drawn in a way that ``reset_parameters`` cannot know: it would make every layer alike."""

    def __init__(self, depth: int = 6, steep: float = 4.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = Drift(depth)
        for k, layer in enumerate(self.net.layers):
            nn.init.normal_(layer.weight, std=0.1 * (steep if k == depth // 2 else 1.0))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.net(x)


class Convolutions(nn.Module):
    """Convolutions that widen once, with batch normalisation: an architecture with a step of its own."""

    def __init__(self, widths: tuple[int, ...] = (4, 4, 4, 8, 8, 8)) -> None:
        super().__init__()
        pairs = zip((1, *widths[:-1]), widths, strict=True)
        self.layers = nn.ModuleList(nn.Conv1d(one, other, 3, padding=1) for one, other in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width, track_running_stats=False) for width in widths)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x, states = x[:, None], {}
        for k, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = torch.relu(norm(layer(x)))
            states[f"layer{k}"] = x.flatten(1)
        return states


def probe(seed: int = 0, n: int = INPUTS) -> Tensor:
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed))


def represent_on(x: Tensor) -> Callable[[nn.Module], dict[str, Tensor]]:
    def represent(module: nn.Module) -> dict[str, Tensor]:
        with torch.no_grad():
            return module(x)

    return represent


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Every bit of state, copied."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def planted(
    lengths: tuple[int, ...] = (3, 4, 3), within: float = 0.15, seed: int = 0, n: int = 48
) -> dict[str, Tensor]:
    """Layers that wander a little inside blocks, and look at other things from block to block."""
    generator = torch.Generator().manual_seed(seed)
    layers, k = {}, 0
    for length in lengths:
        x = torch.randn(n, 6, generator=generator)
        for _ in range(length):
            x = x + within * torch.randn(n, 6, generator=generator)
            layers[f"layer{k}"] = x
            k += 1
    return layers
