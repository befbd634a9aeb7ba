"""From metric-measure spaces to the best permutations that can be found for a list of pairs, at a stated effort."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lightning_gw.gw.moves.batched.swaps import SearchMatrices, ceiling, invert
from lightning_gw.gw.moves.choice import QUENCH_SWEEPS, Moves
from lightning_gw.gw.search.effort import TO_THE_END, EffortPlan, HeatBath, Reassignment
from lightning_gw.gw.search.starts import identity_start, sorted_start

#: Up to here all permutations are tried and the result is exact.
ENUMERATE_UP_TO = 7
#: Compositions of a pair that are quenched, of those that lose at most this share of the loss.
QUENCHED, WITHIN = 2, 0.5


@dataclass(frozen=True)
class Best:
    """The best permutations known of ``P`` pairs.

    Attributes:
        permutations: ``(P, n)`` int64.
        converged: ``(P,)`` bool: a local optimum.
        values: ``(P,)`` float64 objective.
    """

    permutations: Tensor
    converged: Tensor
    values: Tensor

    def at(self, index: Tensor) -> Best:
        """For some of the pairs."""
        return Best(self.permutations[index], self.converged[index], self.values[index])

    def or_better(self, index: Tensor, found: Best) -> Best:
        """With what was found for the pairs ``index``, wherever it is better."""
        better = found.values > self.values[index]
        chosen = index[better]
        permutations, converged, values = self.permutations.clone(), self.converged.clone(), self.values.clone()
        permutations[chosen] = found.permutations[better]
        converged[chosen] = found.converged[better]
        values[chosen] = found.values[better]
        return Best(permutations, converged, values)


@dataclass
class PairSolver:
    """Best permutations for pairs of layers with equally many inputs.

    Attributes:
        search: Search matrices of all layers.
        moves: Machinery the search runs on.
        first: ``(P,)`` index of the first layer of each pair.
        second: ``(P,)`` index of the second layer.
        plan: Work to spend.
        seed: Seed of all noise.
        report: Called after each stage with the number of pairs it dealt with.
    """

    search: SearchMatrices
    moves: Moves
    first: Tensor
    second: Tensor
    plan: EffortPlan
    seed: int
    report: Callable[[int], None]

    def solve(self, sorted_rows: Tensor, *more: Tensor, known: Best | None = None) -> Best:
        """Search from cold.

        Args:
            sorted_rows: ``(P, n)`` permutations of the sorted-rows assignment (it also gives the lower bound).
            more: Further starts, ``(P, n)`` each.
            known: What was found at an earlier time; the search goes on from it where its heat bath ends no higher.
        """
        n = sorted_rows.shape[1]
        if n <= ENUMERATE_UP_TO:
            return self._enumerate(n)
        starts = torch.cat([self._starts(sorted_rows), *(start[:, None] for start in more)], dim=1)
        best = self._from_starts(starts, sorted_rows)
        if known is not None:
            best = best.or_better(torch.arange(len(sorted_rows), device=sorted_rows.device), known)
        tried, best = best, self.composed(best)
        self.report(len(sorted_rows))
        most = self._ceiling()
        patience = torch.full((len(most),), self.plan.patience, device=most.device)
        for turn, step in enumerate(self.plan.shakes):
            index = ((patience > 0) & (_moved(best) >= step.moved)).nonzero()[:, 0]
            if len(index):
                before = (most - best.values)[index].clamp(min=0)
                found = self.only(index)._shaken(best.permutations[index], before, step, turn)
                best = best.or_better(index, found)
                tried, best = best, self.composed(best, tried)
                # A pair that shaking does not move is settled; one that it moves may have further to go.
                improved = (most - best.values)[index] < before * (1 - self.plan.improvement)
                patience[index] = torch.where(improved, self.plan.patience, patience[index] - 1)
            self.report(len(sorted_rows))
        return best

    def best_of(self, *starts: Tensor) -> Best:
        """The best of several earlier ``(P, n)`` permutations and the identity, each pair by itself."""
        several = self._and_identity(starts)
        values, top = self.moves.values(self.first, self.second, several).max(dim=1)
        return Best(_pick(several, top), torch.zeros_like(top, dtype=torch.bool), values)

    def refine(self, *starts: Tensor) -> Best:
        """Descend from it."""
        return self._descended(self.best_of(*starts).permutations[:, None])

    def descend_all(self, *starts: Tensor) -> Best:
        """Descend from all of them, and keep the best."""
        return self._descended(self._and_identity(starts))

    def shaken(self, best: Best) -> Best:
        """With what the first shake of the plan leads to, where that is better."""
        losses = (self._ceiling() - best.values).clamp(min=0)
        everything = torch.arange(len(losses), device=losses.device)
        return best.or_better(everything, self._shaken(best.permutations, losses, self.plan.shakes[0], 0))

    def _and_identity(self, starts: tuple[Tensor, ...]) -> Tensor:
        """``(P, S, n)`` the starts, and the identity first."""
        return torch.stack([identity_start(len(self.first), starts[0].shape[1], starts[0].device), *starts], dim=1)

    def distances(self, best: Best) -> Tensor:
        """``(P,)`` distance of each pair of search matrices at what was found, in units of their root mean square."""
        return (2 * (self._ceiling() - best.values).clamp(min=0)).sqrt() / self.search.matrices.shape[-1]

    def only(self, index: Tensor) -> PairSolver:
        """For some of the pairs."""
        return replace(self, first=self.first[index], second=self.second[index])

    def _ceiling(self) -> Tensor:
        return ceiling(self.search, self.moves.anchor, self.first, self.second)

    def valued(self, found: Tensor, converged: Tensor) -> Best:
        """``(P, n)`` permutations, of which ``(P,)`` `converged` are local optima, with their objectives."""
        return Best(found, converged, self.moves.values(self.first, self.second, found[:, None])[:, 0])

    def _descended(self, starts: Tensor) -> Best:
        """The best of the local optima below ``(P, S, n)`` starts."""
        found, done = self.moves.descend(self.first, self.second, starts, TO_THE_END)
        values, top = self.moves.values(self.first, self.second, found).max(dim=1)
        return Best(_pick(found, top), done.gather(1, top[:, None])[:, 0], values)

    def _shaken(self, permutations: Tensor, losses: Tensor, step: HeatBath | Reassignment, turn: int) -> Best:
        """What one shake leads to."""
        n = permutations.shape[1]
        seed = self.seed * (len(self.plan.shakes) + 2) + turn + 2
        if isinstance(step, Reassignment):
            rounds = step.rounds_for(n)
            return self.valued(
                *self.moves.reassign(self.first, self.second, permutations, rounds, step.noise, losses, seed)
            )
        return self._bathed(permutations[:, None], losses, step, seed)

    def _bathed(self, starts: Tensor, losses: Tensor, step: HeatBath, seed: int) -> Best:
        """What the best of the heat baths from ``(P, S, n)`` starts descends to."""
        n = starts.shape[2]
        sweeps, hot = step.sweeps_for(n), step.hot * losses / n
        return self.valued(*self.moves.heat(self.first, self.second, starts, sweeps, hot, step.cooling, seed))

    def _starts(self, sorted_rows: Tensor) -> Tensor:
        """``(P, 5, n)`` cheap guesses: identity, sorted rows, eccentricity, principal axis in both directions."""
        matrices = self.search.matrices
        score = matrices.mean(dim=2)  # the eccentricities, as in the first lower bound of Mémoli 2011
        axis = _principal_axes(matrices)
        first, second = self.first, self.second
        guesses = [
            identity_start(len(first), matrices.shape[-1], matrices.device),
            sorted_rows,
            sorted_start(score[first], score[second]),
            sorted_start(axis[first], axis[second]),
            sorted_start(axis[first], -axis[second]),
        ]
        return torch.stack(guesses, dim=1)

    def _from_starts(self, starts: Tensor, sorted_rows: Tensor) -> Best:
        """The best of what the best ones of ``(P, S, n)`` starts lead to, by descents and by heat baths.

        The baths are from the best of the starts and, as often as the plan says, from the sorted rows, of pairs that do
        not pair their inputs. They make the descent of a single start needless: a quench is enough to tell which pairs
        these are.
        """
        kept = min(self.plan.kept_for(starts.shape[2]), starts.shape[1])
        values = self.moves.values(self.first, self.second, starts)
        order = values.topk(kept, dim=1).indices
        chosen = starts.gather(1, order[:, :, None].expand(-1, -1, starts.shape[2]))
        step = self.plan.clusters
        if step is None or kept > 1:
            best = self._descended(chosen)
        else:
            quenched, _ = self.moves.quench(self.first, self.second, chosen[:, 0], QUENCH_SWEEPS)
            best = self.valued(quenched, torch.zeros(len(quenched), dtype=torch.bool, device=quenched.device))
            every = torch.arange(len(values), device=values.device)
            # The factors may take for better what is not.
            best = best.or_better(every, Best(chosen[:, 0], best.converged, values.max(dim=1).values))
            index = (_moved(best) < step.moved).nonzero()[:, 0]
            if len(index):
                best = best.or_better(index, self.only(index)._descended(chosen[index]))
        if step is None:
            return best
        index = (_moved(best) >= step.moved).nonzero()[:, 0]
        if len(index) == 0:
            return best
        losses = (self._ceiling() - best.values)[index].clamp(min=0)
        begun = torch.stack([best.permutations, *[sorted_rows] * (self.plan.baths - 1)], dim=1)[index]
        seed = self.seed * (len(self.plan.shakes) + 2)
        best = best.or_better(index, self.only(index)._bathed(begun, losses, step, seed))
        undone = (~best.converged).nonzero()[:, 0]
        if len(undone):  # baths may end no higher than they began
            best = best.or_better(undone, self.only(undone)._descended(best.permutations[undone][:, None]))
        return best

    def composed(self, best: Best, tried: Best | None = None) -> Best:
        """Descend from the best path through a third layer, where that promises more than what there is.

        The most promising paths are quenched first, as a few factors see them (see `low_rank`): a path joins the errors
        of both its parts, and few are better as they are.

        Args:
            best: What there is.
            tried: What there was when paths were last tried: those of which no part has become better since lead
                where they led then.
        """
        count, (pairs, n) = len(self.search.matrices), best.permutations.shape
        through = min(self.plan.through, count - 2)
        if through < 1:
            return best
        device = best.permutations.device
        value = torch.full((count, count), -torch.inf, dtype=torch.float64, device=device)
        value[self.first, self.second] = value[self.second, self.first] = best.values
        new = torch.ones(count, count, dtype=torch.bool, device=device)
        if tried is not None:
            new[self.first, self.second] = new[self.second, self.first] = best.values > tried.values
        # Third layers near both ends promise most; those that are not compared with both lead nowhere.
        path = torch.minimum(value[self.first], value[self.second])
        rows = torch.arange(pairs, device=device)
        path[rows, self.first] = path[rows, self.second] = -torch.inf
        nearness, third = path.topk(through, dim=1)
        worthwhile = (nearness > -torch.inf) & (new[self.first[:, None], third] | new[third, self.second[:, None]])
        if not bool(worthwhile.any()):
            return best
        table = identity_start(count * count, n, device).view(count, count, n)
        table[self.first, self.second] = best.permutations
        table[self.second, self.first] = invert(best.permutations)
        composed = [table[k, self.second].gather(1, table[self.first, k]) for k in third.unbind(dim=1)]
        candidates = torch.stack(composed, dim=1)
        values = self.moves.values(self.first, self.second, candidates).masked_fill(~worthwhile, -torch.inf)
        top, choice = values.topk(min(QUENCHED, through), dim=1)
        least = best.values - WITHIN * (self._ceiling() - best.values).clamp(min=0)
        pair, rank = (top > least[:, None]).nonzero().unbind(dim=1)
        if len(pair) == 0:
            return best
        i, j = self.first[pair], self.second[pair]
        quenched, seen = self.moves.quench(i, j, candidates[pair, choice[pair, rank]], QUENCH_SWEEPS)
        several = pair.unique()
        before = torch.full_like(best.values, torch.inf)
        before[several] = self.moves.quench(self.first[several], self.second[several], best.permutations[several], 0)[1]
        reached = torch.full(top.shape, -torch.inf, dtype=torch.float64, device=device)
        reached[pair, rank] = seen
        place = torch.zeros(top.shape, dtype=torch.int64, device=device)
        place[pair, rank] = torch.arange(len(pair), device=device)
        most, chosen = reached.max(dim=1)
        promising = (most > before).nonzero()[:, 0]
        if len(promising) == 0:
            return best
        start = quenched[place[promising, chosen[promising]]]
        return best.or_better(promising, self.only(promising)._descended(start[:, None]))

    def _enumerate(self, n: int) -> Best:
        every = torch.tensor(np.array(list(itertools.permutations(range(n)))), device=self.first.device)
        found, reached = [], []
        for i, j in zip(self.first.split(1), self.second.split(1), strict=True):
            value, place = self.moves.values(i, j, every[None])[0].max(dim=0)
            found.append(every[place])
            reached.append(value)
            self.report(1 + len(self.plan.shakes))
        exact = torch.ones(len(found), dtype=torch.bool, device=self.first.device)
        return Best(torch.stack(found), exact, torch.stack(reached))


def _moved(best: Best) -> Tensor:
    """``(P,)`` share of inputs matched to another than themselves."""
    p = best.permutations
    return (p != torch.arange(p.shape[1], device=p.device)).double().mean(dim=1)


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
