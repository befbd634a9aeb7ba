"""The moves of the search compiled for the CPU with Numba: one pair at a time, with no interpreter in between.

The objective is that of `search`: ``S(p) = Σ A ∘ Bp + Σ_i a_i b_{p_i} + anchor · #{i: p_i = i}``, with ``A`` and ``B``
zero on the diagonal, ``Bp = B[p][:, p]``, and ``a``, ``b`` what stood on the diagonals. Functions change ``p`` in
place. Those that make many swaps read ``B`` through ``p``; those that make few hold ``Bp`` and follow every swap in it.
This module needs Numba; `choice` falls back to torch without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lightning_gw.gw.moves.batched.swaps import GAIN_TOLERANCE
from lightning_gw.gw.moves.compiled.cache import compiled

#: Passes of `finish` before the product is taken anew, and how often it may be.
PASSES = 32
FINISHES = 16
#: Side of the square tiles in which a matrix is transposed.
TILE = 16
#: A descent goes on input by input once at most one in so many inputs has a swap that improves.
FEW = 4
# Released: several pairs are searched at once in threads, and training may go on beside them.
OPTIONS: dict[str, Any] = {"nogil": True}
# Allows sums to be taken in vector order; every gain is still exact to float32 rounding.
VECTORISED: dict[str, Any] = {"fastmath": True, **OPTIONS}


@compiled(**OPTIONS)
def seeded(seed):  # type: ignore[no-untyped-def]
    """State of a stream of random numbers."""
    return np.array([np.uint64(seed) * np.uint64(2654435761) + np.uint64(88172645463325252)])


@compiled(**OPTIONS)
def next_random(state):  # type: ignore[no-untyped-def]
    """The next 64 bits of xorshift64 (Marsaglia 2003): a stream of its own, the same on every machine."""
    state[0] ^= state[0] << np.uint64(13)
    state[0] ^= state[0] >> np.uint64(7)
    state[0] ^= state[0] << np.uint64(17)
    return state[0]


@compiled(**VECTORISED)
def swap_gain(a, b, a_diagonal, b_diagonal, anchor, p, u, v):  # type: ignore[no-untyped-def]
    """Exact gain of exchanging ``p_u`` and ``p_v``."""
    total = np.float32(0)
    a_u, a_v, b_u, b_v = a[u], a[v], b[u], b[v]
    for k in range(a.shape[0]):
        total += (a_u[k] - a_v[k]) * (b_v[k] - b_u[k])
    gain = 2 * total + 4 * a_u[v] * b_u[v]
    gain += (a_diagonal[u] - a_diagonal[v]) * (b_diagonal[v] - b_diagonal[u])
    if anchor > 0:
        gain += anchor * np.float32(int(p[v] == u) + int(p[u] == v) - int(p[u] == u) - int(p[v] == v))
    return gain


@compiled(**OPTIONS)
def swap(b, b_diagonal, p, u, v):  # type: ignore[no-untyped-def]
    """Exchange ``p_u`` and ``p_v``."""
    for k in range(b.shape[0]):
        b[u, k], b[v, k] = b[v, k], b[u, k]
    for k in range(b.shape[0]):
        b[k, u], b[k, v] = b[k, v], b[k, u]
    b_diagonal[u], b_diagonal[v] = b_diagonal[v], b_diagonal[u]
    p[u], p[v] = p[v], p[u]


@compiled(**OPTIONS)
def permuted(matrix, p):  # type: ignore[no-untyped-def]
    """``B[p][:, p]``."""
    n = matrix.shape[0]
    out = np.empty_like(matrix)
    for i in range(n):
        row = matrix[p[i]]
        for j in range(n):
            out[i, j] = row[p[j]]
    return out


@compiled(**VECTORISED)
def add_transpose(matrix, out):  # type: ignore[no-untyped-def]
    """``M + Mᵀ``, tile by tile: a whole column at a time would miss the cache at every step.

    The size of a tile is a constant to the compiler, which turns it with vectors; what fills no tile is done by itself.
    """
    n = matrix.shape[0]
    whole = n // TILE * TILE
    for i in range(0, whole, TILE):
        for j in range(0, whole, TILE):
            here, there = matrix[i : i + TILE, j : j + TILE], matrix[j : j + TILE, i : i + TILE]
            into = out[i : i + TILE, j : j + TILE]
            for u in range(TILE):
                for v in range(TILE):
                    into[u, v] = here[u, v] + there[v, u]
    for u in range(whole, n):
        for v in range(n):
            out[u, v] = matrix[u, v] + matrix[v, u]
            out[v, u] = out[u, v]


@compiled(**VECTORISED)
def all_gains(a, b, a_diagonal, b_diagonal, anchor, p, product, sums, gains, best):  # type: ignore[no-untyped-def]
    """Gains of all swaps from ``product = Bp A`` into `gains`, and the largest gain of every input into `best`.

    Several short loops instead of one long one, and the maximum of columns instead of rows: so all of it vectorises.
    """
    n = a.shape[0]
    add_transpose(product, sums)
    own = np.diag(sums).copy()
    best[:] = 0
    for u in range(n):
        row, sums_u, a_u, b_u = gains[u], sums[u], a[u], b[u]
        offset, x, y = own[u], a_diagonal[u], b_diagonal[u]
        for v in range(n):
            row[v] = 4 * a_u[v] * b_u[v] + 2 * sums_u[v]
        for v in range(n):
            row[v] -= own[v] + offset
        for v in range(n):
            row[v] += (x - a_diagonal[v]) * (b_diagonal[v] - y)
        if anchor > 0:
            for v in range(n):
                row[v] += anchor * np.float32(int(p[v] == u) + int(p[u] == v) - int(p[u] == u) - int(p[v] == v))
        row[u] = 0
        for v in range(n):
            best[v] = max(best[v], row[v])


@compiled(**VECTORISED)
def follow_swap(a, b, product, u, v):  # type: ignore[no-untyped-def]
    """Keep ``product = Bp A`` in step with a swap about to be made: a rank-one change, then an exchange of rows."""
    n = a.shape[0]
    a_difference = a[u] - a[v]
    b_difference = b[u] - b[v]
    for i in range(n):
        factor = b_difference[i]
        row = product[i]
        for k in range(n):
            row[k] -= factor * a_difference[k]
    for k in range(n):
        product[u, k], product[v, k] = product[v, k], product[u, k]


@compiled(**VECTORISED)
def looked_up_gain(a_u, a_v, b_u, b_v, p, v):  # type: ignore[no-untyped-def]
    """Gain of a swap but for diagonals and anchor; ``b_u`` in permuted order, ``b_v`` read through ``p``."""
    total = np.float32(0)
    for k in range(a_u.shape[0]):
        total += (a_u[k] - a_v[k]) * (b_v[p[k]] - b_u[k])
    return 2 * total + 4 * a_u[v] * b_u[v]


@compiled(**OPTIONS)
def sweep(a, b, a_diagonal, b_diagonal, anchor, p, gains, best, tolerance):  # type: ignore[no-untyped-def]
    """Try all swaps in order that improved at the start, and make those that still do.

    ``b`` and ``b_diagonal`` stay in their own order and are read through ``p``: many of the swaps that are tried are
    made, and to exchange two columns takes longer than to look up a row.
    """
    n = a.shape[0]
    b_u = np.empty(n, np.float32)
    narrow = p.astype(np.uint16)  # short indices are quicker to look up by
    for u in range(n - 1):
        if best[u] < tolerance:
            continue
        a_u, gains_u = a[u], gains[u]
        stale = True
        for v in range(u + 1, n):
            if gains_u[v] < tolerance:
                continue
            if stale:
                own = b[p[u]]
                for k in range(n):
                    b_u[k] = own[narrow[k]]
                stale = False
            gain = looked_up_gain(a_u, a[v], b_u, b[p[v]], narrow, v)
            gain += (a_diagonal[u] - a_diagonal[v]) * (b_diagonal[p[v]] - b_diagonal[p[u]])
            if anchor > 0:
                gain += anchor * np.float32(int(p[v] == u) + int(p[u] == v) - int(p[u] == u) - int(p[v] == v))
            if gain > tolerance:
                p[u], p[v] = p[v], p[u]
                narrow[u], narrow[v] = narrow[v], narrow[u]
                stale = True


@compiled(**VECTORISED)
def row_gains(a, b, a_diagonal, b_diagonal, anchor, p, product, own, u, out):  # type: ignore[no-untyped-def]
    """Gains of all swaps of input ``u`` from ``product = Bp A`` and its diagonal `own`."""
    n = a.shape[0]
    a_u, b_u, product_u = a[u], b[u], product[u]
    offset, x, y = own[u], a_diagonal[u], b_diagonal[u]
    for v in range(n):
        out[v] = product[v, u]
    for v in range(n):
        out[v] = 2 * (out[v] + product_u[v] - own[v] - offset) + 4 * a_u[v] * b_u[v]
    for v in range(n):
        out[v] += (x - a_diagonal[v]) * (b_diagonal[v] - y)
    if anchor > 0:
        for v in range(n):
            out[v] += anchor * np.float32(int(p[v] == u) + int(p[u] == v) - int(p[u] == u) - int(p[v] == v))
    out[u] = 0


@compiled(**OPTIONS)
def finish(a, b, a_diagonal, b_diagonal, anchor, p, product, sums, gains, best, tolerance):  # type: ignore[no-untyped-def]
    """Make the best swap of every input that has one, until none has: a local optimum.

    Here ``b`` and ``b_diagonal`` are in permuted order, and `best` is true at the beginning. Every swap is followed by
    ``product = Bp A``, so that the gains of the next input are true.

    Returns:
        Whether the local optimum was reached before the product had gathered many rounding errors.
    """
    n = a.shape[0]
    row = np.empty(n, np.float32)
    for _ in range(PASSES):
        own = np.diag(product).copy()
        moved = False
        for u in range(n):
            if best[u] <= tolerance:
                continue
            row_gains(a, b, a_diagonal, b_diagonal, anchor, p, product, own, u, row)
            v = np.argmax(row)
            if row[v] > tolerance and swap_gain(a, b, a_diagonal, b_diagonal, anchor, p, u, v) > tolerance:
                follow_swap(a, b, product, u, v)
                swap(b, b_diagonal, p, u, v)
                for k in range(n):
                    own[k] = product[k, k]
                moved = True
        if not moved:
            return True
        all_gains(a, b, a_diagonal, b_diagonal, anchor, p, product, sums, gains, best)
    return False


@compiled(**OPTIONS)
def descend(a, b, a_diagonal, b_diagonal, anchor, p, rounds, work):  # type: ignore[no-untyped-def]
    """Make improving swaps until none is left, or for `rounds` rounds.

    A round takes the gains of all swaps at once, by one matrix product, and makes in order those that improve, their
    gain computed afresh. Once few inputs have a swap that improves, `finish` goes on input by input.

    Args:
        work: ``(3, n, n)`` float32 working memory.

    Returns:
        Whether a local optimum was reached.
    """
    n = a.shape[0]
    product, sums, gains = work[0], work[1], work[2]
    tolerance = np.float32(GAIN_TOLERANCE * n)
    best = np.empty(n, np.float32)
    finishes = 0
    for done in range(rounds + FINISHES):
        moved = permuted(b, p)
        product[:] = np.dot(moved, a)
        all_gains(a, moved, a_diagonal, b_diagonal[p], anchor, p, product, sums, gains, best)
        improvable = 0
        for u in range(n):
            improvable += best[u] > tolerance
        if improvable <= n // FEW:
            # The product gathers rounding errors from swap to swap; what is left after so many is looked at afresh.
            if finish(a, moved, a_diagonal, b_diagonal[p], anchor, p, product, sums, gains, best, tolerance):
                return True
            finishes += 1
            if finishes == FINISHES:
                return False
        elif done - finishes == rounds:
            return False
        else:
            sweep(a, b, a_diagonal, b_diagonal, anchor, p, gains, best, tolerance)
    return False


@compiled(**VECTORISED)
def objective_of(a, b, a_diagonal, b_diagonal, anchor, p):  # type: ignore[no-untyped-def]
    """``S(p)`` for ``b`` and ``b_diagonal`` in their own order."""
    total = 0.0
    for u in range(a.shape[0]):
        row = np.float32(0)
        other = b[p[u]]
        for v in range(a.shape[0]):
            row += a[u, v] * other[p[v]]
        total += row + a_diagonal[u] * b_diagonal[p[u]]
        if p[u] == u:
            total += anchor
    return total


@compiled(**VECTORISED)
def distortion_of(a, b, p):  # type: ignore[no-untyped-def]
    """Mean ``(A − B[p][:, p])²`` of float64 matrices."""
    n = a.shape[0]
    total = 0.0
    for i in range(n):
        row, other = a[i], b[p[i]]
        for j in range(n):
            difference = row[j] - other[p[j]]
            total += difference * difference
    return total / (n * n)
