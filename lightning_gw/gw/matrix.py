"""`gw_matrix`: Gromov-Wasserstein values between all pairs of layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from lightning_gw.gw.bounds import Spectrum, round_down, spectral_bound
from lightning_gw.gw.moves import CompiledMoves, choose_moves, chunk_size
from lightning_gw.gw.result import GWMatrix
from lightning_gw.gw.search import SearchMatrices, permute_both
from lightning_gw.gw.shared import Ranks, SharedMoves, same_call, same_spaces
from lightning_gw.gw.solve import PLANS, Effort, PairSolver
from lightning_gw.gw.starts import invert, sorted_rows_assignments
from lightning_gw.gw.tight import tight_bounds
from lightning_gw.spaces import Geometry, Spaces, check_representations, get_geometry, make_spaces

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Progress = Callable[[int, int], None]


def gw_matrix(
    representations: Mapping[str, Tensor] | Sequence[Tensor],
    geometry: str | Geometry = "standardized",
    effort: Effort = "default",
    warm_start: GWMatrix | None = None,
    bounds: Literal["fast", "tight"] | None = "fast",
    seed: int = 0,
    progress: Progress | None = None,
    anchor: float = 0.0,
    process_group: ProcessGroup | Literal["world"] | None = None,
) -> GWMatrix:
    """Gromov-Wasserstein matrix of all pairs of layers that saw the same inputs.

    For every pair the distortion ``min_p mean (A − B[p][:, p])²`` over permutations of the inputs is searched by
    multi-swap descent and annealing from several starts. Values are upper bounds, never above the identity coupling,
    and come with a certified lower bound, the larger of the third lower bound (Mémoli 2011) and the spectral one.

    Args:
        representations: Layer name to ``(n, d)`` tensor, or a sequence of them. ``n`` is shared, ``d`` may differ. The
            work is done on their device.
        geometry: ``"standardized"``, ``"euclidean"``, ``"dcor"``, ``"cka"``, … or a `Geometry` of your own.
        effort: ``"fast"`` (descent from five starts), ``"default"`` (and up to six annealings per pair, fewer where
            they change nothing) or ``"high"`` (up to twenty longer ones). Up to 7 inputs every effort is exact. On the
            CPU the search is compiled if Numba is installed (``pip install 'lightning-gw[fast]'``), several times
            faster; the result names its solver.
        warm_start: Result for the same layers and inputs at an earlier time. Where its couplings are still all but
            optimal, descending from them is all that is done, which is many times cheaper; other pairs, and those it
            does not hold, are searched from cold, from its couplings too.
        bounds: ``"fast"`` (third lower bound and spectral), ``"tight"`` (also a convex quadratic relaxation, see
            `tight_bounds`; minutes where the search takes seconds), or None for no bounds (they are 0 then).
        seed: Seed of everything random inside; the global generators are never touched.
        progress: Called with (work done, work in all).
        anchor: ``λ``, added times the share of inputs not matched to themselves: fused Gromov-Wasserstein (Vayer et al.
            2020) with an identity feature cost. 0 is pure GW; from a large enough ``λ`` on it is the paired measure.
        process_group: Processes that share the pairs out between them: a process group of `torch.distributed`, or
            ``"world"`` for all processes. **Every rank of it must make this call, with the same arguments and
            representations** (gathered first, where each has its own inputs); all get the same result, the one that a
            single process finds. None, the default, asks nothing of other processes, so that one rank may call alone.

    Returns:
        GWMatrix, float64 on the host. Layers with NaN, infinite or constant values are named in its `degenerate`, and
        their rows are NaN.

    Raises:
        ValueError: For unknown options, no layers, different ``n``, fewer than 4 inputs, or if the ranks of
            `process_group` ask for different matrices.
        TypeError: For complex or boolean representations.
        RankError: If another rank of `process_group` failed.
    """
    started = time.perf_counter()
    ranks = Ranks(process_group)
    with ranks.failing_together():
        checked = check_representations(representations)
        if effort not in PLANS:
            raise ValueError(f"Unknown effort {effort!r}. Known: {', '.join(PLANS)}.")
        if bounds not in ("fast", "tight", None):
            raise ValueError(f"Unknown bounds {bounds!r}. Known: 'fast', 'tight', None.")
        if not 0 <= anchor < float("inf"):
            raise ValueError(f"anchor is {anchor}; expected a finite number that is not negative.")
        asked = {"geometry": get_geometry(geometry).name, "effort": effort, "bounds": bounds}
        same_call(ranks, checked, warm_start, {**asked, "seed": seed, "anchor": anchor})
        with full_precision(), single_threaded() as threads, torch.no_grad():
            spaces = same_spaces(ranks, make_spaces(checked, geometry))
            solution = _solve(spaces, effort, warm_start, bounds, seed, progress, anchor, threads, ranks)
        return ranks.first(_assemble(tuple(checked), spaces, *solution, anchor, started))


@contextmanager
def full_precision() -> Iterator[None]:
    """Autocast and TF32 off: their ten-bit products cannot tell near layers apart."""
    precision = torch.get_float32_matmul_precision()
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cuda.matmul.allow_tf32 = tf32


@contextmanager
def single_threaded() -> Iterator[int]:
    """One torch thread inside; gives the number there was, for work that is shared out by pairs.

    The many small operations gain nothing from more threads, and wait for each other at every one of them as soon as
    another process uses a core.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _solve(
    spaces: Spaces,
    effort: Effort,
    warm_start: GWMatrix | None,
    bounds: str | None,
    seed: int,
    progress: Progress | None,
    anchor: float,
    threads: int,
    ranks: Ranks,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, str]:
    """Index pairs ``(2, P)``, permutations ``(P, n)``, converged, distortions, lower bounds, and the solver's name."""
    matrices = spaces.matrices
    count, n = len(matrices), matrices.shape[-1]
    first, second = torch.triu_indices(count, count, 1, device=matrices.device)
    permutations = torch.arange(n, device=matrices.device).repeat(len(first), 1)
    converged = torch.zeros(len(first), dtype=torch.bool, device=matrices.device)
    search = SearchMatrices.of(matrices)
    moves = choose_moves(search, anchor)
    if isinstance(moves, CompiledMoves):
        moves.threads = threads
    if ranks.size > 1:
        ranks.agree(solver=moves.name)
        moves = SharedMoves(moves, ranks)
    if len(first) == 0:
        nothing = torch.zeros(0, dtype=torch.float64, device=matrices.device)
        return torch.stack([first, second]), permutations, converged, nothing, nothing, moves.name

    warm, known = _warm_permutations(warm_start, spaces, first, second)
    plan = PLANS[effort]
    total, done = len(first) * (1 + len(plan.anneals)), 0
    total += len(first) if bounds == "tight" else 0

    def report(finished: int) -> None:
        nonlocal done
        done += finished
        if progress is not None:
            progress(min(done, total), total)

    sorted_rows, lower = ranks.pairs(partial(sorted_rows_assignments, matrices), first, second)
    if bool(known.any()):
        solver = PairSolver(search, moves, first[known], second[known], plan, seed, report)
        permutations[known], converged[known], settled = solver.polish(warm[known], sorted_rows[known])
        known[known.clone()] = settled
    cold = ~known
    report(int(known.sum()) * (1 + len(plan.anneals)))  # the work that a warm start spares
    if bool(cold.any()):
        polished = [permutations[cold]] if warm_start is not None else []
        solver = PairSolver(search, moves, first[cold], second[cold], plan, seed, report)
        permutations[cold], converged[cold] = solver.solve(sorted_rows[cold], *polished)

    distortion, identity = ranks.pairs(partial(evaluate, matrices), first, second, permutations)
    distortion = distortion + anchor * (permutations != torch.arange(n, device=matrices.device)).double().mean(dim=1)
    # The search works in float32; the identity is never beaten by rounding.
    beaten = identity <= distortion
    permutations[beaten] = torch.arange(n, device=matrices.device)
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
    return torch.stack([first, second]), permutations, converged, distortion, lower, moves.name


def _warm_permutations(
    warm_start: GWMatrix | None, spaces: Spaces, first: Tensor, second: Tensor
) -> tuple[Tensor, Tensor]:
    """``(P, n)`` earlier permutations and ``(P,)`` whether each is known."""
    n, device = spaces.matrices.shape[-1], spaces.matrices.device
    permutations = torch.arange(n, device=device).repeat(len(first), 1)
    known = torch.zeros(len(first), dtype=torch.bool, device=device)
    if warm_start is None:
        return permutations, known
    if warm_start.couplings.shape[-1] != n:
        raise ValueError(
            f"warm_start holds couplings of {warm_start.couplings.shape[-1]} inputs, but the representations have {n}."
        )
    position = {name: k for k, name in enumerate(warm_start.layers) if name not in warm_start.degenerate}
    index = [position.get(name, -1) for name in spaces.layers]
    for pair, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        if index[i] >= 0 and index[j] >= 0:
            permutations[pair] = torch.from_numpy(warm_start.couplings[index[i], index[j]]).to(device)
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


def _assemble(
    layers: tuple[str, ...],
    spaces: Spaces,
    pairs: Tensor,
    permutations: Tensor,
    converged: Tensor,
    distortion: Tensor,
    lower: Tensor,
    solver: str,
    anchor: float,
    started: float,
) -> GWMatrix:
    """Spread the pairs over the full matrix; degenerate layers get NaN and identity couplings."""
    count, n = len(layers), spaces.matrices.shape[-1]
    where = np.array([layers.index(name) for name in spaces.layers], dtype=np.int64)
    usable = len(where)
    row, column = (where[index] for index in pairs.cpu().numpy())

    def spread(values: Tensor, diagonal: float) -> np.ndarray:
        full = np.full((count, count), np.nan)
        full[where, where] = diagonal
        full[row, column] = full[column, row] = values.cpu().numpy()
        return full

    couplings = np.broadcast_to(np.arange(n), (count, count, n)).copy()
    couplings[row, column] = permutations.cpu().numpy()
    couplings[column, row] = invert(permutations).cpu().numpy()
    finished = np.zeros((count, count), dtype=bool)
    finished[where, where] = True
    finished[row, column] = finished[column, row] = converged.cpu().numpy()
    variation = np.full(count, np.nan)
    variation[where] = spaces.variation.cpu().numpy()
    identity = (
        torch.empty(0, dtype=torch.float64)
        if usable < 2
        else evaluate(
            spaces.matrices, pairs[0], pairs[1], torch.arange(n, device=pairs.device).repeat(pairs.shape[1], 1)
        )[1]
    )
    return GWMatrix(
        layers=layers,
        geometry=spaces.geometry.name,
        distortion=spread(distortion, 0.0),
        lower=spread(lower, 0.0),
        identity=spread(identity, 0.0),
        couplings=couplings,
        converged=finished,
        degenerate=dict(spaces.degenerate),
        variation=variation if spaces.geometry.name in ("euclidean", "standardized") else None,
        seconds=time.perf_counter() - started,
        solver=solver,
        anchor=anchor,
    )
