"""A residual MLP and a transformer that can be read out after every layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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


class ReadableStack(nn.Module):
    """An embedding, a stack of blocks, and a readout head after every block.

    Every head can read every stage and every head exists from the start, whichever of them are trained: the same
    seed gives the same initial weights under every training strategy.

    Args:
        moduli: The modulus of each stage: the number of classes a head has for it.
        embedding: Operands to the first state.
        blocks: State to state.
        width: Size of the pooled state, d.
    """

    def __init__(self, moduli: Sequence[int], embedding: nn.Module, blocks: Iterable[nn.Module], width: int) -> None:
        super().__init__()
        self.moduli = tuple(moduli)
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(self.moduli))) for _ in self.blocks
        )

    def pooled(self, h: Tensor) -> Tensor:
        """What heads read of a state: ``(B, d)``."""
        return h

    def spread(self, h: Tensor, code: Tensor) -> Tensor:
        """The state that heads read as ``pooled(h) + code``, `code` having the shape ``(B, d)``."""
        return h + code

    def forward(self, x: Tensor, depth: int | None = None) -> list[Tensor]:
        """Runs the blocks.

        Args:
            x: Operands, int64 of shape ``(B, stages + 1)``.
            depth: Blocks to run; all of them when left out.

        Returns:
            What heads read of the residual stream after each block that ran, each of shape ``(B, d)``.
        """
        h = self.embedding(x)
        states = []
        for block in self.blocks[:depth]:
            h = block(h)
            states.append(self.pooled(h))
        return states

    def read(self, states: Sequence[Tensor], layer: int, stage: int) -> Tensor:
        """Reads one stage's answer after one layer: logits of shape ``(B, moduli[stage])``."""
        return self.heads[layer](states[layer]).split(self.moduli, dim=-1)[stage]


class ResidualMLP(ReadableStack):
    """A residual perceptron on the sum of the operands' embeddings.

    Args:
        moduli: The modulus of each stage.
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
        embedding = OperandEmbedding(len(moduli) + 1, operands, width)
        super().__init__(moduli, embedding, (ResidualBlock(width, hidden) for _ in range(layers)), width)


class TokenEmbedding(nn.Module):
    """Operands as tokens followed by an "=": ``(B, positions)`` to ``(B, positions + 1, d)``.

    Args:
        positions: Operands in one input.
        operands: Values an operand can take.
        width: Size of the embedding, d.
    """

    def __init__(self, positions: int, operands: int, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(operands + 1, width)  # the last is the "="
        self.position = nn.Embedding(positions + 1, width)
        for table in (self.token, self.position):
            nn.init.normal_(table.weight, std=2**-0.5)  # the sum then has unit variance

    def forward(self, x: Tensor) -> Tensor:
        tokens = nn.functional.pad(x, (0, 1), value=self.token.num_embeddings - 1)
        return self.token(tokens) + self.position.weight


class AttentionBlock(nn.Module):
    """Self-attention and a perceptron, each reading the normalised state ``(B, t, d)`` and adding to it (pre-norm)."""

    def __init__(self, width: int, hidden: int, attention_heads: int) -> None:
        super().__init__()
        if width % attention_heads:
            raise ValueError(f"attention_heads={attention_heads} must divide the width {width}.")
        self.attention_heads = attention_heads
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.perceptron = ResidualBlock(width, hidden)

    def forward(self, h: Tensor) -> Tensor:
        projected = self.project(self.norm(h)).unflatten(-1, (3, self.attention_heads, -1))  # (B, t, 3, heads, d')
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (B, heads, t, d')
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.perceptron(h + self.merge(mixed.transpose(1, 2).flatten(-2)))


class Transformer(ReadableStack):
    """A pre-norm transformer without a causal mask, read at the "=".

    Args:
        moduli: The modulus of each stage.
        operands: Values an operand can take.
        layers: Number of blocks.
        width: Size of the residual stream, d.
        hidden: Hidden size of the perceptron inside a block.
        attention_heads: Heads of the attention inside a block.
    """

    def __init__(
        self,
        moduli: Sequence[int] = (11, 5, 2),
        operands: int = 11,
        layers: int = 6,
        width: int = 64,
        hidden: int = 128,
        attention_heads: int = 4,
    ) -> None:
        embedding = TokenEmbedding(len(moduli) + 1, operands, width)
        blocks = (AttentionBlock(width, hidden, attention_heads) for _ in range(layers))
        super().__init__(moduli, embedding, blocks, width)

    def pooled(self, h: Tensor) -> Tensor:
        return h[:, -1]

    def spread(self, h: Tensor, code: Tensor) -> Tensor:
        return torch.cat([h[:, :-1], h[:, -1:] + code.unsqueeze(1)], dim=1)
