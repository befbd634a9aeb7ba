"""From metric-measure spaces to the best permutations that can be found for a list of pairs, at a stated effort."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lightning_gw.gw.moves import Moves
from lightning_gw.gw.search import SearchMatrices
from lightning_gw.gw.starts import compose, eccentricities, identity_start, invert, sorted_start

Effort = Literal["fast", "default", "high"]

#: Up to here all permutations are tried and the result is exact.
ENUMERATE_UP_TO = 7
#: More rounds than any descent needs.
TO_THE_END = 1000
#: Annealings in a row that may fail to improve a pair before it counts as settled.
PATIENCE = 2
#: Relative gain in the objective that counts as an improvement.
IMPROVEMENT = 1e-5
#: A warm start is trusted if descending from it lowers the distortion by at most this share.
SETTLED = 0.02
#: Fewest sweeps of an annealing.
MINIMUM_SWEEPS = 4


@dataclass(frozen=True)
class Plan:
    """How much work an effort spends on each pair.

    Attributes:
        scout_rounds: Rounds of descent from each start before the best are kept.
        kept: Starts followed to their local optimum, times n: the larger the spaces, the fewer.
        through: Third layers whose composed permutations are tried after each stage.
        anneals: Starting temperatures of the annealings, in units of the mean absolute gain, one after the other, each
            from the best so far.
        sweeps: Sweeps of each annealing, times n.
    """

    scout_rounds: int
    kept: int
    through: int
    anneals: tuple[float, ...]
    sweeps: int


PLANS: dict[str, Plan] = {
    "fast": Plan(scout_rounds=1, kept=512, through=3, anneals=(), sweeps=0),
    "default": Plan(scout_rounds=2, kept=384, through=8, anneals=(0.05, 0.1, 0.05, 0.05, 0.05, 0.05), sweeps=1280),
    "high": Plan(scout_rounds=TO_THE_END, kept=10**9, through=64, anneals=(0.05, 0.1, 0.2, 0.1) * 5, sweeps=5120),
}


@dataclass
class PairSolver:
    """Best permutations for pairs of layers with equally many inputs.

    Attributes:
        search: Search matrices of all layers.
        moves: Machinery the search runs on.
        first: ``(P,)`` index of the first layer of each pair.
        second: ``(P,)`` index of the second layer.
        plan: Work to spend.
        seed: Seed of the annealing noise.
        report: Called after each stage with the number of pairs it dealt with.
    """

    search: SearchMatrices
    moves: Moves
    first: Tensor
    second: Tensor
    plan: Plan
    seed: int
    report: Callable[[int], None]

    @property
    def stages(self) -> int:
        """How many times `report` is called for every pair in `solve`."""
        return 1 + len(self.plan.anneals)

    def solve(self, sorted_rows: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
        """Search from cold.

        Args:
            sorted_rows: ``(P, n)`` permutations of the sorted-rows assignment (it also gives the lower bound).
            more: Further starts, ``(P, n)`` each.

        Returns:
            Permutations ``(P, n)`` and ``(P,)`` bool: ended in a local optimum (or exact).
        """
        n = sorted_rows.shape[1]
        if n <= ENUMERATE_UP_TO:
            return self._enumerate(n)
        starts = torch.cat([self._starts(sorted_rows), *(start[:, None] for start in more)], dim=1)
        best, converged = self._from_starts(starts)
        best, converged = self._composed(best, converged)
        self.report(len(best))
        patience = torch.full((len(best),), PATIENCE, device=best.device)
        for turn, hot in enumerate(self.plan.anneals):
            open_pairs = (patience > 0).nonzero()[:, 0]
            if len(open_pairs):
                before = self._values(best)
                shaken, done = self.moves.anneal(
                    self.first[open_pairs],
                    self.second[open_pairs],
                    best[open_pairs],
                    max(MINIMUM_SWEEPS, self.plan.sweeps // n),
                    hot,
                    self.seed * len(self.plan.anneals) + turn + 1,
                )
                other, other_done = best.clone(), converged.clone()
                other[open_pairs], other_done[open_pairs] = shaken, done
                best, converged = self._better(best, converged, other, other_done)
                best, converged = self._composed(best, converged)
                # A pair that annealing does not move is settled; one that it moves may have further to go.
                improved = self._values(best) > before * (1 + IMPROVEMENT)
                patience = torch.where(improved, PATIENCE, patience - 1)
            self.report(len(best))
        return best, converged

    def polish(self, warm: Tensor, sorted_rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Descend from the better of ``(P, n)`` earlier permutations and the identity.

        Returns:
            Permutations, convergence as in `solve`, and ``(P,)`` bool: whether the earlier search still stands, because
            the layers hardly moved since and no quick descent from the cheap starts ends higher.
        """
        identity = identity_start(len(warm), warm.shape[1], warm.device)
        starts = torch.stack([warm, identity], dim=1)
        values = self.moves.values(self.first, self.second, starts)
        start = _pick(starts, values.argmax(dim=1))
        found, converged = self.moves.descend(self.first, self.second, start[:, None], TO_THE_END)
        # Both matrices have mean square 1, so that 2 − 2 S / n² is the distortion in these units.
        ceiling = float(warm.shape[1]) ** 2
        before, after = ceiling - values[:, 0], ceiling - self._values(found[:, 0])
        still = before <= after * (1 + SETTLED) + SETTLED * IMPROVEMENT * ceiling
        # An optimum that was best once may stay one while a better one grows elsewhere; only other starts see that.
        rival, _ = replace(self, plan=PLANS["fast"])._from_starts(self._starts(sorted_rows))
        polished = found[:, 0]
        return polished, converged[:, 0], still & (self._values(rival) <= self._values(polished) * (1 + IMPROVEMENT))

    def _starts(self, sorted_rows: Tensor) -> Tensor:
        """``(P, 5, n)`` cheap guesses: identity, sorted rows, eccentricity, principal axis in both directions."""
        matrices = self.search.matrices
        n = matrices.shape[-1]
        score = eccentricities(matrices)
        axis = _principal_axes(matrices)
        first, second = self.first, self.second
        return torch.stack(
            [
                identity_start(len(first), n, matrices.device),
                sorted_rows,
                sorted_start(score[first], score[second]),
                sorted_start(axis[first], axis[second]),
                sorted_start(axis[first], -axis[second]),
            ],
            dim=1,
        )

    def _from_starts(self, starts: Tensor) -> tuple[Tensor, Tensor]:
        """A few rounds from every start, then the best ones all the way down."""
        scouted, _ = self.moves.descend(self.first, self.second, starts, self.plan.scout_rounds)
        values = self.moves.values(self.first, self.second, scouted)
        kept = min(max(1, self.plan.kept // starts.shape[2]), starts.shape[1])
        order = values.argsort(dim=1, descending=True, stable=True)[:, :kept]
        scouted = scouted.gather(1, order[:, :, None].expand(-1, -1, starts.shape[2]))
        found, converged = self.moves.descend(self.first, self.second, scouted, TO_THE_END)
        choice = self.moves.values(self.first, self.second, found).argmax(dim=1)
        return _pick(found, choice), converged.gather(1, choice[:, None])[:, 0]

    def _values(self, permutations: Tensor) -> Tensor:
        return self.moves.values(self.first, self.second, permutations[:, None])[:, 0]

    def _better(self, best: Tensor, converged: Tensor, other: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        """Per pair the better of two permutations; of equals the first."""
        both = torch.stack([best, other], dim=1)
        choice = self.moves.values(self.first, self.second, both).argmax(dim=1)
        return _pick(both, choice), torch.where(choice == 0, converged, done)

    def _composed(self, best: Tensor, converged: Tensor) -> tuple[Tensor, Tensor]:
        """Descend from the best path through a third layer, where that is a better start than what there is."""
        count, n = len(self.search.matrices), best.shape[1]
        through = min(self.plan.through, count - 2)
        if through < 1:
            return best, converged
        table = identity_start(count * count, n, best.device).view(count, count, n)
        table[self.first, self.second] = best
        table[self.second, self.first] = invert(best)
        value = torch.zeros(count, count, dtype=torch.float64, device=best.device)
        here = self._values(best)
        value[self.first, self.second] = value[self.second, self.first] = here
        # Third layers near both ends promise most.
        path = torch.minimum(value[self.first], value[self.second])
        rows = torch.arange(len(best), device=best.device)
        path[rows, self.first] = path[rows, self.second] = -torch.inf
        third = path.topk(through, dim=1).indices
        candidates = torch.stack(
            [compose(table[self.first, k], table[k, self.second]) for k in third.unbind(dim=1)], dim=1
        )
        values = self.moves.values(self.first, self.second, candidates)
        top, choice = values.max(dim=1)
        promising = (top > here).nonzero()[:, 0]
        if len(promising) == 0:
            return best, converged
        start = _pick(candidates, choice)[promising]
        found, done = self.moves.descend(self.first[promising], self.second[promising], start[:, None], TO_THE_END)
        best, converged = best.clone(), converged.clone()
        best[promising], converged[promising] = found[:, 0], done[:, 0]
        return best, converged

    def _enumerate(self, n: int) -> tuple[Tensor, Tensor]:
        every = torch.tensor(np.array(list(itertools.permutations(range(n)))), device=self.first.device)
        found = []
        for i, j in zip(self.first.split(1), self.second.split(1), strict=True):
            found.append(every[self.moves.values(i, j, every[None])[0].argmax()])
            self.report(self.stages)
        return torch.stack(found), torch.ones(len(found), dtype=torch.bool, device=self.first.device)


def _pick(permutations: Tensor, choice: Tensor) -> Tensor:
    """``(P, S, n)`` and ``(P,)`` to ``(P, n)``."""
    return permutations[torch.arange(len(choice), device=choice.device), choice]


def _principal_axes(matrices: Tensor) -> Tensor:
    """``(L, n)`` eigenvector of largest absolute eigenvalue, the widest direction, by power iteration.

    The sign is arbitrary; both are tried. Thirty rounds are plenty for a start.
    """
    generator = torch.Generator().manual_seed(0)
    axis = torch.rand(matrices.shape[-1], 1, generator=generator).to(matrices).expand(len(matrices), -1, 1)
    for _ in range(30):
        axis = torch.nn.functional.normalize(matrices @ axis, dim=1)
    return axis[:, :, 0]
