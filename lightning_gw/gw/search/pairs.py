"""From metric-measure spaces of equally many inputs to the best permutation, its value and its bound for every pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_gw.geometry.spaces import Spaces
from lightning_gw.gw.bounds.permutations import Spectrum, round_down, spectral_bound
from lightning_gw.gw.bounds.tight import tight_bounds
from lightning_gw.gw.moves.batched_swaps import SearchMatrices, permute_both
from lightning_gw.gw.moves.choice import choose_moves, chunk_size
from lightning_gw.gw.moves.shared import SharedMoves
from lightning_gw.gw.search.effort import PLANS, WARM_PLANS, EffortPlan
from lightning_gw.gw.search.search import PairSolver
from lightning_gw.gw.search.starts import identity_start, sorted_rows_assignments
from lightning_gw.utilities.distributed import Ranks

if TYPE_CHECKING:
    from lightning_gw.gw.result import GWMatrix

Progress = Callable[[int, int], None]

#: Up to this many inputs a descent costs next to nothing, and few guesses lead to the optimum: random ones are added.
#: Beyond it they no longer lead anywhere that the others do not.
SMALL = 16
RANDOM_STARTS = 32
#: Warm starts in a row after which everything is searched in full once, from the last matching too.
FULL_SEARCH_EVERY = 8


@dataclass(frozen=True)
class Pairs:
    """Which spaces are compared with which.

    Attributes:
        matrices: ``(S, n, n)`` float64 spaces.
        first: ``(P,)`` index of the first space of each pair.
        second: ``(P,)`` index of the second.
        names: Layer names of each pair, ``P`` of them.
    """

    matrices: Tensor
    first: Tensor
    second: Tensor
    names: tuple[tuple[str, str], ...]

    @staticmethod
    def of(rows: Spaces, columns: Spaces | None) -> Pairs:
        """All pairs within one set of layers, or, row by row, between two."""
        count, device = len(rows.layers), rows.matrices.device
        if columns is None:
            first, second = torch.triu_indices(count, count, 1, device=device)
            matrices, names = rows.matrices, rows.layers
        else:
            index = torch.arange(count + len(columns.layers), device=device)
            first, second = torch.cartesian_prod(index[:count], index[count:]).reshape(-1, 2).unbind(dim=1)
            matrices = torch.cat([rows.matrices, columns.matrices])
            names = rows.layers + columns.layers
        named = zip(first.tolist(), second.tolist(), strict=True)
        return Pairs(matrices, first, second, tuple((names[i], names[j]) for i, j in named))


@dataclass(frozen=True)
class Solution:
    """What was found for ``P`` pairs.

    Attributes:
        permutations: ``(P, n)`` int64.
        converged: ``(P,)`` bool.
        distortion: ``(P,)`` float64, with the anchor's part.
        identity: ``(P,)`` float64.
        lower: ``(P,)`` float64 certified lower bounds on `distortion`.
        solver: What the search ran on.
        warm_looks: Matrices in a row, this one included, that only refined the one before.
    """

    permutations: Tensor
    converged: Tensor
    distortion: Tensor
    identity: Tensor
    lower: Tensor
    solver: str
    warm_looks: int


def solve_pairs(
    pairs: Pairs,
    effort: str,
    warm_start: GWMatrix | None,
    bounds: str | None,
    seed: int,
    progress: Progress | None,
    anchor: float,
    threads: int,
    ranks: Ranks,
) -> Solution:
    """Search all pairs; the arguments are those of `gw_matrix`, checked."""
    matrices, first, second = pairs.matrices, pairs.first, pairs.second
    n = matrices.shape[-1]
    in_place = identity_start(len(first), n, matrices.device)
    permutations = in_place.clone()
    converged = torch.zeros(len(first), dtype=torch.bool, device=matrices.device)
    search = SearchMatrices.of(matrices)
    moves = choose_moves(search, anchor)
    moves.threads = threads
    if ranks.size > 1:
        ranks.agree(solver=moves.name)
        moves = SharedMoves(moves, ranks)
    if len(first) == 0:
        nothing = torch.zeros(0, dtype=torch.float64, device=matrices.device)
        return Solution(permutations, converged, nothing, nothing, nothing, moves.name, 0)

    warm, known = _warm_permutations(warm_start, pairs)
    full = PLANS[effort]
    total, done = len(first) * (1 + len(full.shakes) + (bounds == "tight")), 0

    def report(finished: int) -> None:
        nonlocal done
        done += finished
        if progress is not None:
            progress(min(done, total), total)

    sorted_rows, lower = ranks.pairs(partial(sorted_rows_assignments, matrices), first, second)

    def search_some(chosen: Tensor, plan: EffortPlan) -> None:
        """Search some of the pairs, from what is known of them too."""
        if not bool(chosen.any()):
            return
        more = [permutations[chosen]] if warm_start is not None else []
        more += _random_starts(n, int(chosen.sum()), seed, matrices.device)
        solver = PairSolver(search, moves, first[chosen], second[chosen], plan, seed, report)
        found = solver.solve(sorted_rows[chosen], *more)
        permutations[chosen], converged[chosen] = found.permutations, found.converged
        report(int(chosen.sum()) * (len(full.shakes) - len(plan.shakes)))

    looks = 0 if warm_start is None else warm_start.warm_looks + 1
    if warm_start is not None and looks < FULL_SEARCH_EVERY and bool(known.any()):
        solver = PairSolver(search, moves, first[known], second[known], full, seed, report)
        polished, stands = solver.polish(warm[known], sorted_rows[known])
        permutations[known], converged[known] = polished.permutations, polished.converged
        settled = known.clone()
        settled[known] = stands
        report(int(settled.sum()) * (1 + len(full.shakes)))  # the work that a warm start spares
        search_some(known & ~settled, WARM_PLANS[effort])
        search_some(~known, full)
    else:
        looks = 0
        permutations = warm
        search_some(torch.ones_like(known), full)

    distortion, identity = ranks.pairs(partial(evaluate, matrices), first, second, permutations)
    distortion = distortion + anchor * (permutations != in_place).double().mean(dim=1)
    # The search works in float32; the identity is never beaten by rounding.
    permutations = torch.where((identity <= distortion)[:, None], in_place, permutations)
    distortion = torch.minimum(distortion, identity)
    if bounds:
        norms = matrices.square().mean(dim=(1, 2))
        lower = torch.maximum(lower, spectral_bound(Spectrum.of(matrices), first, second))
        lower = torch.minimum(round_down(lower, norms[first] + norms[second]), distortion)
        if bounds == "tight":
            each = partial(tight_bounds, matrices, anchor=anchor, progress=lambda one: report(one * ranks.size))
            tight = ranks.pairs(each, first, second, distortion)
            if done < total:  # what the other ranks did
                report(total - done)
            lower = torch.minimum(torch.maximum(lower, tight), distortion)
    else:
        lower = torch.zeros_like(distortion)
    return Solution(permutations, converged, distortion, identity, lower, moves.name, looks)


def _random_starts(n: int, count: int, seed: int, device: torch.device) -> list[Tensor]:
    """``(count, n)`` permutations for small spaces, the same for every pair, so that no pair depends on the others."""
    generator = torch.Generator().manual_seed(seed)
    starts = RANDOM_STARTS if n <= SMALL else 0
    return [torch.randperm(n, generator=generator).to(device).repeat(count, 1) for _ in range(starts)]


def _warm_permutations(warm_start: GWMatrix | None, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """``(P, n)`` earlier permutations and ``(P,)`` whether each is known."""
    n, device = pairs.matrices.shape[-1], pairs.matrices.device
    permutations = identity_start(len(pairs.names), n, device)
    known = torch.zeros(len(pairs.names), dtype=torch.bool, device=device)
    if warm_start is None:
        return permutations, known
    rows = {name: k for k, name in enumerate(warm_start.layers) if name not in warm_start.degenerate}
    left_out = warm_start.degenerate if warm_start.other_layers is None else warm_start.other_degenerate
    columns = {name: k for k, name in enumerate(warm_start.columns) if name not in left_out}
    for pair, (row, column) in enumerate(pairs.names):
        if row in rows and column in columns:
            permutations[pair] = torch.from_numpy(warm_start.couplings[rows[row], columns[column]]).to(device)
            known[pair] = True
    return permutations, known


def evaluate(matrices: Tensor, first: Tensor, second: Tensor, permutations: Tensor) -> tuple[Tensor, Tensor]:
    """Distortion at each permutation and at the identity, as direct float64 differences: ``(P,)`` each."""
    distortion, identity = [], []
    for chunk in torch.arange(len(first), device=first.device).split(chunk_size(matrices, 2)):
        a, b = matrices[first[chunk]], matrices[second[chunk]]
        distortion.append((a - permute_both(b, permutations[chunk])).square().mean(dim=(1, 2)))
        identity.append((a - b).square().mean(dim=(1, 2)))
    return torch.cat(distortion), torch.cat(identity)
