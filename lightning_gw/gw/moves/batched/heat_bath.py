"""The heat bath: every input in turn draws its partner anew, at a falling temperature, as a few factors see the pair.

At a temperature ``T`` the swap of an input with each other one, and that of none, is drawn with a probability that goes
with ``exp(gain / T)`` (a heat bath, or Gibbs sampler, as in Geman and Geman 1984): the largest of ``gain + T · noise``
is taken, with noise of Gumbel's distribution. No draw is wasted on a swap that is refused. Which clusters of inputs
correspond is decided at temperatures at which single inputs do not matter, and so the gains are those of a low-rank
approximation of one of the two matrices (see `low_rank`), the one that it fits better. At temperature 0 the same sweeps
are a quench.

Here inputs are drawn for a batch of pairs in torch, a block at a time; of swaps that would share an input the one that
gains more is made, and of the rest those whose joint gain is largest. `compiled.heat_bath` does it for one pair on the
CPU, input by input.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gw.gw.moves.batched.swaps import GAIN_TOLERANCE, columns_of, permute_both, rows_of
from lightning_gw.gw.moves.low_rank import Factors

#: Blocks that the inputs are drawn in: as many inputs at a time as a round of the descent makes swaps.
BLOCKS = 8


@dataclass
class Baths:
    """A batch of pairs, of which one side is seen through its factors.

    Attributes:
        left: ``(P, RANK, n)`` factors of the one side (see `low_rank.Factors`), likewise `right`.
        inner: ``(P, n, n)`` ``αᵀβ − (D_u + D_v) / 2``: what inputs that exchange partners see of each other.
        other: ``(P, n, n)`` float32 matrices of the other side, in their own order.
        diagonals: ``(P, n)`` of the one and of the other side, or None where they are constant.
        anchor: ``(P,)`` what an input matched to itself adds, or None for nothing.
        permutation: ``(P, n)`` from the one side to the other.
    """

    left: Tensor
    right: Tensor
    inner: Tensor
    other: Tensor
    diagonals: tuple[Tensor, Tensor] | None
    anchor: Tensor | None
    permutation: Tensor

    def __post_init__(self) -> None:
        self.count, self.n = self.permutation.shape
        self.product = self.left @ permute_both(self.other, self.permutation)  # C

    @staticmethod
    def of(
        factors: Factors,
        matrices: Tensor,
        diagonals: Tensor | None,
        anchor: Tensor | None,
        sides: tuple[Tensor, Tensor],
        permutation: Tensor,
    ) -> Baths:
        """Pairs of a seen side and another one, ``(P,)`` indices of layers each, of ``(L, n, n)`` `matrices`."""
        seen, other = sides
        both = None if diagonals is None else (diagonals[seen], diagonals[other])
        left, right, halves = factors.left[seen], factors.right[seen], factors.diagonals[seen] / 2
        inner = left.transpose(1, 2) @ right
        inner -= halves[:, :, None]
        inner -= halves[:, None, :]
        return Baths(left, right, inner, matrices[other], both, anchor, permutation.clone())

    def run(self, sweeps: int, hot: Tensor, cooling: float, quench: int, generator: torch.Generator) -> None:
        """Sweep from temperature ``(P,)`` `hot` down to `cooling` times that, then quench.

        The noise is the same for all pairs, so that a result does not depend on how pairs were batched.

        Args:
            sweeps: Sweeps at temperatures above 0.
            hot: First temperatures.
            cooling: Last temperature over the first.
            quench: Most sweeps at temperature 0 after those; they end where nothing moves.
            generator: CPU generator the noise and the order of the inputs are drawn from.
        """
        device = self.permutation.device
        for turn in range(sweeps):
            temperature = hot.float() * cooling ** (turn / max(1, sweeps - 1))
            uniform = torch.rand(self.n, self.n, generator=generator).clamp_(1e-9, 1 - 1e-7)
            noise = -torch.log(-torch.log(uniform)).to(device)
            for block in self._blocks(generator):
                self._draw(block, temperature[:, None, None] * noise[block])
        for _ in range(quench):
            moved = [self._draw(block, None) for block in self._blocks(generator)]
            if not bool(torch.stack(moved).any()):
                break

    def values(self) -> Tensor:
        """``(P,)`` float64 objectives as the factors see them."""
        total = (self.product * self.right).sum(dim=(1, 2), dtype=torch.float64)
        if self.diagonals is not None:
            one, other = self.diagonals
            total = total + (one * other.gather(1, self.permutation)).sum(dim=1, dtype=torch.float64)
        if self.anchor is not None:
            inputs = torch.arange(self.n, device=total.device)
            total = total + self.anchor * (self.permutation == inputs).sum(dim=1)
        return total

    def _blocks(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        order = torch.randperm(self.n, generator=generator).to(self.permutation.device)
        return order.split(max(1, self.n // BLOCKS))

    def _gains(self, block: Tensor, rows: Tensor) -> Tensor:
        """``(P, K, n)`` gains of all swaps of the ``(K,)`` inputs of a block; `rows` are theirs of ``Bp``."""
        c, right = self.product, self.right
        gains = torch.bmm(c[:, :, block].transpose(1, 2), right)
        gains.baddbmm_(right[:, :, block].transpose(1, 2), c)
        own = (c * right).sum(dim=1)
        gains = 2 * (gains - own[:, block, None] - own[:, None, :])
        gains.addcmul_(self.inner[:, block], rows, value=4)
        if self.diagonals is not None:
            one, other = self.diagonals[0], self.diagonals[1].gather(1, self.permutation)
            gains += (one[:, block, None] - one[:, None, :]) * (other[:, None, :] - other[:, block, None])
        if self.anchor is not None:
            p, inputs = self.permutation, torch.arange(self.n, device=block.device)
            home = (p == inputs).float()
            brought = (p[:, None, :] == block[:, None]).float() + (p[:, block, None] == inputs).float()
            gains += self.anchor.float()[:, None, None] * (brought - home[:, block, None] - home[:, None, :])
        return gains

    def _draw(self, block: Tensor, noise: Tensor | None) -> Tensor:
        """Draw new partners for the inputs of a block; returns ``(P,)`` bool, whether any changed.

        Args:
            block: ``(K,)`` inputs.
            noise: ``(P, K, n)`` to be added to the gains, or None for temperature 0.
        """
        count, size, n = self.count, len(block), self.n
        gains = self._gains(block, self._rows(block.expand(count, -1)))
        place = block.expand(count, -1)[:, :, None]
        gains.scatter_(2, place, 0.0)
        if noise is not None:
            gains += noise
            gains -= gains.gather(2, place)  # what is gained over staying
        least = GAIN_TOLERANCE * n if noise is None else 0.0
        gain, v = gains.max(dim=2)
        gain, order = torch.where((v != block) & (gain > least), gain, -torch.inf).sort(
            dim=1, descending=True, stable=True
        )
        u, v = block[order], v.gather(1, order)

        # Of swaps that share an input the first one, which gains most.
        rank = torch.arange(size, device=block.device).expand(count, -1)
        first = torch.full((count, n), size, device=block.device)
        alive = gain > -torch.inf
        for side in (u, v):
            first.scatter_reduce_(1, side, torch.where(alive, rank, size), "amin")
        alive = alive & (first.gather(1, u) == rank) & (first.gather(1, v) == rank)

        # Of the rest the first so many whose joint gain, what they take from each other included, is largest.
        change = self._rows(v) - self._rows(u)
        factor = columns_of(self.left, u) - columns_of(self.left, v)
        seen = torch.bmm(factor.transpose(1, 2), self.right)
        cross = (columns_of(seen, u) - columns_of(seen, v)) * (columns_of(change, v) - columns_of(change, u))
        cross = torch.where(alive[:, :, None] & alive[:, None, :], cross, 0.0)
        joint = torch.where(alive, gain, 0.0) + 2 * cross.tril(-1).sum(dim=2)
        total = joint.cumsum(dim=1)
        keep = (rank <= total.argmax(dim=1, keepdim=True)) & alive

        self.product.baddbmm_(factor * keep[:, None, :], change)
        exchange = torch.arange(n, device=block.device).repeat(count, 1)
        shift = torch.where(keep, v - u, 0)
        exchange.scatter_add_(1, u, shift).scatter_add_(1, v, -shift)
        self.product = columns_of(self.product, exchange)
        self.permutation = self.permutation.gather(1, exchange)
        return keep.any(dim=1)

    def _rows(self, inputs: Tensor) -> Tensor:
        """``(P, K, n)`` rows of ``Bp``, of ``(P, K)`` inputs."""
        return columns_of(rows_of(self.other, self.permutation.gather(1, inputs)), self.permutation)
