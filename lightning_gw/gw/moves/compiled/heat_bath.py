"""The heat bath compiled for the CPU with Numba: see `batched.heat_bath` for what it does.

Conventions are those of `compiled.swaps`, with the factors of ``A`` in its place. Everything that is kept of the inputs
stands in the order of ``B``: at ``w`` what belongs to the input of ``A`` that is matched to input ``w`` of ``B``. Then
rows of ``B`` are read as they lie, where ``Bp`` would have to be looked up entry by entry, and a swap adds one product
of rank one to ``C`` and exchanges two columns of ``β``.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lightning_gw.gw.moves.batched.swaps import GAIN_TOLERANCE
from lightning_gw.gw.moves.compiled.cache import compiled
from lightning_gw.gw.moves.compiled.lanes import LANES, larger, largest, load, splat, store
from lightning_gw.gw.moves.compiled.swaps import OPTIONS, next_random, seeded
from lightning_gw.gw.moves.low_rank import RANK

#: What is kept of `LANES` inputs lies in one cell, ``C``, ``β`` and ``D`` row by row, so that a loop over inputs walks
#: through one piece of memory: as many arrays as there are rows take more addresses than a CPU has registers.
ROWS = 2 * RANK + 1
CELL = ROWS * LANES
#: What fills the places in the last cell that belong to no input: the gains of these lie far below all others.
FAR = np.float32(1e15)
LEAST = np.float32(-3e38)
NOWHERE = np.int32(2**31 - 1)
HALF = np.float32(0.5)
#: Places in the noise that an input's part of it may begin at.
PLACES = 2**14


def _width(n: int) -> int:
    return (n + LANES - 1) // LANES * LANES


#: As many places as `n` inputs take in whole cells.
width_of = compiled(**OPTIONS)(_width)


@functools.cache
def gumbel_noise(n: int) -> NDArray[np.float32]:
    """Noise for the heat bath of `n` inputs, the same at every call."""
    return np.random.default_rng(0).gumbel(size=PLACES + _width(n)).astype(np.float32)


@compiled(**OPTIONS)
def inverse(p):  # type: ignore[no-untyped-def]
    """Inverse of a permutation."""
    out = np.empty_like(p)
    for k in range(len(p)):
        out[p[k]] = k
    return out


@compiled(**OPTIONS)
def padded(matrix):  # type: ignore[no-untyped-def]
    """The rows of an ``(n, n)`` matrix one after the other, with zeros behind each unless they fill whole cells."""
    n = len(matrix)
    width = width_of(n)
    if width == n:
        return matrix.reshape(-1)
    out = np.zeros((n, width), np.float32)
    out[:, :n] = matrix
    return out.reshape(-1)


@compiled(**OPTIONS)
def place_of(w):  # type: ignore[no-untyped-def]
    """Where the column of input ``w`` begins in its cell; every further entry lies `LANES` behind."""
    return w // LANES * CELL + w % LANES


@compiled(**OPTIONS)
def cells_of(c, right, diagonals, whose):  # type: ignore[no-untyped-def]
    """``C`` in the order of ``B``, and ``β`` and ``D`` in that of ``A``, as cells."""
    n = len(whose)
    cells = np.full(width_of(n) // LANES * CELL, FAR, np.float32)
    for w in range(n):
        at, k = place_of(w), whose[w]
        for s in range(RANK):
            cells[at + s * LANES] = c[s, w]
            cells[at + (RANK + s) * LANES] = right[s, k]
        cells[at + 2 * RANK * LANES] = diagonals[k]
    return cells


@compiled(**OPTIONS)
def look_at(cells, left, u, w, seen):  # type: ignore[no-untyped-def]
    """What input ``u`` of ``A``, matched to ``w``, compares others with: ``C_u``, ``β_u``, ``2 α_u`` and ``D_u``."""
    at = place_of(w)
    for s in range(RANK):
        seen[s] = cells[at + s * LANES]
        seen[RANK + s] = cells[at + (RANK + s) * LANES]
        seen[2 * RANK + s] = 2 * left[s, u]
    seen[3 * RANK] = cells[at + 2 * RANK * LANES]


@compiled(**OPTIONS)
def half_gains(cells, rows, b_u, seen, added, summand, weight, out):  # type: ignore[no-untyped-def]
    """Half the gains of all swaps of an input, and `weight` times what is `added` from place `summand` on.

    They are ``(2 α_u · β_w − D_u − D_w) B_uw − (C_w − C_u) · (β_w − β_u)``, which needs no diagonal of ``Bp A``. The
    row of ``B`` begins at `b_u` in `rows`.

    Returns:
        The largest.
    """
    own, weights, most = splat(seen[3 * RANK]), splat(weight), splat(LEAST)
    for cell in range(len(cells) // CELL):
        first, w = cell * CELL, cell * LANES
        gain = weights * load(added, summand + w)
        inner = splat(np.float32(0)) - own - load(cells, first + 2 * RANK * LANES)
        for s in range(RANK):
            c, beta = load(cells, first + s * LANES), load(cells, first + (RANK + s) * LANES)
            gain -= (c - splat(seen[s])) * (beta - splat(seen[RANK + s]))
            inner += splat(seen[2 * RANK + s]) * beta
        gain += inner * load(rows, b_u + w)
        most = larger(most, gain)
        store(out, w, gain)
    return largest(most)


@compiled(**OPTIONS)
def add_others(a_diagonal, b_diagonal, tied, at, noise, summand, temperature, out):  # type: ignore[no-untyped-def]
    """What diagonals and anchor add to the gains of the swaps of the input at place `at`, and the noise."""
    x, y, tied_u, heat = splat(a_diagonal[at]), splat(b_diagonal[at]), splat(tied[at]), splat(temperature)
    for w in range(0, len(out), LANES):
        gain = (x - load(a_diagonal, w)) * (load(b_diagonal, w) - y) - (load(tied, w) + tied_u)
        store(out, w, gain + heat * load(noise, summand + w))


@compiled(**OPTIONS)
def first_place(values, value):  # type: ignore[no-untyped-def]
    """Where a value stands first, or a place behind all if nowhere."""
    place = NOWHERE
    for k in range(len(values)):
        place = min(place, np.int32(k) if values[k] == value else NOWHERE)
    return np.int64(place)


@compiled(**OPTIONS)
def exchange(cells, rows, b_u, b_v, factor, w_u, w_v):  # type: ignore[no-untyped-def]
    """Make a swap: ``C`` goes with the rows of ``B`` that change places, ``β`` and ``D`` with the inputs of ``A``.

    `factor` is ``α_u − α_v``, and the rows of ``B`` begin at `b_u` and `b_v` in `rows`.
    """
    for cell in range(len(cells) // CELL):
        w = cell * LANES
        change = load(rows, b_v + w) - load(rows, b_u + w)
        for s in range(RANK):
            k = cell * CELL + s * LANES
            store(cells, k, load(cells, k) + splat(factor[s]) * change)
    for s in range(RANK, ROWS):
        u, v = place_of(w_u) + s * LANES, place_of(w_v) + s * LANES
        cells[u], cells[v] = cells[v], cells[u]


@compiled(**OPTIONS)
def heat_bath(  # type: ignore[no-untyped-def]
    left,
    right,
    diagonals,
    b,
    a_diagonal,
    b_diagonal,
    anchor,
    p,
    turned,
    sweeps,
    hot,
    cooling,
    quench,
    seed,
    noise,
):
    """Draw every input's partner anew in turn, from `hot` down to `cooling` times that, then take the best in turn.

    Args:
        left: Factors of ``A`` (see `low_rank.Factors`), likewise `right` and `diagonals`.
        b: ``(n, n)`` the other matrix, in its own order, likewise `b_diagonal`.
        p: ``(n,)`` int64, changed in place.
        turned: Whether `p` leads from the other matrix to this one.
        sweeps: Sweeps at temperatures above 0.
        hot: First temperature, in units of the objective.
        cooling: Last temperature over the first.
        quench: Most sweeps at temperature 0 after those; they end where nothing moves.
        noise: `gumbel_noise`, of which every input takes a row from a place that is drawn.

    Returns:
        The objective of `p` as the factors see it.

    Raises:
        FloatingPointError: If gains are not finite.
    """
    n = len(p)
    width = width_of(n)
    state = seeded(seed)
    if turned:
        p[:] = inverse(p)
    whose = inverse(p)  # to whom every input of B is matched
    rows = padded(b)
    seen, factor = np.empty(3 * RANK + 1, np.float32), np.empty(RANK, np.float32)
    cells = cells_of(np.dot(left[:, whose], b), right, diagonals, whose)
    gains, added = np.empty(width, np.float32), np.empty(width, np.float32)
    moved_diagonal, other_diagonal = np.zeros(width, np.float32), np.zeros(width, np.float32)
    tied = np.zeros(width, np.float32)  # what would be lost by leaving an input that is matched to itself
    for w in range(n):
        moved_diagonal[w], other_diagonal[w] = a_diagonal[whose[w]], b_diagonal[w]
        if whose[w] == w:
            tied[w] = anchor
    plain = anchor == 0 and not (np.any(a_diagonal) and np.any(b_diagonal))
    tolerance = np.float32(GAIN_TOLERANCE * n)
    places = np.uint64(PLACES)
    for turn in range(sweeps + quench):
        temperature = np.float32(0)
        if turn < sweeps:
            temperature = np.float32(hot * cooling ** (turn / max(1, sweeps - 1)))
        made = 0
        for u in range(n):
            w_u = p[u]
            first = np.int64(next_random(state) % places)
            look_at(cells, left, u, w_u, seen)
            if plain:
                most = half_gains(cells, rows, w_u * width, seen, noise, first, HALF * temperature, gains)
            else:
                add_others(moved_diagonal, other_diagonal, tied, w_u, noise, first, temperature, added)
                added[u] += anchor
                added[p[w_u]] += anchor
                added[w_u] = temperature * noise[first + w_u]
                most = half_gains(cells, rows, w_u * width, seen, added, 0, HALF, gains)
            w_v = first_place(gains, most)
            if w_v >= n:  # whatever is written there would not belong to this
                raise FloatingPointError("the gains of swaps are not finite")
            if w_v == w_u or (temperature == 0 and most <= HALF * tolerance):
                continue
            v = whose[w_v]
            for s in range(RANK):
                factor[s] = left[s, u] - left[s, v]
            exchange(cells, rows, w_u * width, w_v * width, factor, w_u, w_v)
            p[u], p[v], whose[w_u], whose[w_v] = w_v, w_u, v, u
            moved_diagonal[w_u], moved_diagonal[w_v] = moved_diagonal[w_v], moved_diagonal[w_u]
            tied[w_u] = anchor if v == w_u else np.float32(0)
            tied[w_v] = anchor if u == w_v else np.float32(0)
            made += 1
        if turn >= sweeps and made == 0:
            break
    total = 0.0
    for w in range(n):
        at = place_of(w)
        for s in range(RANK):
            total += cells[at + s * LANES] * cells[at + (RANK + s) * LANES]
        total += moved_diagonal[w] * b_diagonal[w] + tied[w]
    if turned:
        p[:] = inverse(p)
    return total
