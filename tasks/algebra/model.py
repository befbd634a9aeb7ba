"""A residual MLP that can be read out after every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class OperandEmbedding(nn.Module):
    """Sums one learned embedding per operand, with its own table for each position.

    Args:
        positions: Operands in one input.
        operands: Values an operand can take.
        width: Size of the embedding, d.
    """

    offset: Tensor

    def __init__(self, positions: int, operands: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(positions * operands, width)
        nn.init.normal_(self.table.weight, std=positions**-0.5)  # the sum then has unit variance
        self.register_buffer("offset", operands * torch.arange(positions), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x + self.offset).sum(dim=-2)  # (B, positions) -> (B, d)


class ResidualBlock(nn.Module):
    """Adds to its input what a two-layer perceptron makes of the normalised input (pre-norm)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.contract(nn.functional.gelu(self.expand(self.norm(h))))  # (B, d)


class ResidualMLP(nn.Module):
    """An embedding, a stack of residual blocks, and a readout head after every block.

    Every head can read every stage and every head exists from the start, whichever of them are trained: the same
    seed gives the same initial weights under every training strategy.

    Args:
        moduli: The modulus of each stage: the number of classes a head has for it.
        operands: Values an operand can take.
        layers: Number of blocks.
        width: Size of the residual stream, d.
        hidden: Hidden size inside a block.
    """

    def __init__(
        self,
        moduli: Sequence[int] = (11, 5, 2),
        operands: int = 11,
        layers: int = 9,
        width: int = 96,
        hidden: int = 192,
    ) -> None:
        super().__init__()
        self.moduli = tuple(moduli)
        self.embedding = OperandEmbedding(len(self.moduli) + 1, operands, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, hidden) for _ in range(layers))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(self.moduli))) for _ in range(layers)
        )

    def forward(self, x: Tensor, depth: int | None = None) -> list[Tensor]:
        """Runs the blocks.

        Args:
            x: Operands, int64 of shape ``(B, stages + 1)``.
            depth: Blocks to run; all of them when left out.

        Returns:
            The residual stream after each block that ran, each of shape ``(B, d)``.
        """
        h = self.embedding(x)
        states = []
        for block in self.blocks[:depth]:
            h = block(h)
            states.append(h)
        return states

    def read(self, states: Sequence[Tensor], layer: int, stage: int) -> Tensor:
        """Reads one stage's answer after one layer: logits of shape ``(B, moduli[stage])``."""
        return self.heads[layer](states[layer]).split(self.moduli, dim=-1)[stage]
