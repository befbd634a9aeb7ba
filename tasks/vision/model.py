"""A residual ConvNet and a small vision transformer: a stem, layers, and a linear head on the mean over the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.algebra.model import AttentionBlock


class ConvBlock(nn.Module):
    """Adds to its input what two 3 × 3 convolutions with batch normalisation make of it.

    Args:
        width: Channels that come in.
        widen: Give out twice as many channels, at half the resolution; the input is projected to match.
    """

    def __init__(self, width: int, widen: bool = False) -> None:
        super().__init__()
        inner, stride = (2 * width, 2) if widen else (width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.expand = nn.Conv2d(width, inner, 3, stride=stride, padding=1, bias=False)
        self.hidden_norm = nn.BatchNorm2d(inner)
        self.contract = nn.Conv2d(inner, inner, 3, padding=1)
        self.project = nn.Conv2d(width, inner, 1, stride=stride) if widen else nn.Identity()

    def forward(self, h: Tensor) -> Tensor:
        hidden = self.expand(nn.functional.relu(self.norm(h)))
        return self.project(h) + self.contract(nn.functional.relu(self.hidden_norm(hidden)))  # (B, width, s, s)


class ConvNet(nn.Module):
    """A convolution as stem, residual blocks, and a linear head on the mean over the image.

    Args:
        channels: Channels of an image.
        classes: Number of classes.
        layers: Number of blocks.
        width: Channels inside, up to the first block that widens.
        stride: Of the stem: images of 32 pixels want 2 or more to be quick.
        widen_at: Blocks (from 0) that double the channels and halve the resolution.
    """

    def __init__(
        self, channels: int, classes: int, layers: int, width: int, stride: int, widen_at: Sequence[int] = ()
    ) -> None:
        super().__init__()
        if beyond := [block for block in widen_at if not 0 <= block < layers]:
            raise ValueError(f"widen_at={list(widen_at)} names blocks that {layers} layers do not have: {beyond}.")
        self.stem = nn.Conv2d(channels, width, 3, stride=stride, padding=1)
        self.blocks = nn.ModuleList()
        for block in range(layers):
            self.blocks.append(ConvBlock(width, block in widen_at))
            width *= 2 if block in widen_at else 1
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape ``(B, classes)`` from images ``(B, channels, size, size)``."""
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(h.mean(dim=(2, 3)))


class PatchEmbedding(nn.Module):
    """Cuts images ``(B, channels, size, size)`` into patches, embedded with their position: ``(B, patches, d)``."""

    def __init__(self, channels: int, size: int, patch: int, width: int) -> None:
        super().__init__()
        if size % patch:
            raise ValueError(f"patch={patch} must divide the size {size} of an image.")
        self.project = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Embedding((size // patch) ** 2, width)
        nn.init.normal_(self.position.weight, std=0.5)  # as large as the patches, or places are learnt late

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x).flatten(2).mT + self.position.weight


class VisionTransformer(nn.Module):
    """Patches as tokens, pre-norm layers, and a linear head on the mean over the patches.

    It follows Dosovitskiy and others, "An Image is Worth 16x16 Words", without a class token.

    Args:
        channels: Channels of an image.
        size: Pixels along an edge.
        classes: Number of classes.
        layers: Number of layers.
        width: Size of a token.
        hidden: Hidden size of the perceptron inside a layer.
        attention_heads: Heads of the attention inside a layer.
        patch: Pixels along the edge of a patch.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        layers: int,
        width: int,
        hidden: int,
        attention_heads: int,
        patch: int,
    ) -> None:
        super().__init__()
        self.stem = PatchEmbedding(channels, size, patch, width)
        self.blocks = nn.ModuleList(AttentionBlock(width, hidden, attention_heads) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape ``(B, classes)`` from images ``(B, channels, size, size)``."""
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(torch.mean(h, dim=1))
