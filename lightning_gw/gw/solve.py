"""From metric-measure spaces to the best permutations that can be found for a list of pairs, at a stated effort."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lightning_gw.gw.search import SearchMatrices, anneal, descend, permute_both
from lightning_gw.gw.starts import (
    assign,
    compose,
    eccentricities,
    identity_start,
    invert,
    sorted_rows_cost,
    sorted_start,
)

Effort = Literal["fast", "default", "high"]

#: Up to here all permutations are tried and the result is exact.
ENUMERATE_UP_TO = 7
#: Working tensors of n² float32 that one pair needs at a time.
TENSORS_PER_PAIR = 8


@dataclass(frozen=True)
class Plan:
    """How much work an effort spends on each pair.

    Attributes:
        scout_rounds: Rounds of descent from each start before the best are kept.
        kept: Starts that are followed to their local optimum.
        through: Third layers whose composed permutations are tried.
        anneal_rounds: Rounds of each annealing.
        anneals: Annealings, one after the other, each from the best so far.
    """

    scout_rounds: int
    kept: int
    through: int
    anneal_rounds: int
    anneals: int


PLANS: dict[str, Plan] = {
    "fast": Plan(scout_rounds=6, kept=1, through=2, anneal_rounds=0, anneals=0),
    "default": Plan(scout_rounds=8, kept=2, through=3, anneal_rounds=120, anneals=1),
    "high": Plan(scout_rounds=16, kept=4, through=6, anneal_rounds=300, anneals=4),
}


@dataclass
class PairSolver:
    """Best permutations for pairs of layers with equally many inputs.

    Attributes:
        search: Search matrices of all layers.
        first: ``(P,)`` index of the first layer of each pair.
        second: ``(P,)`` index of the second layer.
        plan: Work to spend.
        seed: Seed of the annealing noise.
        report: Called with the number of pairs finished since the last call.
    """

    search: SearchMatrices
    first: Tensor
    second: Tensor
    plan: Plan
    seed: int
    report: Callable[[int], None]

    def solve(self, sorted_rows: Tensor) -> tuple[Tensor, Tensor]:
        """Search from cold.

        Args:
            sorted_rows: ``(P, n)`` permutations of the sorted-rows assignment (it also gives the lower bound).

        Returns:
            Permutations ``(P, n)`` and ``(P,)`` bool: ended in a local optimum (or exact).
        """
        n = self.search.matrices.shape[-1]
        if n <= ENUMERATE_UP_TO:
            return self._enumerate(n)
        starts = self._starts(sorted_rows)
        best, converged = self._each_chunk(self._scout, starts)
        if self.plan.through and len(self.search.matrices) > 2:
            composed = self._compositions(best)
            best, converged = self._each_chunk(self._better_of, torch.stack([best, composed], dim=1))
        for turn in range(self.plan.anneals):
            best, converged = self._each_chunk(partial(self._anneal, turn=turn), best[:, None])
        return best, converged

    def polish(self, warm: Tensor) -> tuple[Tensor, Tensor]:
        """Descend from the better of ``(P, n)`` given permutations and the identity; same returns as `solve`."""
        identity = identity_start(len(warm), warm.shape[1], warm.device)
        return self._each_chunk(self._better_of, torch.stack([warm, identity], dim=1))

    def _starts(self, sorted_rows: Tensor) -> Tensor:
        """``(P, starts, n)`` cheap guesses: identity, sorted rows, eccentricity, principal axis in both directions."""
        matrices = self.search.matrices
        n = matrices.shape[-1]
        score = eccentricities(matrices)
        axis = torch.linalg.eigh(matrices).eigenvectors[:, :, 0]  # most negative: the widest direction of distances
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

    def _each_chunk(
        self, step: Callable[[Tensor, Tensor, Tensor | None, Tensor], tuple[Tensor, Tensor]], starts: Tensor
    ) -> tuple[Tensor, Tensor]:
        size = chunk_size(self.search.matrices, starts.shape[1])
        found, converged = [], []
        for chunk in torch.arange(len(self.first), device=self.first.device).split(size):
            i, j = self.first[chunk], self.second[chunk]
            a, b = self.search.matrices[i], self.search.matrices[j]
            permutation, done = step(a, b, self._linear(i, j), starts[chunk])
            found.append(permutation)
            converged.append(done)
            self.report(len(chunk))
        return torch.cat(found), torch.cat(converged)

    def _linear(self, i: Tensor, j: Tensor) -> Tensor | None:
        if self.search.diagonals is None:
            return None
        return self.search.diagonals[i][:, :, None] * self.search.diagonals[j][:, None, :]

    def _scout(self, a: Tensor, b: Tensor, linear: Tensor | None, starts: Tensor) -> tuple[Tensor, Tensor]:
        """A few rounds from every start, then the best ones all the way down."""
        pairs, count, n = starts.shape

        def repeat(x: Tensor | None, times: int) -> Tensor | None:
            return None if x is None else x.repeat_interleave(times, dim=0)

        scouted, _ = descend(
            a.repeat_interleave(count, dim=0),
            b.repeat_interleave(count, dim=0),
            starts.reshape(pairs * count, n),
            repeat(linear, count),
            rounds=self.plan.scout_rounds,
        )
        scouted = scouted.view(pairs, count, n)
        values = torch.stack([objective(a, b, scouted[:, s], linear) for s in range(count)], dim=1)
        order = values.argsort(dim=1, descending=True, stable=True)[:, : self.plan.kept]
        kept = scouted.gather(1, order[:, :, None].expand(-1, -1, n))
        return self._descend_and_choose(a, b, linear, kept)

    def _better_of(self, a: Tensor, b: Tensor, linear: Tensor | None, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Descend from the one start with the best value."""
        values = torch.stack([objective(a, b, starts[:, s], linear) for s in range(starts.shape[1])], dim=1)
        best = values.argmax(dim=1)
        return descend(a, b, starts[torch.arange(len(best), device=best.device), best], linear)

    def _anneal(self, a: Tensor, b: Tensor, linear: Tensor | None, starts: Tensor, turn: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 1009 + turn)
        shaken = anneal(a, b, starts[:, 0], linear, self.plan.anneal_rounds, generator)
        shaken, converged = descend(a, b, shaken, linear)
        worse = objective(a, b, shaken, linear) <= objective(a, b, starts[:, 0], linear)
        # What came in is a local optimum already: every annealing starts from a finished descent.
        return torch.where(worse[:, None], starts[:, 0], shaken), converged | worse

    def _descend_and_choose(self, a: Tensor, b: Tensor, linear: Tensor | None, starts: Tensor) -> tuple[Tensor, Tensor]:
        candidates, finished, values = [], [], []
        for s in range(starts.shape[1]):
            permutation, done = descend(a, b, starts[:, s], linear)
            candidates.append(permutation)
            finished.append(done)
            values.append(objective(a, b, permutation, linear))
        best = torch.stack(values, dim=1).argmax(dim=1)
        row = torch.arange(len(best), device=best.device)
        return torch.stack(candidates, dim=1)[row, best], torch.stack(finished, dim=1)[row, best]

    def _compositions(self, best: Tensor) -> Tensor:
        """``(P, n)`` per pair the best permutation that leads through a third layer."""
        count, n = len(self.search.matrices), best.shape[1]
        table = identity_start(count * count, n, best.device).view(count, count, n)
        table[self.first, self.second] = best
        table[self.second, self.first] = invert(best)
        value = torch.zeros(count, count, dtype=torch.float64, device=best.device)
        for chunk in torch.arange(len(best), device=best.device).split(chunk_size(self.search.matrices, 1)):
            i, j = self.first[chunk], self.second[chunk]
            s = objective(self.search.matrices[i], self.search.matrices[j], best[chunk], self._linear(i, j))
            value[i, j] = value[j, i] = s
        result = best.clone()
        # Third layers near both ends promise most: similarities add up along a path.
        path = value[self.first] + value[self.second]
        rows = torch.arange(len(best), device=best.device)
        path[rows, self.first] = path[rows, self.second] = -torch.inf
        through = path.topk(min(self.plan.through, count - 2), dim=1).indices
        for chunk in rows.split(chunk_size(self.search.matrices, 1)):
            i, j = self.first[chunk], self.second[chunk]
            a, b, linear = self.search.matrices[i], self.search.matrices[j], self._linear(i, j)
            top = objective(a, b, result[chunk], linear)
            for k in through[chunk].T:
                candidate = compose(table[i, k], table[k, j])
                s = objective(a, b, candidate, linear)
                better = s > top
                result[chunk] = torch.where(better[:, None], candidate, result[chunk])
                top = torch.where(better, s, top)
        return result

    def _enumerate(self, n: int) -> tuple[Tensor, Tensor]:
        device = self.first.device
        every = torch.tensor(np.array(list(itertools.permutations(range(n)))), device=device)
        found = []
        for i, j in zip(self.first.tolist(), self.second.tolist(), strict=True):
            a, b = self.search.matrices[i], self.search.matrices[j]
            pair_i, pair_j = torch.tensor([i], device=device), torch.tensor([j], device=device)
            linear = self._linear(pair_i, pair_j)
            values = (a * b[every[:, :, None], every[:, None, :]]).sum(dim=(1, 2), dtype=torch.float64)
            if linear is not None:
                values += linear[0][torch.arange(n, device=device), every].sum(dim=1)
            found.append(every[values.argmax()])
            self.report(1)
        return torch.stack(found), torch.ones(len(found), dtype=torch.bool, device=device)


def objective(a: Tensor, b: Tensor, permutation: Tensor, linear: Tensor | None) -> Tensor:
    """``(P,)`` float64 ``S(p) = Σ A ∘ B[p][:, p] + Σ_i F[i, p_i]``, what the search raises."""
    value = (a * permute_both(b, permutation)).sum(dim=(1, 2), dtype=torch.float64)
    if linear is not None:
        value += linear.gather(2, permutation[:, :, None]).sum(dim=(1, 2), dtype=torch.float64)
    return value


def sorted_rows_assignments(matrices: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Sorted-rows assignments of every pair and their mean cost, which is the third lower bound (Mémoli 2011).

    Args:
        matrices: ``(L, n, n)`` float64.
        first: ``(P,)`` first layers.
        second: ``(P,)`` second layers.

    Returns:
        ``(P, n)`` permutations and ``(P,)`` float64 costs.
    """
    permutations, costs = [], []
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        columns, cost = assign(sorted_rows_cost(matrices[i], matrices[j]))
        permutations.append(columns)
        costs.append(cost)
    device = matrices.device
    return torch.from_numpy(np.stack(permutations)).to(device), torch.tensor(costs, dtype=torch.float64, device=device)


def chunk_size(matrices: Tensor, starts: int) -> int:
    """How many pairs to work on at once: what fits the cache on a CPU, a tenth of the free memory on a GPU."""
    n = matrices.shape[-1]
    per_pair = TENSORS_PER_PAIR * n * n * 4 * starts
    if matrices.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(matrices.device)
        budget = free // 10
    else:
        budget = 16 * 2**20
    return max(1, int(budget // per_pair))
