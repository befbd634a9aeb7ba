"""Descent by swaps compiled for the CPU with Numba: see `batched.swaps` for what a swap gains.

All swaps are valued from the gradient ``A B[p]``: what every input would see of every partner. To take it is one matrix
product, the dearest part of a descent. So it is kept from round to round and follows what has changed: a round that
changes the partners of few inputs changes it by a product with as few inner columns. Conventions are those of `swaps`.
"""

from __future__ import annotations

import numpy as np

from lightning_gw.gw.moves.batched.swaps import GAIN_TOLERANCE
from lightning_gw.gw.moves.compiled.cache import compiled
from lightning_gw.gw.moves.compiled.swaps import OPTIONS, VECTORISED, largest, looked_up, swap_gain

#: Side of the square tiles in which a matrix is transposed.
TILE = 16
#: A round values every swap of an input afresh once at most one in so many inputs has a swap that improves.
FEW = 2
#: Swaps of such a round before the gradient has to follow: until then each is a term that is added where it is needed.
TERMS = 64
#: The gradient gathers rounding errors; it is taken anew after it has followed so many rounds.
REFRESH_EVERY = 32


@compiled(**OPTIONS)
def take_gradient(a, b, p, seen, gradient, rows):  # type: ignore[no-untyped-def]
    """``A B[p]`` into `gradient`, and `p` into `seen`; `rows` is working memory."""
    for i in range(len(p)):
        rows[i] = b[p[i]]
    np.dot(a, rows, gradient)
    seen[:] = p


@compiled(**OPTIONS)
def follow(a, b, p, seen, gradient, work):  # type: ignore[no-untyped-def]
    """Make the gradient at `seen` that at `p`, which becomes what was seen.

    Args:
        work: ``(3, n, n)`` float32 working memory.
    """
    n = len(p)
    count = 0
    for i in range(n):
        if p[i] != seen[i]:
            count += 1
    if count == 0:
        return
    if count > n // 2:
        take_gradient(a, b, p, seen, gradient, work[0])
        return
    columns, rows, change = work[0][:count], work[1][:count], work[2]
    k = 0
    for i in range(n):
        if p[i] != seen[i]:
            columns[k] = a[i]
            now, then, row = b[p[i]], b[seen[i]], rows[k]
            for j in range(n):
                row[j] = now[j] - then[j]
            k += 1
    np.dot(columns.T, rows, change)
    for i in range(n):
        to, by = gradient[i], change[i]
        for j in range(n):
            to[j] += by[j]
    seen[:] = p


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
def all_gains(a, b, a_diagonal, b_diagonal, anchor, p, gradient, sums, gains, best):  # type: ignore[no-untyped-def]
    """Gains of all swaps at `p` from its gradient into `gains`, and the largest gain of every input into `best`.

    Several short loops instead of one long one, and the maximum of columns instead of rows: so all of it vectorises.
    """
    n = a.shape[0]
    narrow = p.astype(np.uint16)
    for u in range(n):
        looked_up(gradient[u], narrow, gains[u])
    add_transpose(gains, sums)
    own = np.diag(sums).copy()
    diagonal, b_u = b_diagonal[p], np.empty(n, np.float32)
    best[:] = 0
    for u in range(n):
        row, sums_u, a_u = gains[u], sums[u], a[u]
        looked_up(b[p[u]], narrow, b_u)
        offset, x, y = own[u], a_diagonal[u], diagonal[u]
        for v in range(n):
            row[v] = 4 * a_u[v] * b_u[v] + 2 * sums_u[v]
        for v in range(n):
            row[v] -= own[v] + offset
        for v in range(n):
            row[v] += (x - a_diagonal[v]) * (diagonal[v] - y)
        if anchor > 0:
            for v in range(n):
                row[v] += anchor * np.float32(int(p[v] == u) + int(p[u] == v) - int(p[u] == u) - int(p[v] == v))
        row[u] = 0
        for v in range(n):
            best[v] = max(best[v], row[v])


@compiled(**OPTIONS)
def sweep(a, b, a_diagonal, b_diagonal, anchor, p, gains, best, tolerance):  # type: ignore[no-untyped-def]
    """Try all swaps in order that improved at the start, make those that still do, and count them."""
    n = a.shape[0]
    b_u = np.empty(n, np.float32)
    narrow = p.astype(np.uint16)
    made = 0
    for u in range(n - 1):
        if best[u] < tolerance:
            continue
        gains_u = gains[u]
        stale = True
        for v in range(u + 1, n):
            if gains_u[v] < tolerance:
                continue
            if stale:
                looked_up(b[p[u]], narrow, b_u)
                stale = False
            if swap_gain(a, b, a_diagonal, b_diagonal, anchor, narrow, b_u, u, v) > tolerance:
                p[u], p[v] = p[v], p[u]
                narrow[u], narrow[v] = narrow[v], narrow[u]
                stale = True
                made += 1
    return made


@compiled(**VECTORISED)
def add_scaled(factor, values, out):  # type: ignore[no-untyped-def]
    """``out += factor · values``."""
    for k in range(len(values)):
        out[k] += factor * values[k]


@compiled(**VECTORISED)
def row_gains(a_u, b_u, a_diagonal, b_diagonal, anchor, p, mine, theirs, own, u, out):  # type: ignore[no-untyped-def]
    """Gains of all swaps of input ``u``.

    Args:
        mine: What ``u`` sees of every partner, in the order of `p`; `theirs` what every input sees of ``p_u``.
        own: What every input sees of its own partner.
    """
    n = len(a_u)
    offset, x, y = own[u], a_diagonal[u], b_diagonal[p[u]]
    for v in range(n):
        out[v] = 2 * (mine[v] + theirs[v] - own[v] - offset) + 4 * a_u[v] * b_u[v]
    for v in range(n):
        out[v] += (x - a_diagonal[v]) * (b_diagonal[p[v]] - y)
    if anchor > 0:
        for v in range(n):
            out[v] += anchor * np.float32(int(p[v] == u) + int(p[u] == v) - int(p[u] == u) - int(p[v] == v))
    out[u] = 0


@compiled(**OPTIONS)
def best_swaps(a, b, a_diagonal, b_diagonal, anchor, p, gradient, work, best, tolerance):  # type: ignore[no-untyped-def]
    """Make the best swap, valued afresh, of every input that has one, at most `TERMS` of them, and count them.

    Inputs that had none at the beginning are looked at once they have been exchanged.

    Args:
        gradient: That at `p` as it comes; it does not follow.
        work: ``(2, n, n)`` float32 working memory, or more.
        best: ``(n,)`` the largest gain of every input at `p` as it comes; changed.
    """
    n = a.shape[0]
    queue, head, waiting = np.empty(n, np.int64), 0, 0
    for u in range(n):
        if best[u] > tolerance:
            queue[waiting] = u
            waiting += 1
    # What swap s has changed in the gradient is an outer product, of `left[s]` and `right[s]`.
    left, right = work[0], work[1]
    memory = np.empty((6, n), np.float32)
    row, mine, theirs, b_u, out, own = memory[0], memory[1], memory[2], memory[3], memory[4], memory[5]
    narrow = p.astype(np.uint16)
    for k in range(n):
        own[k] = gradient[k, p[k]]
    made = 0
    while waiting > 0 and made < min(TERMS, n):
        u = queue[head]
        head = (head + 1) % n
        waiting -= 1
        best[u] = 0  # it waits no more
        partner = p[u]
        row[:] = gradient[u]
        for k in range(n):
            theirs[k] = gradient[k, partner]
        for s in range(made):
            add_scaled(left[s, u], right[s], row)
            add_scaled(right[s, partner], left[s], theirs)
        looked_up(row, narrow, mine)
        looked_up(b[partner], narrow, b_u)
        row_gains(a[u], b_u, a_diagonal, b_diagonal, anchor, narrow, mine, theirs, own, u, out)
        most = largest(out)
        if most <= tolerance:
            continue
        v = 0
        while out[v] != most:
            v += 1
        if swap_gain(a, b, a_diagonal, b_diagonal, anchor, narrow, b_u, u, v) <= tolerance:
            continue
        other = p[v]
        own[u], own[v] = row[other], theirs[v]
        left_s, right_s = left[made], right[made]
        for k in range(n):
            left_s[k] = a[u, k] - a[v, k]
            right_s[k] = b[other, k] - b[partner, k]
        p[u], p[v] = other, partner
        narrow[u], narrow[v] = narrow[v], narrow[u]
        for k in range(n):
            own[k] += left_s[k] * right_s[p[k]]
        made += 1
        for k in (u, v):
            if best[k] <= tolerance:
                best[k] = most
                queue[(head + waiting) % n] = k
                waiting += 1
    return made


@compiled(**OPTIONS)
def descend_from(a, b, a_diagonal, b_diagonal, anchor, p, rounds, seen, gradient, work):  # type: ignore[no-untyped-def]
    """Make improving swaps until none is left, or for `rounds` rounds.

    A round values all swaps at once and makes in order those that improve, their gain computed afresh.

    Args:
        seen: ``(n,)`` int64 what the gradient is the gradient of; both follow `p` in the end.
        gradient: ``(n, n)`` float32.
        work: ``(3, n, n)`` float32 working memory.

    Returns:
        Whether a local optimum was reached.
    """
    n = a.shape[0]
    tolerance = np.float32(GAIN_TOLERANCE * n)
    best = np.empty(n, np.float32)
    for done in range(rounds + 1):
        if done % REFRESH_EVERY == REFRESH_EVERY - 1:
            take_gradient(a, b, p, seen, gradient, work[0])
        else:
            follow(a, b, p, seen, gradient, work)
        all_gains(a, b, a_diagonal, b_diagonal, anchor, p, gradient, work[0], work[1], best)
        improvable = 0
        for u in range(n):
            improvable += best[u] > tolerance
        if improvable == 0:
            return True
        if done == rounds:
            return False
        if improvable <= n // FEW:
            made = best_swaps(a, b, a_diagonal, b_diagonal, anchor, p, gradient, work, best, tolerance)
        else:
            made = sweep(a, b, a_diagonal, b_diagonal, anchor, p, work[1], best, tolerance)
        if made == 0:
            return True  # what seemed to improve was rounding
    return False


@compiled(**OPTIONS)
def descend(a, b, a_diagonal, b_diagonal, anchor, p, rounds, work):  # type: ignore[no-untyped-def]
    """`descend_from` where no gradient is known; `work` is ``(4, n, n)``."""
    seen = np.empty_like(p)
    take_gradient(a, b, p, seen, work[3], work[0])
    return descend_from(a, b, a_diagonal, b_diagonal, anchor, p, rounds, seen, work[3], work)
