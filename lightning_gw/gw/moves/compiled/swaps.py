"""What the compiled moves are made of: random numbers, the objective, and what exchanging two partners gains.

The moves are compiled for the CPU with Numba and take one pair at a time, with no interpreter in between. The objective
is that of `search`: ``S(p) = Σ A ∘ Bp + Σ_i a_i b_{p_i} + anchor · #{i: p_i = i}``, with ``A`` and ``B`` zero on the
diagonal, ``Bp = B[p][:, p]``, and ``a``, ``b`` what stood on the diagonals. ``B`` and ``b`` stay in their own order and
are read through ``p``, which functions change in place: to exchange two columns takes longer than to look up a row.
Modules of this package need Numba; `choice` falls back to torch without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lightning_gw.gw.moves.compiled.cache import compiled

#: Less than any gain.
NEVER = np.float32(-3e38)
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
def largest(values):  # type: ignore[no-untyped-def]
    """The maximum; written out, because this loop vectorises."""
    most = NEVER
    for k in range(len(values)):
        most = max(most, values[k])
    return most


@compiled(**VECTORISED)
def looked_up(row, p, out):  # type: ignore[no-untyped-def]
    """``row[p]``; short indices are quicker to look up by."""
    for k in range(len(p)):
        out[k] = row[p[k]]


@compiled(**VECTORISED)
def swap_gain(a, b, a_diagonal, b_diagonal, anchor, p, b_u, u, v):  # type: ignore[no-untyped-def]
    """Exact gain of exchanging ``p_u`` and ``p_v``; `b_u` is row ``u`` of ``Bp``."""
    total = np.float32(0)
    a_u, a_v, b_v = a[u], a[v], b[p[v]]
    for k in range(a.shape[0]):
        total += (a_u[k] - a_v[k]) * (b_v[p[k]] - b_u[k])
    gain = 2 * total + 4 * a_u[v] * b_u[v]
    gain += (a_diagonal[u] - a_diagonal[v]) * (b_diagonal[p[v]] - b_diagonal[p[u]])
    if anchor > 0:
        gain += anchor * np.float32(int(p[v] == u) + int(p[u] == v) - int(p[u] == u) - int(p[v] == v))
    return gain


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
