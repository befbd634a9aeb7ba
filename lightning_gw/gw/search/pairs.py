"""From metric-measure spaces of equally many inputs to the best permutation, its value and its bound for every pair."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_gw.gw.bounds.permutations import Spectrum, round_down, spectral_bound
from lightning_gw.gw.bounds.tight import tight_bounds
from lightning_gw.gw.drift import Drift
from lightning_gw.gw.moves.batched.swaps import SearchMatrices
from lightning_gw.gw.moves.choice import Moves, choose_moves
from lightning_gw.gw.moves.shared import SharedMoves
from lightning_gw.gw.search.effort import ANCHORED, PLANS, WARM_PLANS
from lightning_gw.gw.search.known import Known, Pairs
from lightning_gw.gw.search.search import Best, PairSolver
from lightning_gw.gw.search.sorted_rows import sorted_rows_assignments
from lightning_gw.gw.search.starts import identity_start
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.progress import Progress

if TYPE_CHECKING:
    from lightning_gw.gw.result import GWMatrix


#: Up to this many inputs a descent costs next to nothing, and few guesses lead to the optimum: random ones are added.
#: Beyond it they no longer lead anywhere that the others do not.
SMALL = 16
RANDOM_STARTS = 32
#: A pair is searched again once its layers together moved by this share of the distance between them …
REACH = 0.15
#: … or by so much less, when its turn comes: a better matching can grow elsewhere meanwhile.
IN_TURN = 0.1
#: Distance below which two layers are the same to float32, and no matching is better.
SAME = 1e-3
#: Looks in which the turn comes to every pair once.
TURNS = 8


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
        warm_looks: Matrices in a row, this one included, that were searched from the one before.
        drift: Where the layers are, and since when; None between two sets.
    """

    permutations: Tensor
    converged: Tensor
    distortion: Tensor
    identity: Tensor
    lower: Tensor
    solver: str
    warm_looks: int
    drift: Drift | None


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
    search = SearchMatrices.of(matrices)
    moves = _moves(search, anchor, threads, ranks)
    if len(first) == 0:
        nothing = torch.zeros(0, dtype=torch.float64, device=matrices.device)
        return Solution(in_place, nothing.bool(), nothing, nothing, nothing, moves.name, 0, None)

    drift = _drift(pairs, search, warm_start)
    earlier = Known.of(warm_start, pairs, drift, anchor)
    known, full = earlier.there, PLANS[effort]
    total, done = len(first) * (1 + len(full.shakes) + (bounds == "tight")), 0

    def report(finished: int) -> None:
        nonlocal done
        done += finished
        if progress is not None:
            progress(min(done, total), total)

    looks = warm_start.warm_looks + 1 if warm_start is not None and bool(known.any()) else 0
    solver = PairSolver(search, moves, first, second, full, seed, report)
    nowhere = torch.full((len(first),), -torch.inf, dtype=torch.float64, device=matrices.device)
    best, stale = Best(earlier.permutations, torch.zeros_like(known), nowhere), known & ~earlier.same
    if looks:
        same, there = earlier.same.nonzero()[:, 0], stale.nonzero()[:, 0]
        if len(same):
            best = best.or_better(same, solver.only(same).valued(earlier.permutations[same], earlier.converged[same]))
        if len(there):
            best = best.or_better(there, solver.only(there).refine(earlier.permutations[there]))
        if n > SMALL:  # below that a search costs next to nothing
            stale = stale & _moved_on(drift, solver.distances(best), pairs, looks)
    begun, unbounded = best, earlier.lower == 0
    wanted = (unbounded if bounds else stale | ~known).nonzero()[:, 0]
    sorted_rows, lower = in_place.clone(), torch.zeros_like(nowhere)
    if len(wanted):
        sorted_rows[wanted], lower[wanted] = ranks.pairs(
            partial(sorted_rows_assignments, matrices, threads=threads), first[wanted], second[wanted]
        )
    for chosen, plan in ((stale, WARM_PLANS[effort]), (~known, full)):
        index = chosen.nonzero()[:, 0]
        if len(index):
            some = replace(solver.only(index), plan=plan, seed=seed + looks)
            more = _random_starts(n, len(index), seed, matrices.device)
            found = some.solve(sorted_rows[index], *more, known=best.at(index) if looks else None)
            best = best.or_better(index, found)
            report(len(index) * (len(full.shakes) - len(plan.shakes)))
    settled = known & ~stale
    report(int(settled.sum()) * (1 + len(full.shakes)))  # the work that a warm start spares
    if looks and len(settled) > int(settled.sum()):
        best = solver.composed(best, begun)  # what was searched by itself may lead the others on
    if drift is not None:
        drift = drift.searched(first[~settled], second[~settled])
    permutations, converged = best.permutations, best.converged

    permutations, distortion, identity = _valued(pairs, permutations, moves)
    if bounds:
        if len(wanted):
            norms = matrices.square().mean(dim=(1, 2))
            lower = torch.maximum(lower, spectral_bound(Spectrum.of(matrices), first, second))
            lower = round_down(lower, norms[first] + norms[second])
        lower = torch.minimum(torch.where(unbounded, lower, earlier.lower), distortion)
        if bounds == "tight":
            each = partial(tight_bounds, matrices, anchor=anchor, progress=lambda one: report(one * ranks.size))
            tight = ranks.pairs(each, first, second, distortion)
            if done < total:  # what the other ranks did
                report(total - done)
            lower = torch.minimum(torch.maximum(lower, tight), distortion)
    else:
        lower = torch.zeros_like(distortion)
    return Solution(permutations, converged, distortion, identity, lower, moves.name, looks, drift)


def anchor_pairs(
    pairs: Pairs, plain: GWMatrix, before: GWMatrix | None, seed: int, anchor: float, threads: int, ranks: Ranks
) -> Solution:
    """Anchored values from what the plain search found; see `looks.LayerMatrices.anchored`."""
    first, second, matrices = pairs.first, pairs.second, pairs.matrices
    search = SearchMatrices.of(matrices)
    moves = _moves(search, anchor, threads, ranks)
    found = Known.of(plain, pairs, None, 0.0).permutations
    if len(first) == 0:
        nothing = torch.zeros(0, dtype=torch.float64, device=matrices.device)
        return Solution(found, nothing.bool(), nothing, nothing, nothing, moves.name, 0, None)
    drift = _drift(pairs, search, before)
    earlier = Known.of(before, pairs, drift, anchor)
    warm, known = earlier.permutations, earlier.there
    looks = before.warm_looks + 1 if before is not None and bool(known.any()) else 0
    solver = PairSolver(search, moves, first, second, ANCHORED, seed + looks, lambda _: None)
    best = solver.best_of(found, warm)
    ended = earlier.same & earlier.converged & (best.permutations == warm).all(dim=1)
    best = replace(best, converged=ended)
    stale = ~known | _moved_on(drift, solver.distances(best), pairs, looks) & ~earlier.same
    for chosen, descend in ((stale, PairSolver.descend_all), (~stale & ~best.converged, PairSolver.refine)):
        index = chosen.nonzero()[:, 0]
        if len(index):
            best = best.or_better(index, descend(solver.only(index), found[index], warm[index]))
    index = stale.nonzero()[:, 0]
    if len(index):
        tried, best = best, solver.composed(best)
        best = solver.composed(best.or_better(index, solver.only(index).shaken(best.at(index))), tried)
    if drift is not None:
        drift = drift.searched(first[stale], second[stale])
    permutations, distortion, identity = _valued(pairs, best.permutations, moves)
    none = torch.zeros_like(distortion)
    return Solution(permutations, best.converged, distortion, identity, none, moves.name, looks, drift)


def _moves(search: SearchMatrices, anchor: float, threads: int, ranks: Ranks) -> Moves:
    """The machinery, shared out where there are several processes."""
    moves = choose_moves(search, anchor)
    moves.threads = threads
    if ranks.size == 1:
        return moves
    ranks.agree(solver=moves.name)
    return SharedMoves(moves, ranks)


def _valued(pairs: Pairs, permutations: Tensor, moves: Moves) -> tuple[Tensor, Tensor, Tensor]:
    """``(P, n)`` permutations, the identity where it is no worse, and ``(P,)`` distortions of them and the identity."""
    in_place = identity_start(len(permutations), permutations.shape[1], permutations.device)
    each = partial(moves.distortions, pairs.matrices, pairs.first, pairs.second)
    distortion, identity = each(permutations), each(in_place)
    distortion = distortion + moves.anchor * (permutations != in_place).double().mean(dim=1)
    # The search works in float32; the identity is never beaten by rounding.
    permutations = torch.where((identity <= distortion)[:, None], in_place, permutations)
    return permutations, torch.minimum(distortion, identity), identity


def _moved_on(drift: Drift | None, distances: Tensor, pairs: Pairs, looks: int) -> Tensor:
    """``(P,)`` bool: whose layers moved so far that the pair is to be searched again.

    Args:
        drift: Where the layers are; None where that is not followed, and every pair counts as moved.
        distances: ``(P,)`` distance of each pair at its earlier matching, in units of the search matrices' root mean
            square.
        pairs: The pairs.
        looks: Number of this look in a row of warm ones.
    """
    if drift is None:
        return torch.ones(len(distances), dtype=torch.bool, device=distances.device)
    since = torch.from_numpy(drift.since).to(distances.device)[pairs.first, pairs.second]
    turn = torch.arange(len(distances), device=distances.device) % TURNS == looks % TURNS
    return (distances > SAME) & (since > REACH * torch.where(turn, IN_TURN, 1.0) * distances)


def _random_starts(n: int, count: int, seed: int, device: torch.device) -> list[Tensor]:
    """``(count, n)`` permutations for small spaces, the same for every pair, so that no pair depends on the others."""
    generator = torch.Generator().manual_seed(seed)
    starts = RANDOM_STARTS if n <= SMALL else 0
    return [torch.randperm(n, generator=generator).to(device).repeat(count, 1) for _ in range(starts)]


def _drift(pairs: Pairs, search: SearchMatrices, before: GWMatrix | None) -> Drift | None:
    """How far each layer is from where it was when its pairs were last searched; None where pairs are of no layers."""
    if pairs.layers is None:
        return None
    return Drift.of(pairs.layers, pairs.matrices, search.matrices, None if before is None else before.drift)
