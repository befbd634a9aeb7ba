"""Many processes on one matrix: its pairs are shared out over the ranks of a process group, and gathered.

Whatever is searched is searched by one rank and handed to all, so that every rank goes on from the same bits and takes
the same decisions, also on unlike machines; the rest runs on all ranks alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_gw.geometry.spaces import Spaces
from lightning_gw.gw.moves.choice import Moves
from lightning_gw.utilities.distributed import NOTHING, Ranks, digest

if TYPE_CHECKING:
    from lightning_gw.gw.result import GWMatrix


class SharedMoves(Moves):
    """Moves whose pairs are shared out over ranks; what they find is what the moves inside find, to the bit."""

    def __init__(self, inner: Moves, ranks: Ranks) -> None:
        super().__init__(inner.search, inner.anchor)
        self.name = inner.name
        self._inner = inner
        self._ranks = ranks

    def values(self, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        return self._ranks.pairs(self._inner.values, first, second, permutations)

    def distortions(self, spaces: Tensor, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        return self._ranks.pairs(lambda i, j, p: self._inner.distortions(spaces, i, j, p), first, second, permutations)

    def descend(self, first: Tensor, second: Tensor, starts: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        return self._ranks.pairs(lambda i, j, p: self._inner.descend(i, j, p, rounds), first, second, starts)

    def heat(
        self, first: Tensor, second: Tensor, starts: Tensor, sweeps: int, hot: Tensor, cooling: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        def work(i: Tensor, j: Tensor, p: Tensor, warmth: Tensor) -> tuple[Tensor, Tensor]:
            return self._inner.heat(i, j, p, sweeps, warmth, cooling, seed)

        return self._ranks.pairs(work, first, second, starts, hot)

    def quench(self, first: Tensor, second: Tensor, permutations: Tensor, sweeps: int) -> tuple[Tensor, Tensor]:
        return self._ranks.pairs(lambda i, j, p: self._inner.quench(i, j, p, sweeps), first, second, permutations)

    def reassign(
        self, first: Tensor, second: Tensor, permutations: Tensor, rounds: int, noise: float, losses: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        def work(i: Tensor, j: Tensor, p: Tensor, short: Tensor) -> tuple[Tensor, Tensor]:
            return self._inner.reassign(i, j, p, rounds, noise, short, seed)

        return self._ranks.pairs(work, first, second, permutations, losses)


def same_call(
    ranks: Ranks,
    rows: Mapping[str, Tensor],
    columns: Mapping[str, Tensor] | None,
    warm_start: GWMatrix | None,
    options: Mapping[str, object],
) -> None:
    """Make sure that all ranks ask for the same matrix, as far as can be told before it is begun.

    Raises:
        ValueError: On every rank, naming what differs.
    """
    if ranks.size == 1:
        return
    facts: dict[str, object] = {
        "layers": tuple(rows),
        "other layers": NOTHING if columns is None else tuple(columns),
        "shape": {name: tuple(x.shape) for name, x in rows.items()},
        "other shape": {name: tuple(x.shape) for name, x in (columns or {}).items()},
        "option": {**options, "warm_start": warm_start and digest(torch.from_numpy(warm_start.couplings))[:8]},
    }
    ranks.agree(**facts)


def same_spaces(ranks: Ranks, spaces: Spaces) -> Spaces:
    """The first rank's spaces, bit for bit, on every rank.

    Raises:
        ValueError: On every rank, if the layers left out differ, or a layer's space by more than rounding.
    """
    if ranks.size == 1:
        return spaces
    ranks.agree(degenerate=dict(spaces.degenerate))
    same = ranks.same_matrices(spaces.layers, spaces.matrices)
    return replace(
        spaces,
        matrices=torch.stack(same) if same else spaces.matrices,
        variation=ranks.first(spaces.variation.cpu()).to(spaces.variation.device),
    )
