"""Rectangles between two sets of layers that were seen on different numbers of inputs: transport plans, through POT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_gw.geometry.spaces import Spaces
from lightning_gw.gw.bounds.couplings import Profile, transport_bound
from lightning_gw.gw.coupling import best_coupling
from lightning_gw.gw.moves.shared import Ranks

FloatArray = NDArray[np.float64]

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
