"""The shapes people train, small: ResNets, a ConvNeXt, a vision transformer and a Llama-like decoder.

They begin as the real ones do: the blocks of a ConvNeXt are all but switched off, those of some ResNets are identities.
`LayeredNet.look` reads BatchNorm by the statistics of the probe itself, at step 0 and after training alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.planted.grid.families import OPERANDS
from benchmarks.planted.grid.networks import AttentionBlock, LayeredNet, last_token, mean_over_space
from benchmarks.planted.grid.shape_grid import AT, OFF

LAYER_SCALE = 1e-6
#: Standard deviation of a Llama's initial weights.
LLAMA_STD = 0.02
#: And of the positions of a vision transformer; real ones begin smaller and train for longer.
POSITION_STD = 0.2
ROTARY_BASE = 10_000.0


class BasicBlock(nn.Module):
    """A ResNet's block: ``(B, before, h, w)`` to ``(B, after, h, w)``, at half the size where the width changes.

    Args:
        before: Channels before.
        after: Channels after.
        identity: Begin the last BatchNorm with weight 0, so that a block of one width begins as the identity.
    """

    def __init__(self, before: int, after: int, identity: bool) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.branch = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        if identity:
            nn.init.zeros_(self.branch[-1].get_parameter("weight"))

    def forward(self, h: Tensor) -> Tensor:
        return torch.relu(self.shortcut(h) + self.branch(h))


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of ``(B, channels, h, w)``."""

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise 5 × 5 convolution and an inverted bottleneck, scaled and added to ``(B, after, h, w)``.

    Where the width changes, a norm and a 2 × 2 convolution of stride 2 come before.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.down: nn.Module = nn.Identity()
        if before != after:
            self.down = nn.Sequential(ChannelNorm(before), nn.Conv2d(before, after, 2, stride=2))
        self.depthwise = nn.Conv2d(after, after, 5, padding=2, groups=after)
        self.bottleneck = nn.Sequential(
            nn.LayerNorm(after), nn.Linear(after, 4 * after), nn.GELU(), nn.Linear(4 * after, after)
        )
        self.scale = nn.Parameter(torch.full((after,), LAYER_SCALE))

    def forward(self, h: Tensor) -> Tensor:
        h = self.down(h)
        changed = self.scale * self.bottleneck(self.depthwise(h).permute(0, 2, 3, 1))  # channels last
        return h + changed.permute(0, 3, 1, 2)


class PatchEmbedding(nn.Module):
    """Patches of 2 × 2 pixels as tokens with positions: ``(B, channels, 8, 8)`` to ``(B, 16, d)``."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, 2, stride=2)
        self.position = nn.Parameter(POSITION_STD * torch.randn(16, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(x).flatten(2).transpose(1, 2) + self.position


class OperandTokens(nn.Embedding):
    """Operands as tokens followed by one "=" token, without positions: ``(B, t)`` to ``(B, t + 1, d)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, (0, 1), value=OPERANDS))


def rotate(x: Tensor) -> Tensor:
    """Rotary positions: turns pairs of features of ``(B, heads, t, size)`` by angles that grow with the position."""
    tokens, half = x.shape[-2], x.shape[-1] // 2
    angles = torch.arange(tokens)[:, None] / ROTARY_BASE ** (torch.arange(half) / half)  # (t, half)
    cos, sin = angles.cos(), angles.sin()
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class LlamaBlock(nn.Module):
    """RMSNorm, causal attention with rotary positions, RMSNorm and SwiGLU, each added to the state ``(B, t, d)``."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.perceptron_norm = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.gate_and_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        batch, tokens, width = h.shape
        projected = self.project(self.attention_norm(h)).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (B, heads, t, d / heads)
        mixed = nn.functional.scaled_dot_product_attention(rotate(query), rotate(key), value, is_causal=True)
        h = h + self.output(mixed.transpose(1, 2).reshape(batch, tokens, width))
        gate, up = self.gate_and_up(self.perceptron_norm(h)).chunk(2, dim=-1)
        return h + self.down(nn.functional.silu(gate) * up)


def _mean_over_tokens(h: Tensor) -> Tensor:
    return h.mean(dim=1)


def resnet(widths: Sequence[int], inputs: int, classes: Sequence[int], identity: bool = False) -> LayeredNet:
    """ResNet of basic blocks on 8 × 8 images, read as the mean over space; `inputs` is the number of channels."""
    stem = nn.Sequential(nn.Conv2d(inputs, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
    blocks = [BasicBlock(before, after, identity) for before, after in pairwise([widths[0], *widths])]
    return LayeredNet(stem, blocks, widths, classes, mean_over_space)


def convnext(widths: Sequence[int], inputs: int, classes: Sequence[int]) -> LayeredNet:
    """ConvNeXt on 8 × 8 images, made larger for its stem of 2 × 2 patches; read as the mean over space."""
    stem = nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(inputs, widths[0], 2, stride=2), ChannelNorm(widths[0])
    )
    blocks = [ConvNeXtBlock(before, after) for before, after in pairwise([widths[0], *widths])]
    return LayeredNet(stem, blocks, widths, classes, mean_over_space)


def vit(widths: Sequence[int], inputs: int, classes: Sequence[int]) -> LayeredNet:
    """Vision transformer on 8 × 8 images, read as the mean over its patches."""
    blocks = [AttentionBlock(width, 2 * width, heads=4) for width in widths]
    return LayeredNet(PatchEmbedding(inputs, widths[0]), blocks, widths, classes, _mean_over_tokens)


def llama(widths: Sequence[int], inputs: int, classes: Sequence[int]) -> LayeredNet:
    """Llama-like decoder on `inputs` operands, read at its last token, "="."""
    del inputs  # rotary positions need no table
    blocks = [LlamaBlock(width, 2 * width, heads=4) for width in widths]
    net = LayeredNet(OperandTokens(OPERANDS + 1, widths[0]), blocks, widths, classes, last_token)
    for parameter in (*net.stem.parameters(), *net.blocks.parameters()):
        if parameter.dim() > 1:  # norms keep their ones
            nn.init.normal_(parameter, std=LLAMA_STD)
    return net


#: Architecture to what builds it from (width of each block, inputs, classes).
BUILDERS: Mapping[str, Callable[[Sequence[int], int, Sequence[int]], LayeredNet]] = {
    **{"resnet" + place: resnet for place in (OFF, AT)},
    **{"resnet_identity" + place: partial(resnet, identity=True) for place in (OFF, AT)},
    **{"convnext" + place: convnext for place in (OFF, AT)},
    "vit": vit,
    "llama": llama,
}
