"""Reassignment compiled for the CPU with Numba: see `batched.assignments` for what it does.

Conventions are those of `compiled.swaps`: ``b`` and ``b_diagonal`` stand in their own order, functions change ``p`` in
place.
"""

from __future__ import annotations

import numpy as np

from lightning_gw.gw.moves.batched.assignments import BIDS, DRAWN, LEAST_STEP, PRICE_STEP, PROMISING
from lightning_gw.gw.moves.compiled.cache import compiled
from lightning_gw.gw.moves.compiled.descent import descend_from, follow, take_gradient
from lightning_gw.gw.moves.compiled.swaps import (
    NEVER,
    OPTIONS,
    VECTORISED,
    largest,
    next_random,
    objective_of,
    seeded,
)


@compiled(**VECTORISED)
def net_values(benefits, prices, out):  # type: ignore[no-untyped-def]
    """What every column is worth to one row at these prices."""
    for j in range(len(prices)):
        out[j] = benefits[j] - prices[j]


@compiled(**OPTIONS)
def auction(benefits, step, prices, p):  # type: ignore[no-untyped-def]
    """Near-best assignment of rows to columns: rows without one bid in turn, and outbid each other (Bertsekas 1988).

    Args:
        benefits: ``(n, n)`` float32, to be made large in sum.
        step: Least raise of a price; the sum ends at most n times this below the best.
        prices: ``(n,)`` float32 of the columns, raised. Any will do to begin with; those of an auction of nearly the
            same benefits leave little to bid for.
        p: ``(n,)`` int64, overwritten.
    """
    n = len(p)
    worth = np.empty(n, np.float32)
    owner = np.full(n, -1, np.int64)
    p[:] = -1
    queue, head, waiting = np.arange(n), 0, n
    for _ in range(BIDS * n):
        if waiting == 0:
            return
        i = queue[head]
        head = (head + 1) % n
        waiting -= 1
        net_values(benefits[i], prices, worth)
        most = largest(worth)
        j = 0
        while worth[j] != most and j < n - 1:
            j += 1
        worth[j] = NEVER
        prices[j] += most - largest(worth) + step
        outbid = owner[j]
        owner[j], p[i] = i, j
        if outbid >= 0:
            p[outbid] = -1
            queue[(head + waiting) % n] = outbid
            waiting += 1
    j = 0
    for i in range(n):  # whoever is still waiting takes what is left: a start need not be the best
        if p[i] < 0:
            while owner[j] >= 0:
                j += 1
            owner[j], p[i] = i, j


@compiled(**OPTIONS)
def reassign(a, b, a_diagonal, b_diagonal, anchor, p, rounds, noise, loss, seed, work):  # type: ignore[no-untyped-def]
    """Assignments of all inputs at once under falling noise, each followed by a descent where it promises something.

    Args:
        rounds: Number of assignments.
        noise: First width of the noise on the gradient, in units of the loss per input.
        loss: How far the objective of `p` falls short of its ceiling.
        work: ``(4, n, n)`` float32 working memory.

    Returns:
        Whether `p` is a local optimum.
    """
    n = len(p)
    state = seeded(seed)
    uniform = np.empty(n + DRAWN, np.float32)
    for k in range(n + DRAWN):
        uniform[k] = (next_random(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)
    gradient, benefits, seen = work[3], np.empty((n, n), np.float32), np.empty_like(p)
    here, best = p.copy(), objective_of(a, b, a_diagonal, b_diagonal, anchor, p)
    prices = np.zeros(n, np.float32)  # gradients of neighbouring rounds are alike
    converged = False
    take_gradient(a, b, here, seen, gradient, work[0])
    for turn in range(rounds):
        follow(a, b, here, seen, gradient, work)
        width = np.float32(noise * loss / n * (1 - turn / rounds))
        for i in range(n):
            drawn = uniform[next_random(state) % np.uint64(DRAWN) :]
            x, benefit, slope = a_diagonal[i], benefits[i], gradient[i]
            for j in range(n):
                benefit[j] = 2 * slope[j] + x * b_diagonal[j] + width * drawn[j]
            benefit[i] += anchor
        auction(benefits, np.float32(PRICE_STEP * loss / n + LEAST_STEP), prices, here)
        value = objective_of(a, b, a_diagonal, b_diagonal, anchor, here)
        if value > best - PROMISING * loss:
            done = descend_from(a, b, a_diagonal, b_diagonal, anchor, here, 1000, seen, gradient, work)
            value = objective_of(a, b, a_diagonal, b_diagonal, anchor, here)
            if value > best:
                p[:], best, converged = here, value, done
    return converged
