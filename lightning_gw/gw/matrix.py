"""`gw_matrix`: Gromov-Wasserstein values between all pairs of layers, of one set or between two."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_gw.geometry.geometries import GEOMETRIES, PRECOMPUTED, Geometry, get_geometry_or_precomputed
from lightning_gw.geometry.spaces import Spaces, make_spaces
from lightning_gw.geometry.validation import MINIMUM_INPUTS, check_representations, to_float64
from lightning_gw.gw.coupling import SOLVER, Plans, check_options, solve_unequal
from lightning_gw.gw.memory import check_memory
from lightning_gw.gw.moves.batched.swaps import invert
from lightning_gw.gw.moves.shared import same_call, same_spaces
from lightning_gw.gw.precision import full_precision, single_threaded
from lightning_gw.gw.result import GWMatrix
from lightning_gw.gw.search.effort import PLANS, Effort
from lightning_gw.gw.search.known import Pairs
from lightning_gw.gw.search.pairs import Solution, solve_pairs
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.progress import Progress, counted
from lightning_gw.utilities.random_state import usual_defaults

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@usual_defaults()
def gw_matrix(
    representations: Mapping[str, Tensor] | Sequence[Tensor],
    others: Mapping[str, Tensor] | Sequence[Tensor] | None = None,
    geometry: str | Geometry = "standardized",
    effort: Effort = "default",
    warm_start: GWMatrix | None = None,
    bounds: Literal["fast", "tight"] | None = "fast",
    seed: int = 0,
    progress: Progress | Literal[False] | None = None,
    anchor: float = 0.0,
    process_group: ProcessGroup | Literal["world"] | None = None,
) -> GWMatrix:
    """Gromov-Wasserstein matrix of all pairs of layers of one set, or between the layers of two sets.

    For every pair the distortion ``min_p mean (A − B[p][:, p])²`` over permutations of the inputs is searched by
    descents, heat baths and noisy assignments from several starts. Values are upper bounds, never above the identity,
    and come with a certified lower bound, the larger of the third lower bound (Mémoli 2011) and the spectral one.

    With `others` the result has a row for every layer of `representations` and a column for every layer of `others`,
    such as those of another model; equal names are different layers. If both saw equally many inputs everything is as
    above, and `identity` is the paired measure if they saw the same inputs in the same order. If they saw different
    numbers of inputs, values are upper bounds over all couplings with uniform weights (through POT's conditional
    gradient, from several starts), `lower` holds for all couplings, and `identity` is NaN, since there is no identity
    coupling.

    Args:
        representations: Layer name to ``(n, d)`` tensor, or a sequence of them. ``n`` is shared, ``d`` may differ. The
            work is done on their device.
        others: The other set, alike; its ``n`` may be another.
        geometry: ``"standardized"``, ``"euclidean"``, ``"dcor"``, ``"cka"``, … or a `Geometry` of your own; or
            ``"precomputed"``, where every value is a symmetric ``(n, n)`` matrix that is used as it is.
        effort: ``"fast"`` (one short heat bath that asks which clusters of inputs correspond, and a few noisy
            assignments per pair), ``"default"`` (two longer ones, and more assignments; fewer where they change
            nothing) or ``"high"`` (many, from every start). Up to 7 inputs every effort is exact. On the CPU the search
            is compiled if Numba is installed (``pip install 'lightning-gw[fast]'``); the result names its solver.
        warm_start: Result for the same layers and inputs at an earlier time. Each pair goes on from its coupling. It is
            searched again, more briefly than from cold, once its two layers moved by three tenths of their distance
            since it last was (a tenth of that every eighth matrix in a row), and what ends lower is kept.
        bounds: ``"fast"`` (third lower bound and spectral), ``"tight"`` (also a convex quadratic relaxation, see
            `tight_bounds`; minutes where the search takes seconds), or None for no bounds (they are 0 then).
        seed: Seed of everything random inside; the global generators are never touched.
        progress: Called with (work done, work in all). None shows a bar where the search takes longer than two seconds,
            in a terminal or a notebook; False shows nothing.
        anchor: ``λ``, added times the share of inputs not matched to themselves: fused Gromov-Wasserstein (Vayer et al.
            2020) with an identity feature cost. 0 is pure GW; from a large enough ``λ`` on it is the paired measure.
        process_group: Processes that share the pairs out between them: a process group of `torch.distributed`, or
            ``"world"`` for all processes. **Every rank of it must make this call, with the same arguments and
            representations** (gathered first, where each has its own inputs); all get the same result, the one that a
            single process finds. None, the default, asks nothing of other processes, so that one rank may call alone.

    Returns:
        GWMatrix, float64 on the host. Layers with NaN, infinite or constant values are named in its `degenerate`
        (`other_degenerate` for columns), and their rows are NaN. Where a best permutation need not be a best coupling
        the result says so in `restricted`.

    Raises:
        ValueError: For unknown options, no layers, different ``n`` within a set, fewer than 4 inputs, matrices that are
            not symmetric, options without meaning between sets of different ``n``, or if the ranks of `process_group`
            ask for different matrices.
        TypeError: For complex or boolean representations, or a geometry in the place of `others`.
        MemoryError: If the matrices of all layers and one pair do not fit in the memory that is free.
        RankError: If another rank of `process_group` failed.

    Example:
        >>> import torch
        >>> from lightning_gw import gw_matrix
        >>> x = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
        >>> matrix = gw_matrix({"first": x, "turned": 3 * x.flip(1), "squares": x.square()})
        >>> matrix
        GWMatrix(3 layers, n=32, standardized)
        >>> matrix.similarity.round(2)[0, 1].item()  # neither turning nor scaling changes how inputs are arranged
        1.0
        >>> bool(matrix.similarity[0, 2] < 0.9)
        True

        The layers of another model, which saw other inputs, and fewer of them:

        >>> gw_matrix({"first": x}, {"theirs": x[:24, :3], "squares": x[8:].square()})
        GWMatrix(1 × 2 layers, n=32 × 24, standardized)
    """
    started = time.perf_counter()
    ranks = Ranks(process_group)
    with ranks.failing_together():
        if isinstance(others, (str, Geometry)):
            name = others if isinstance(others, str) else others.name
            raise TypeError(
                f"The second argument of gw_matrix is another set of layers, got the geometry {name!r}. "
                f"Pass it by name: geometry={repr(name) if isinstance(others, str) else '...'}."
            )
        kind = get_geometry_or_precomputed(geometry)
        minimum = 1 if kind is PRECOMPUTED else MINIMUM_INPUTS
        rows = check_representations(representations, minimum, kind)
        columns = None if others is None else check_representations(others, minimum, kind, " of others")
        if effort not in PLANS:
            raise ValueError(f"Unknown effort {effort!r}. Known: {', '.join(PLANS)}.")
        if bounds not in ("fast", "tight", None):
            raise ValueError(f"Unknown bounds {bounds!r}. Known: 'fast', 'tight', None.")
        if not 0 <= anchor < float("inf"):
            raise ValueError(f"anchor is {anchor}; expected a finite number that is not negative.")
        check_sides(rows, columns, effort, warm_start, bounds, anchor)
        asked = {"geometry": kind.name, "effort": effort, "bounds": bounds, "seed": seed, "anchor": anchor}
        same_call(ranks, rows, columns, warm_start, asked)

        shown = False if ranks.rank and progress is None else progress
        bar = counted(f"Pairs of {len(rows)} layers", shown)
        with full_precision(), single_threaded() as threads, torch.no_grad(), bar as moved:
            spaces = same_spaces(ranks, make_spaces(rows, kind))
            other_spaces = None if columns is None else same_spaces(ranks, make_spaces(columns, kind))
            found: tuple[Pairs, Solution] | Plans
            if other_spaces is not None and _inputs(rows) != _inputs(columns):
                found = solve_unequal(spaces, other_spaces, bounds, seed, moved, ranks)
            else:
                pairs = Pairs.of(spaces, other_spaces)
                found = pairs, solve_pairs(pairs, effort, warm_start, bounds, seed, moved, anchor, threads, ranks)
        seconds = time.perf_counter() - started
        names = None if columns is None else tuple(columns)
        return ranks.first(assemble(tuple(rows), names, spaces, other_spaces, found, anchor, seconds))


def check_sides(
    rows: Mapping[str, Tensor],
    columns: Mapping[str, Tensor] | None,
    effort: str,
    warm_start: GWMatrix | None,
    bounds: str | None,
    anchor: float,
) -> None:
    """Refuse two sides that cannot be compared as asked, a warm start of another kind, and what does not fit."""
    n, m = _inputs(rows), _inputs(columns or rows)
    some, other = next(iter(rows.values())), next(iter((columns or rows).values()))
    if some.device != other.device:
        raise ValueError(f"representations lie on {some.device} and others on {other.device}; move them to one device.")
    if n != m:
        check_options(n, m, effort, warm_start is not None, bounds, anchor)
    elif warm_start is not None:
        if (warm_start.other_layers is None) != (columns is None):
            kinds = "of one set of layers, but two were" if columns else "between two sets of layers, but one was"
            raise ValueError(f"warm_start is a matrix {kinds} given. Pass an earlier result of the same kind.")
        if warm_start.couplings.ndim == 4:
            raise ValueError("warm_start holds transport plans between different numbers of inputs; leave it out.")
        if (held := warm_start.couplings.shape[-1]) != n:
            raise ValueError(f"warm_start holds couplings of {held} inputs, but the representations have {n}.")
    check_memory(to_float64(some[:1]).device, len(rows), n, len(columns or ()), m)


def _inputs(layers: Mapping[str, Tensor] | None) -> int:
    """Number of inputs that all layers of a set were seen on."""
    return len(next(iter((layers or {}).values())))


#: Geometries between which a result converts exactly.
CONVERTIBLE = (GEOMETRIES["standardized"], GEOMETRIES["euclidean"])


def assemble(
    layers: Sequence[str],
    others: Sequence[str] | None,
    rows: Spaces,
    columns: Spaces | None,
    found: tuple[Pairs, Solution] | Plans,
    anchor: float,
    seconds: float,
) -> GWMatrix:
    """Spread what was found for the usable `rows` and `columns` over all `layers` and `others`.

    Where these are not another set, `others` and `columns` are None.
    """
    names = tuple(layers) if others is None else tuple(others)
    there = rows if columns is None else columns
    place = np.ix_(_usable(layers, rows), _usable(names, there))

    def spread(values: NDArray[Any], missing: Any) -> NDArray[Any]:
        whole = np.full((len(layers), len(names), *values.shape[2:]), missing, dtype=values.dtype)
        whole[place] = values
        return whole

    restricted: NDArray[np.bool_] = ~np.asarray(
        np.logical_and.outer(rows.negative.numpy(), there.negative.numpy())
        | np.logical_and.outer(rows.positive.numpy(), there.positive.numpy())
    )
    if isinstance(found, Plans):
        distortion, lower, couplings, converged = found.distortion, found.lower, found.couplings, found.converged
        identity = np.full(distortion.shape, np.nan)
        restricted[:] = False  # all couplings are searched
        solver, unmatched = SOLVER, np.asarray(np.nan)
    else:
        square = columns is None
        shape = len(rows.layers), len(there.layers)
        distortion, lower, identity, couplings, converged = _tables(*found, shape, square)
        if square:
            np.fill_diagonal(restricted, False)  # a layer is its own best match
        solver, unmatched = found[1].solver, np.arange(couplings.shape[-1])
    # The conversion asks that diagonals be matched with diagonals, as permutations do and transport plans do not.
    convertible = rows.geometry in CONVERTIBLE and not isinstance(found, Plans)
    return GWMatrix(
        layers=tuple(layers),
        geometry=rows.geometry.name,
        distortion=spread(distortion, np.nan),
        lower=spread(lower, np.nan),
        identity=spread(identity, np.nan),
        couplings=spread(couplings, unmatched),
        converged=spread(converged, False),
        degenerate=dict(rows.degenerate),
        variation=_variation(layers, rows) if convertible else None,
        seconds=seconds,
        solver=solver,
        anchor=anchor,
        other_layers=None if columns is None else names,
        other_degenerate={} if columns is None else dict(columns.degenerate),
        other_variation=_variation(names, columns) if convertible and columns is not None else None,
        restricted=spread(restricted, False),
        unit_scale=rows.geometry.unit_scale,
        warm_looks=0 if isinstance(found, Plans) else found[1].warm_looks,
        drift=None if isinstance(found, Plans) else found[1].drift,
    )


def _tables(
    pairs: Pairs, solution: Solution, shape: tuple[int, int], square: bool
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Distortion, lower bound, identity, couplings and convergence of all usable rows and columns."""
    n = solution.permutations.shape[1]
    row = pairs.first.cpu().numpy()
    column = pairs.second.cpu().numpy() - (0 if square else shape[0])

    def table(values: Tensor, transposed: Tensor, diagonal: Any) -> NDArray[Any]:
        found = values.cpu().numpy()
        whole = np.empty((*shape, *found.shape[1:]), dtype=found.dtype)
        if square:
            whole[np.arange(shape[0]), np.arange(shape[0])] = diagonal
            whole[column, row] = transposed.cpu().numpy()
        whole[row, column] = found
        return whole

    distortion, lower, identity = (
        table(values, values, 0.0) for values in (solution.distortion, solution.lower, solution.identity)
    )
    couplings = table(solution.permutations, invert(solution.permutations), np.arange(n))
    return distortion, lower, identity, couplings, table(solution.converged, solution.converged, True)


def _usable(names: Sequence[str], spaces: Spaces) -> list[int]:
    """Where the usable layers stand among all."""
    return [k for k, name in enumerate(names) if name not in spaces.degenerate]


def _variation(names: Sequence[str], spaces: Spaces) -> NDArray[np.float64]:
    variation = np.full(len(names), np.nan)
    variation[_usable(names, spaces)] = spaces.variation.cpu().numpy()
    return variation
