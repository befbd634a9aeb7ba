"""The heat bath compiled for the CPU with Numba: see `batched.heat_bath` for what it does.

Conventions are those of `compiled.swaps`, with the factors of ``A`` in its place. Sums over the factors are written
out, because only then does the loop over inputs become one of vectors.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lightning_gw.gw.moves.batched.swaps import GAIN_TOLERANCE
from lightning_gw.gw.moves.compiled.cache import compiled
from lightning_gw.gw.moves.compiled.swaps import OPTIONS, VECTORISED, next_random, seeded
from lightning_gw.gw.moves.low_rank import RANK

#: Lanes in which the largest gain is looked for.
LANES = 16
NEVER = np.float32(-3e38)
#: Places in the noise that an input's part of it may begin at.
PLACES = 2**14


@functools.cache
def gumbel_noise(n: int) -> NDArray[np.float32]:
    """Noise for the heat bath of `n` inputs, the same at every call."""
    return np.random.default_rng(0).gumbel(size=PLACES + n).astype(np.float32)


@compiled(**OPTIONS)
def inverse(p):  # type: ignore[no-untyped-def]
    """Inverse of a permutation."""
    out = np.empty_like(p)
    for k in range(len(p)):
        out[p[k]] = k
    return out


@compiled(**VECTORISED)
def gather(row, order, out):  # type: ignore[no-untyped-def]
    """``row[order]``."""
    for k in range(len(order)):
        out[k] = row[order[k]]


@compiled(**VECTORISED)
def gains_of(c, right, own, inner_u, b_u, u, out):  # type: ignore[no-untyped-def]
    """Gains of all swaps of input ``u``, diagonals and anchor apart."""
    a0, a1, a2, a3, a4, a5, a6, a7 = c[0, u], c[1, u], c[2, u], c[3, u], c[4, u], c[5, u], c[6, u], c[7, u]
    b0, b1, b2, b3 = right[0, u], right[1, u], right[2, u], right[3, u]
    b4, b5, b6, b7 = right[4, u], right[5, u], right[6, u], right[7, u]
    offset = own[u]
    for v in range(len(own)):
        total = a0 * right[0, v] + a1 * right[1, v] + a2 * right[2, v] + a3 * right[3, v]
        total += a4 * right[4, v] + a5 * right[5, v] + a6 * right[6, v] + a7 * right[7, v]
        total += b0 * c[0, v] + b1 * c[1, v] + b2 * c[2, v] + b3 * c[3, v]
        total += b4 * c[4, v] + b5 * c[5, v] + b6 * c[6, v] + b7 * c[7, v]
        out[v] = 2 * (total - own[v] - offset) + 4 * inner_u[v] * b_u[v]


@compiled(**VECTORISED)
def add_diagonals(a_diagonal, b_diagonal, u, out):  # type: ignore[no-untyped-def]
    """What the diagonals add to the gains, ``b_diagonal`` in permuted order."""
    x, y = a_diagonal[u], b_diagonal[u]
    for v in range(len(a_diagonal)):
        out[v] += (x - a_diagonal[v]) * (b_diagonal[v] - y)


@compiled(**VECTORISED)
def untie(tied, tied_u, out):  # type: ignore[no-untyped-def]
    """What inputs that leave themselves lose to the anchor."""
    for v in range(len(tied)):
        out[v] -= 2 * (tied[v] + tied_u)


@compiled(**VECTORISED)
def add_noise(noise, temperature, out):  # type: ignore[no-untyped-def]
    """Gumbel noise at a temperature: the largest of what comes out is drawn with Boltzmann's probabilities."""
    for v in range(len(noise)):
        out[v] += temperature * noise[v]


@compiled(**VECTORISED)
def place_of_largest(values, lanes):  # type: ignore[no-untyped-def]
    """Where the maximum stands, of as many values as fill all lanes; in lanes, because this loop vectorises."""
    for k in range(LANES):
        lanes[k] = values[k]
    for first in range(LANES, len(values), LANES):
        for k in range(LANES):
            lanes[k] = max(lanes[k], values[first + k])
    most = lanes[0]
    for k in range(LANES):
        most = max(most, lanes[k])
    k = 0
    while lanes[k] != most:
        k += 1
    while values[k] != most:
        k += LANES
    return k


@compiled(**VECTORISED)
def exchange(left, right, diagonals, inner, c, own, b_u, b_v, u, v):  # type: ignore[no-untyped-def]
    """Keep ``C`` and the diagonal of ``Bp A`` in step with a swap about to be made; `b_u`, `b_v` are rows of ``Bp``."""
    n = len(own)
    f0, f1, f2, f3 = left[0, u] - left[0, v], left[1, u] - left[1, v], left[2, u] - left[2, v], left[3, u] - left[3, v]
    f4, f5, f6, f7 = left[4, u] - left[4, v], left[5, u] - left[5, v], left[6, u] - left[6, v], left[7, u] - left[7, v]
    for k in range(n):
        change = b_v[k] - b_u[k]
        c[0, k] += f0 * change
        c[1, k] += f1 * change
        c[2, k] += f2 * change
        c[3, k] += f3 * change
        c[4, k] += f4 * change
        c[5, k] += f5 * change
        c[6, k] += f6 * change
        c[7, k] += f7 * change
    own_u, own_v = np.float32(0), np.float32(0)
    for s in range(RANK):
        c[s, u], c[s, v] = c[s, v], c[s, u]
        own_u += c[s, u] * right[s, u]
        own_v += c[s, v] * right[s, v]
    inner_u, inner_v, offset = inner[u], inner[v], np.float32(0.5) * (diagonals[u] - diagonals[v])
    for k in range(n):
        own[k] += (b_v[k] - b_u[k]) * (inner_u[k] - inner_v[k] + offset)
    own[u], own[v] = own_u, own_v


@compiled(**OPTIONS)
def heat_bath(  # type: ignore[no-untyped-def]
    left,
    right,
    diagonals,
    inner,
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
        left: Factors of ``A`` (see `low_rank.Factors`), likewise `right`, `diagonals`, `inner`.
        b: ``(n, n)`` the other matrix, in its own order, likewise `b_diagonal`.
        p: ``(n,)`` int64, changed in place.
        turned: Whether `p` leads from the other matrix to this one.
        sweeps: Sweeps at temperatures above 0.
        hot: First temperature, in units of the objective.
        cooling: Last temperature over the first.
        quench: Most sweeps at temperature 0 after those; they end where nothing moves.
        noise: Gumbel noise, of which every input takes `n` in a row from a place that is drawn.

    Returns:
        The objective of `p` as the factors see it.
    """
    n = len(p)
    state = seeded(seed)
    if turned:
        p[:] = inverse(p)
    q = p.astype(np.uint16)  # short indices are quicker to look up by
    width = (n + LANES - 1) // LANES * LANES
    gains = np.full(width, NEVER, np.float32)
    row, lanes = gains[:n], np.empty(LANES, np.float32)
    b_u, b_v, own = np.empty(n, np.float32), np.empty(n, np.float32), np.zeros(n, np.float32)
    moved_left = np.empty((RANK, n), np.float32)
    for s in range(RANK):
        for k in range(n):
            moved_left[s, p[k]] = left[s, k]
    product = np.dot(moved_left, b)
    c = np.empty((RANK, n), np.float32)
    for s in range(RANK):
        gather(product[s], q, c[s])
        for k in range(n):
            own[k] += c[s, k] * right[s, k]
    tied = np.zeros(n, np.float32)  # half of what each input would lose by leaving itself
    whose = np.empty(n, np.uint16)  # to whom every input of B is matched
    for k in range(n):
        whose[q[k]] = k
        if q[k] == k:
            tied[k] = 0.5 * anchor
    permuted_diagonal = b_diagonal[p]
    has_diagonals = np.any(a_diagonal) and np.any(b_diagonal)
    tolerance = np.float32(GAIN_TOLERANCE * n)
    places = np.uint64(PLACES)
    for turn in range(sweeps + quench):
        temperature = np.float32(0)
        if turn < sweeps:
            temperature = np.float32(hot * cooling ** (turn / max(1, sweeps - 1)))
        made = 0
        for u in range(n):
            gather(b[q[u]], q, b_u)
            gains_of(c, right, own, inner[u], b_u, u, row)
            if has_diagonals:
                add_diagonals(a_diagonal, permuted_diagonal, u, row)
            if anchor > 0:
                untie(tied, tied[u], row)
                row[q[u]] += anchor
                row[whose[u]] += anchor
            if temperature > 0:
                row[u] = 0
                place = next_random(state) % places
                add_noise(noise[place : place + np.uint64(n)], temperature, row)
            else:
                row[u] = tolerance
            v = place_of_largest(gains, lanes)
            if v == u:
                continue
            gather(b[q[v]], q, b_v)
            exchange(left, right, diagonals, inner, c, own, b_u, b_v, u, v)
            q[u], q[v] = q[v], q[u]
            permuted_diagonal[u], permuted_diagonal[v] = permuted_diagonal[v], permuted_diagonal[u]
            whose[q[u]], whose[q[v]] = u, v
            if anchor > 0:
                tied[u] = 0.5 * anchor if q[u] == u else 0.0
                tied[v] = 0.5 * anchor if q[v] == v else 0.0
            made += 1
        if turn >= sweeps and made == 0:
            break
    total = 0.0
    for k in range(n):
        p[k] = q[k]
        total += own[k] + a_diagonal[k] * permuted_diagonal[k] + 2 * tied[k]
    if turned:
        p[:] = inverse(p)
    return total
