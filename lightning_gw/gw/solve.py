"""From metric-measure spaces to the best permutations that can be found for a list of pairs, at a stated effort."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lightning_gw.gw.coarse import COARSE_FROM, LANDMARKS, extend, subset
from lightning_gw.gw.moves import Moves, loss
from lightning_gw.gw.plan import PLANS, TO_THE_END, Annealing, Plan
from lightning_gw.gw.search import SearchMatrices
from lightning_gw.gw.starts import (
    compose,
    eccentricities,
    identity_start,
    invert,
    sorted_rows_assignments,
    sorted_start,
)

#: Up to here all permutations are tried and the result is exact.
ENUMERATE_UP_TO = 7
#: Relative gain in the objective that counts as one.
IMPROVEMENT = 1e-5
#: A warm start is trusted if descending from it lowers the distortion by at most this share.
SETTLED = 0.02


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
        return 1 + len(self.plan.annealings)

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
        patience = torch.full((len(best),), self.plan.patience, device=best.device)
        for turn, step in enumerate(self.plan.annealings):
            moved = (best != torch.arange(n, device=best.device)).double().mean(dim=1)
            open_pairs = ((patience > 0) & (moved >= step.moved)).nonzero()[:, 0]
            if len(open_pairs):
                before = self._loss(best)[open_pairs]
                found, done = self._only(open_pairs)._shaken(best[open_pairs], step, turn)
                other, other_done = best.clone(), converged.clone()
                other[open_pairs], other_done[open_pairs] = found, done
                best, converged = self._better(best, converged, other, other_done)
                best, converged = self._composed(best, converged)
                # A pair that annealing does not move is settled; one that it moves may have further to go.
                improved = self._loss(best)[open_pairs] < before * (1 - self.plan.improvement)
                patience[open_pairs] = torch.where(improved, self.plan.patience, patience[open_pairs] - 1)
            self.report(len(best))
        return best, converged

    def _only(self, index: Tensor) -> PairSolver:
        """For some of the pairs."""
        return replace(self, first=self.first[index], second=self.second[index])

    def _shaken(self, best: Tensor, step: Annealing, turn: int) -> tuple[Tensor, Tensor]:
        """What an annealing leads to; at cluster temperatures and with many inputs, a coarse solution instead."""
        n = best.shape[1]
        if step.hot > 1 and n >= COARSE_FROM:
            return self._coarse()
        seed = self.seed * len(self.plan.annealings) + turn + 1
        return self.moves.anneal(self.first, self.second, best, step.sweeps_for(n), step.hot, step.cooling, seed)

    def _coarse(self) -> tuple[Tensor, Tensor]:
        """Descend from a solution on a few inputs, extended to all.

        Which clusters of inputs correspond shows on a sample of them, at a small part of the work.
        """
        n = self.search.matrices.shape[-1]
        chosen = torch.randperm(n, generator=torch.Generator().manual_seed(self.seed))[:LANDMARKS].sort().values
        chosen = chosen.to(self.search.matrices.device)
        search = subset(self.search, chosen)
        moves = self.moves.on(search)
        coarse = PairSolver(search, moves, self.first, self.second, self.plan, self.seed, lambda _: None)
        sorted_rows, _ = moves.share(partial(sorted_rows_assignments, search.whole()), self.first, self.second)
        landmarks, _ = coarse.solve(sorted_rows)
        start = moves.share(partial(extend, self.search, chosen), self.first, self.second, landmarks)
        found, done = self.moves.descend(self.first, self.second, start[:, None], TO_THE_END)
        return found[:, 0], done[:, 0]

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
        """A few rounds from the promising starts, then the best ones all the way down."""
        count, n = starts.shape[1:]
        raw = self._losses(starts)
        promising = raw / self.plan.promising_for(n) <= raw.amin(dim=1, keepdim=True)
        scouted = starts.clone()
        for start in range(count):
            chosen = promising[:, start].nonzero()[:, 0]
            if len(chosen):
                found, _ = self.moves.descend(
                    self.first[chosen], self.second[chosen], starts[chosen, start, None], self.plan.scout_rounds
                )
                scouted[chosen, start] = found[:, 0]
        values = torch.where(promising, self.moves.values(self.first, self.second, scouted), -torch.inf)
        order = values.argsort(dim=1, descending=True, stable=True)[:, : self.plan.kept_for(n)]
        best = scouted[:, 0]
        top = torch.full((len(starts),), -torch.inf, dtype=torch.float64, device=starts.device)
        converged = torch.zeros(len(starts), dtype=torch.bool, device=starts.device)
        rows = torch.arange(len(starts), device=starts.device)
        for rank in range(order.shape[1]):
            chosen = (values[rows, order[:, rank]] > -torch.inf).nonzero()[:, 0]
            if len(chosen) == 0:
                continue
            i, j = self.first[chosen], self.second[chosen]
            found, done = self.moves.descend(i, j, scouted[chosen, order[chosen, rank], None], TO_THE_END)
            reached = self.moves.values(i, j, found)[:, 0]
            better = reached > top[chosen]
            best[chosen[better]], converged[chosen[better]] = found[better, 0], done[better, 0]
            top[chosen[better]] = reached[better]
        return best, converged

    def _losses(self, starts: Tensor) -> Tensor:
        return torch.stack([self._loss(start) for start in starts.unbind(dim=1)], dim=1)

    def _values(self, permutations: Tensor) -> Tensor:
        return self.moves.values(self.first, self.second, permutations[:, None])[:, 0]

    def _loss(self, permutations: Tensor) -> Tensor:
        return loss(self.moves, self.first, self.second, permutations)

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
