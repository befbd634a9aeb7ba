"""Networks that can be read after every block: a residual MLP, a transformer, a ConvNet, and two without residuals.

All share one interface: a stem makes the state, blocks change it, and `LayeredNet.pooled` says which ``(B, d)`` of it
heads and probes look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmarks.planted.grid.families import OPERANDS
from tasks.algebra.model import OperandEmbedding, ResidualBlock


@contextmanager
def _statistics_of_the_batch(net: nn.Module) -> Iterator[None]:
    """BatchNorm normalises by the batch it sees, and forgets afterwards that it saw it; it is left in training mode."""
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for buffer, before in kept:
            buffer.copy_(before)


class LayeredNet(nn.Module):
    """A stem, blocks, and after every block a head that can read every stage.

    Args:
        stem: Input to state.
        blocks: State to state.
        width: Size d of the pooled state, or its size after each block.
        classes: Outputs of a head, stage by stage.
        pool: State to ``(B, d)``.
        spread: ``(B, d)`` to what is added to a state so that `pool` sees just that: the way back.
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: Sequence[nn.Module],
        width: int | Sequence[int],
        classes: Sequence[int],
        pool: Callable[[Tensor], Tensor] = torch.positive,
        spread: Callable[[Tensor, Tensor], Tensor] = torch.add,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.classes = tuple(classes)
        widths = [width] * len(blocks) if isinstance(width, int) else list(width)
        self.width = widths[-1]
        self.pooled = pool
        self.spread = spread
        self.heads = nn.ModuleList(nn.Sequential(nn.LayerNorm(size), nn.Linear(size, sum(classes))) for size in widths)

    def forward(self, x: Tensor, depth: int | None = None) -> list[Tensor]:
        """Pooled states ``(B, d)`` after each of the first `depth` blocks; all blocks when left out."""
        h = self.stem(x)
        states = []
        for block in self.blocks[:depth]:
            h = block(h)
            states.append(self.pooled(h))
        return states

    def read(self, state: Tensor, layer: int, stage: int) -> Tensor:
        """Logits ``(B, classes[stage])`` of one head for one stage."""
        return self.heads[layer](state).split(self.classes, dim=-1)[stage]

    @torch.no_grad()
    def look(self, x: Tensor) -> dict[str, Tensor]:
        """Representations of probe inputs: ``"layer 1"`` and so on to float32 ``(n, d)``.

        BatchNorm is read by the statistics of the probe itself, all of it being one batch, at every look alike: before
        training there are no others, and a change of statistics would look like a change of what layers compute. What
        it has gathered while training stays as it is.
        """
        training = self.training
        self.eval()
        with _statistics_of_the_batch(self):
            found = {f"layer {k + 1}": state.clone() for k, state in enumerate(self(x))}
        self.train(training)
        return found


class TokenEmbedding(nn.Module):
    """Operands as tokens followed by one "=" token: ``(B, positions)`` to ``(B, positions + 1, d)``."""

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(OPERANDS + 1, width)
        self.position = nn.Parameter(torch.randn(positions + 1, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.token(nn.functional.pad(x, (0, 1), value=OPERANDS)) + self.position


class AttentionBlock(nn.Module):
    """Pre-norm self-attention and perceptron, each added to the state ``(B, t, d)``."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.perceptron = ResidualBlock(width, hidden)

    def forward(self, h: Tensor) -> Tensor:
        batch, tokens, width = h.shape
        projected = self.project(self.attention_norm(h)).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (B, heads, t, d / heads)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        h = h + self.output(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return self.perceptron(h)


class ConvBlock(nn.Module):
    """Two pre-norm 3 × 3 convolutions, added to the state ``(B, channels, h, w)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(nn.functional.gelu(self.first(self.norm(h))))


def last_token(h: Tensor) -> Tensor:
    """``(B, t, d)`` to ``(B, d)``."""
    return h[:, -1]


def _spread_to_last_token(h: Tensor, code: Tensor) -> Tensor:
    return torch.cat([h[:, :-1], h[:, -1:] + code[:, None]], dim=1)


def mean_over_space(h: Tensor) -> Tensor:
    """``(B, channels, h, w)`` to ``(B, channels)``."""
    return h.mean(dim=(2, 3))


def _spread_over_space(h: Tensor, code: Tensor) -> Tensor:
    return h + code[:, :, None, None]


def mlp(layers: int, inputs: int, classes: Sequence[int], width: int = 96) -> LayeredNet:
    """Residual MLP on operands, the one of `tasks.algebra`; `inputs` is the number of positions."""
    blocks = [ResidualBlock(width, 2 * width) for _ in range(layers)]
    return LayeredNet(OperandEmbedding(inputs, OPERANDS, width), blocks, width, classes)


def transformer(layers: int, inputs: int, classes: Sequence[int], width: int = 48) -> LayeredNet:
    """Transformer on operands, read at "="; `inputs` is the number of positions."""
    blocks = [AttentionBlock(width, 2 * width, heads=4) for _ in range(layers)]
    return LayeredNet(TokenEmbedding(inputs, width), blocks, width, classes, last_token, _spread_to_last_token)


def convnet(layers: int, inputs: int, classes: Sequence[int], width: int = 24) -> LayeredNet:
    """Residual ConvNet on 8 × 8 images, read as the mean over space; `inputs` is the number of channels."""
    stem = nn.Conv2d(inputs, width, 3, stride=2, padding=1)
    blocks = [ConvBlock(width) for _ in range(layers)]
    return LayeredNet(stem, blocks, width, classes, mean_over_space, _spread_over_space)


def residual(layers: int, inputs: int, classes: Sequence[int], width: int = 64) -> LayeredNet:
    """Residual MLP on vectors of size `inputs`."""
    blocks = [ResidualBlock(width, 2 * width) for _ in range(layers)]
    return LayeredNet(nn.Linear(inputs, width), blocks, width, classes)


def linear(layers: int, inputs: int, classes: Sequence[int], width: int = 64) -> LayeredNet:
    """Deep linear network on vectors of size `inputs`, initialised to keep the size of its state."""
    blocks = [nn.Linear(width, width, bias=False) for _ in range(layers)]
    for block in blocks:
        nn.init.normal_(block.weight, std=width**-0.5)
    return LayeredNet(nn.Linear(inputs, width), blocks, width, classes)


def plain(layers: int, inputs: int, classes: Sequence[int], width: int = 64) -> LayeredNet:
    """Deep perceptron without residual connections on vectors of size `inputs`."""
    blocks = []
    for _ in range(layers):
        weight = nn.Linear(width, width)
        nn.init.normal_(weight.weight, std=(5 / 3) * width**-0.5)  # the gain that tanh needs
        blocks.append(nn.Sequential(weight, nn.Tanh()))
    return LayeredNet(nn.Linear(inputs, width), blocks, width, classes)


#: Architecture to what builds it from (layers, inputs, classes).
ARCHITECTURES: Mapping[str, Callable[[int, int, Sequence[int]], LayeredNet]] = {
    "mlp": mlp,
    "transformer": transformer,
    "convnet": convnet,
    "residual": residual,
    "linear": linear,
    "plain": plain,
}
