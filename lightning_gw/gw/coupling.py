"""Gromov-Wasserstein between two sets of any sizes and any weights, through POT.

POT's exact conditional-gradient solver (Vayer et al. 2019, with the gradient of Peyré, Cuturi and Solomon 2016) finds
a local optimum near its start, and its product start is often the worst one. It is therefore run from several starts,
and the value of the best coupling is computed by us.

Our own permutation search is one of the starts, whatever the sizes and weights: with every input of either side split
into parts of equal weight, which changes no distortion, extreme couplings are permutations of the parts. Weights that
no few parts make up are rounded for the search, and what it found is brought back to them. Inputs without weight are
no part of either space, and inputs that coincide are one. Both directions are solved and the better one counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lightning_gw.geometry.geometries import PRECOMPUTED, Geometry, get_geometry_or_precomputed
from lightning_gw.geometry.spaces import Spaces, distance_matrix, make_space
from lightning_gw.geometry.validation import at_workable_scale, check_layer, find_defect, to_float64
from lightning_gw.gw.bounds.couplings import Profile, transport_bound
from lightning_gw.gw.moves.batched.swaps import SearchMatrices
from lightning_gw.gw.moves.choice import choose_moves
from lightning_gw.gw.parts import WEIGHT_TOLERANCE, coinciding, in_parts, with_marginals
from lightning_gw.gw.precision import full_precision
from lightning_gw.gw.search.effort import PLANS
from lightning_gw.gw.search.search import PairSolver
from lightning_gw.gw.search.sorted_rows import sorted_rows_assignments
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.distributed import Ranks

#: Conditional gradient steps from each start; hardly any run needs more.
MAXIMUM_STEPS = 1000
#: Random starts: as many as cost little beside the search, which is the more the fewer entries a coupling has.
FEWEST_RANDOM, MOST_RANDOM, RANDOM_ENTRIES = 2, 20, 8_000
#: Digits that the search sees; those beyond are what rounding made of the order of the inputs.
DIGITS = 10


@dataclass(frozen=True)
class GWCoupling:
    """The best coupling found between two metric-measure spaces.

    Attributes:
        distortion: ``Σ (A_ik − B_jl)² T_ij T_kl``, an upper bound on the Gromov-Wasserstein value.
        coupling: ``(n, m)`` coupling ``T``, its marginals the two weights.
        start: Name of the start it was reached from.
        converged: Whether POT stopped because nothing was gained any more, rather than at its step limit.

    Example:
        >>> from lightning_gw import gw_coupling
        >>> found = gw_coupling([[0.0], [1.0], [3.0]], [[3.0], [0.0], [1.0]])  # the same points in another order
        >>> found.distance
        0.0
        >>> (3 * found.coupling).round().astype(int).tolist()  # which point goes where
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    """

    distortion: float
    coupling: FloatArray
    start: str
    converged: bool

    @property
    def distance(self) -> float:
        """Square root of `distortion`."""
        return float(np.sqrt(self.distortion))


def gw_distance(
    x: torch.Tensor | ArrayLike,
    y: torch.Tensor | ArrayLike,
    a: torch.Tensor | ArrayLike | None = None,
    b: torch.Tensor | ArrayLike | None = None,
    geometry: str | Geometry = "euclidean",
    seed: int = 0,
) -> float:
    """Gromov-Wasserstein distance between two sets of representations, of any sizes and weights: an upper bound.

    Args:
        x: ``(n, d)`` representations.
        y: ``(m, e)`` representations; neither the number of inputs nor the width need agree.
        a: ``(n,)`` weights of the inputs of ``x``, adding up to 1; uniform if left out. What inputs of weight 0 are
            does not matter.
        b: ``(m,)`` weights of ``y``.
        geometry: How the distance matrices are made; ``"precomputed"`` takes ``x`` and ``y`` as ``(n, n)`` and
            ``(m, m)`` symmetric matrices, used as they are.
        seed: Seed of the random starts.

    Returns:
        Square root of the smallest distortion found. `gw_coupling` also returns its coupling.

    Raises:
        ValueError: For unusable representations or weights; the message says which and why.
        TypeError: For complex or boolean representations or weights.

    Example:
        >>> from lightning_gw import gw_distance
        >>> gw_distance([[0.0], [1.0]], [[5.0], [6.0], [6.0]], b=[0.5, 0.25, 0.25])  # coinciding points share a weight
        0.0
        >>> gw_distance([[0.0], [1.0]], [[5.0], [6.0], [6.0]]) > 0.1  # all three weigh the same
        True
    """
    return gw_coupling(x, y, a, b, geometry, seed).distance


def gw_coupling(
    x: torch.Tensor | ArrayLike,
    y: torch.Tensor | ArrayLike,
    a: torch.Tensor | ArrayLike | None = None,
    b: torch.Tensor | ArrayLike | None = None,
    geometry: str | Geometry = "euclidean",
    seed: int = 0,
) -> GWCoupling:
    """Like `gw_distance`, with the coupling that the value was reached at.

    Starts, in both directions: the product coupling, the one-dimensional optimal couplings of the mean distances, two
    random ones, the best permutation of our own search over parts of equal weight, and where both sides have the same
    weights the identity.

    Example:
        >>> from lightning_gw import gw_coupling
        >>> found = gw_coupling([[0.0], [1.0], [3.0]], [[0.0], [1.0]])
        >>> found.coupling.shape, round(float(found.coupling.sum()), 6)
        ((3, 2), 1.0)
    """
    with full_precision(), torch.no_grad():
        kind = get_geometry_or_precomputed(geometry)
        first, a_weights = _space("x", x, a, kind)
        second, b_weights = _space("y", y, b, kind)
        weighty = a_weights > 0, b_weights > 0
        found = best_coupling(first, second, a_weights[weighty[0]], b_weights[weighty[1]], seed)
        coupling = np.zeros((len(a_weights), len(b_weights)))
        coupling[np.ix_(*weighty)] = found.coupling
        return replace(found, coupling=coupling)


def best_coupling(first: FloatArray, second: FloatArray, a: FloatArray, b: FloatArray, seed: int) -> GWCoupling:
    """The best coupling that is reached from any start in either direction.

    Between symmetric ``(n, n)`` and ``(m, m)`` matrices with ``(n,)`` and ``(m,)`` weights above 0 that add up to 1.
    """
    rows, columns = coinciding(first), coinciding(second)
    # One input for all at a place, with the weight of all.
    chosen, others = np.unique(rows, return_index=True)[1], np.unique(columns, return_index=True)[1]
    left, right = _rounded(first[np.ix_(chosen, chosen)]), _rounded(second[np.ix_(others, others)])
    p, q = (np.asarray(np.bincount(*of), dtype=np.float64) for of in ((rows, a), (columns, b)))
    forward, backward = _directed(left, right, p, q, seed), _directed(right, left, q, p, seed)
    backward = replace(backward, coupling=backward.coupling.T)
    # Both are valued before rounding: of two that are equal once rounded, either order of the sides takes the same.
    exact = first[np.ix_(chosen, chosen)], second[np.ix_(others, others)]
    valued = [(coupling_distortion(*exact, found.coupling), found) for found in (forward, backward)]
    value, better = min(valued, key=itemgetter(0))
    shares = better.coupling[np.ix_(rows, columns)] * (a / p[rows])[:, None] * (b / q[columns])
    return replace(better, distortion=value, coupling=shares)


def _rounded(matrix: FloatArray) -> FloatArray:
    largest = np.abs(matrix).max()
    return matrix if largest == 0 else np.round(matrix, DIGITS - int(np.floor(np.log10(largest))))


def _directed(first: FloatArray, second: FloatArray, a: FloatArray, b: FloatArray, seed: int) -> GWCoupling:
    import ot  # where it is needed: it brings packages along that take a second to import

    best: GWCoupling | None = None
    for name, start in _starts(first, second, a, b, seed).items():
        reached, log = ot.gromov.gromov_wasserstein(
            first, second, a, b, "square_loss", symmetric=True, G0=start, max_iter=MAXIMUM_STEPS, log=True
        )
        converged = len(log["loss"]) <= MAXIMUM_STEPS
        # The start counts as well: no descent is trusted to improve on it.
        for coupling in (start, np.asarray(reached)):
            value = coupling_distortion(first, second, coupling)
            if best is None or value < best.distortion:
                best = GWCoupling(value, coupling, name, converged)
    assert best is not None
    return best


def coupling_distortion(first: FloatArray, second: FloatArray, coupling: FloatArray) -> float:
    """``Σ (A_ik − B_jl)² T_ij T_kl`` for symmetric ``(n, n)`` and ``(m, m)`` matrices and an ``(n, m)`` coupling.

    The same to the last digit with both sides exchanged.
    """
    if first.shape > second.shape or (first.shape == second.shape and first.tobytes() > second.tobytes()):
        first, second, coupling = second, first, coupling.T
    i, j = np.nonzero(coupling)
    if len(i) <= 2 * sum(coupling.shape):  # as extreme couplings are: the differences themselves, which lose no digits
        mass = coupling[i, j]
        return float(mass @ np.square(first[np.ix_(i, i)] - second[np.ix_(j, j)]) @ mass)
    coupling = np.ascontiguousarray(coupling)
    rows, columns = coupling.sum(axis=1), coupling.sum(axis=0)
    squares = rows @ first**2 @ rows + columns @ second**2 @ columns
    return max(float(squares - 2 * np.sum((first @ coupling @ second) * coupling)), 0.0)


def _space(
    name: str, x: torch.Tensor | ArrayLike, weights: torch.Tensor | ArrayLike | None, geometry: Geometry
) -> tuple[FloatArray, FloatArray]:
    """Float64 matrix of the inputs of one side that have weight, and the weights of all, checked."""
    points = to_float64(check_layer(name, x, geometry))
    if len(points) == 0:
        raise ValueError(f"{name} has shape {tuple(points.shape)}: no inputs; expected at least one.")
    checked = _check_weights(name, weights, len(points))
    weighty = torch.from_numpy(checked > 0).to(points.device)
    points = points[weighty] if geometry is not PRECOMPUTED else points[weighty][:, weighty]
    reason = find_defect(points, geometry)
    if reason is None:
        plain = distance_matrix(name, at_workable_scale(points, geometry), geometry)
        made, _, reason = make_space(plain, geometry, torch.from_numpy(checked[checked > 0]).to(plain.device))
        if made is not None:
            return made.cpu().numpy(), checked
    raise ValueError(f"{name} cannot be compared: {reason}.")


def _check_weights(name: str, weights: torch.Tensor | ArrayLike | None, n: int) -> FloatArray:
    if weights is None:
        return np.full(n, 1.0 / n)
    side = "a" if name == "x" else "b"
    given = torch.as_tensor(weights.copy() if isinstance(weights, np.ndarray) else weights)
    if given.is_complex() or given.dtype == torch.bool:
        raise TypeError(f"weights {side} have dtype {given.dtype}; expected real numbers.")
    checked = given.detach().cpu().double().numpy()
    if checked.shape != (n,):
        raise ValueError(f"weights {side} have shape {checked.shape}; expected ({n},), one per input of {name}.")
    if not np.isfinite(checked).all() or (checked < 0).any():
        raise ValueError(f"weights {side} must be finite and not negative.")
    if abs(checked.sum() - 1) > WEIGHT_TOLERANCE:
        raise ValueError(f"weights {side} add up to {checked.sum():g}; expected 1. Divide them by their sum.")
    return checked / checked.sum()


def _starts(first: FloatArray, second: FloatArray, a: FloatArray, b: FloatArray, seed: int) -> dict[str, FloatArray]:
    import ot  # where it is needed: it brings packages along that take a second to import

    n, m = len(a), len(b)
    starts = {
        "product": np.outer(a, b),
        "mean distance": np.asarray(ot.emd_1d(first @ a, second @ b, a, b)),
        "reversed mean distance": np.asarray(ot.emd_1d(first @ a, -(second @ b), a, b)),
    }
    generator = np.random.default_rng(seed)
    for k in range(min(max(FEWEST_RANDOM, RANDOM_ENTRIES // (n * m)), MOST_RANDOM)):
        starts[f"random {k + 1}"] = np.asarray(ot.emd(a, b, generator.random((n, m))))
    if n == m and np.abs(a - b).max() <= WEIGHT_TOLERANCE:
        starts["identity"] = with_marginals(np.diag(a), a, b)
    if min(n, m) > 1:
        starts["swap search"] = with_marginals(_search(first, second, *in_parts(a, b), seed), a, b)
    return starts


def _search(
    first: FloatArray, second: FloatArray, a_parts: NDArray[np.int64], b_parts: NDArray[np.int64], seed: int
) -> FloatArray:
    """``(n, m)`` coupling of the best permutation that our own search finds between the parts of both sides."""
    rows, columns = np.repeat(np.arange(len(first)), a_parts), np.repeat(np.arange(len(second)), b_parts)
    matrices = torch.from_numpy(np.stack([first[np.ix_(rows, rows)], second[np.ix_(columns, columns)]]))
    left, right = torch.tensor([0]), torch.tensor([1])
    search = SearchMatrices.of(matrices)
    moves = choose_moves(search)
    solver = PairSolver(search, moves, left, right, PLANS["default"], seed, lambda _: None)
    sorted_rows, _ = sorted_rows_assignments(matrices, left, right, moves.threads)
    permutation = solver.solve(sorted_rows).permutations[0].numpy()
    coupling = np.zeros((len(first), len(second)))
    np.add.at(coupling, (rows, columns[permutation]), 1 / len(rows))
    return coupling


SOLVER = "conditional gradient (POT)"


@dataclass(frozen=True)
class Plans:
    """What was found between ``U_a`` and ``U_b`` usable layers of ``n`` and ``m`` inputs.

    Attributes:
        distortion: ``(U_a, U_b)`` float64.
        lower: ``(U_a, U_b)`` float64 certified lower bounds over all couplings.
        couplings: ``(U_a, U_b, n, m)`` float32.
        converged: ``(U_a, U_b)`` bool, as POT reports it.
    """

    distortion: FloatArray
    lower: FloatArray
    couplings: NDArray[np.float32]
    converged: NDArray[np.bool_]


def check_options(n: int, m: int, effort: str, warmed: bool, bounds: str | None, anchor: float) -> None:
    """Refuse what has no meaning between sets of different size.

    Raises:
        ValueError: Saying what to leave out.
    """
    between = f"The two sets were seen on {n} and {m} inputs, so they are compared through POT, from several starts"
    if effort != "default":
        raise ValueError(f"{between}, with one effort for all; leave effort={effort!r} out.")
    if warmed:
        raise ValueError(f"{between} of its own; leave warm_start out.")
    if bounds == "tight":
        raise ValueError(f'{between}; tight bounds are about permutations. Use bounds="fast" or None.')
    if anchor > 0:
        raise ValueError(
            f"{between}, and no input has a counterpart of its own to be anchored to. Leave anchor={anchor:g} out, or "
            "show both models the same inputs."
        )


def solve_unequal(
    rows: Spaces,
    columns: Spaces,
    bounds: str | None,
    seed: int,
    progress: Callable[[int, int], None] | None,
    ranks: Ranks,
) -> Plans:
    """Every pair of a row and a column, one after the other, shared out over the ranks; weights are uniform."""
    first, second = rows.matrices.cpu().numpy(), columns.matrices.cpu().numpy()
    n, m = first.shape[1], second.shape[1]
    shape = (len(first), len(second))
    plans = Plans(
        np.empty(shape), np.zeros(shape), np.empty((*shape, n, m), dtype=np.float32), np.empty(shape, dtype=np.bool_)
    )
    pairs = list(np.ndindex(shape))
    weights = np.full(n, 1 / n), np.full(m, 1 / m)
    profiles = [[Profile.of(matrix) for matrix in side] for side in (first, second)] if bounds else None
    mine = {}
    for done, (i, j) in enumerate(pairs[ranks.rank :: ranks.size], start=1):
        found = best_coupling(first[i], second[j], *weights, seed)
        lower = 0.0 if profiles is None else transport_bound(profiles[0][i], profiles[1][j])
        mine[i, j] = found, min(lower, found.distortion)
        if progress is not None:
            progress(min(done * ranks.size, len(pairs)), len(pairs))
    for share in ranks.exchange(mine):
        for place, (found, lower) in share.items():
            plans.distortion[place], plans.lower[place] = found.distortion, lower
            plans.couplings[place], plans.converged[place] = found.coupling, found.converged
    return plans
