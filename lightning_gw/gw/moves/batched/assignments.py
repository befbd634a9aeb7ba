"""Reassignment: all inputs of a pair are matched anew at once, by linear assignments under falling noise.

At a permutation ``p`` the objective's gradient ``2 A B[p] + F`` says what every input would gain if only its own
partner changed. The assignment that is best by it is a step of conditional gradient (Vayer et al. 2019) without line
search, and leads out of basins from which no exchange of two inputs does. Noise on the gradient makes every step
another one (perturbed optimisation, Papandreou and Yuille 2011); a descent by swaps repairs what the linear model got
wrong. Because of noise and descent the assignment itself need not be the best, so that an auction with coarse prices
(Bertsekas 1988) is enough, at a small part of the time of an exact one.

Here the steps are made for a batch of pairs in torch; `compiled.assignments` does the same for one pair on the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gw.gw.moves.batched.swaps import descend, objective, rows_of

#: Least raise of a price, in units of the loss per input.
PRICE_STEP = 0.2
#: Bids that rows of a single pair make on average before the rest is assigned anyhow.
BIDS = 64
#: An assignment is descended from if it falls short of the best value by at most this share of the first loss.
PROMISING = 0.025
#: How many places in the random numbers there are to start a row at.
DRAWN = 4096
#: Least raise of a price in units of the matrices, so that an auction of copies of each other ends.
LEAST_STEP = 1e-3
#: Rounds of bids in a batch before the rest is assigned anyhow: the last rows bid alone, and all pairs wait for them.
ROUNDS = 64
#: Rounds of bids between looks at whether all rows are assigned: each look waits for the device.
CHECK_EVERY = 16


def auction(benefits: Tensor, step: Tensor, rounds: int, prices: Tensor) -> Tensor:
    """Near-best assignments of rows to columns: all rows without one bid at once and the highest bids win.

    Args:
        benefits: ``(P, n, n)`` to be made large in sum.
        step: ``(P,)`` least raise of a price; each sum ends at most n times this below the best.
        rounds: Most rounds; rows that have no column by then get what is left.
        prices: ``(P, n)`` of the columns, raised in place. Any will do to begin with; those of an auction of nearly the
            same benefits leave little to bid for.

    Returns:
        ``(P, n)`` int64 permutations.
    """
    count, n, _ = benefits.shape
    device = benefits.device
    owner = torch.full((count, n), -1, device=device)  # of every column
    rows = torch.arange(n, device=device).expand(count, n)
    for turn in range(rounds):
        assigned = torch.zeros(count, n + 1, dtype=torch.bool, device=device)
        assigned.scatter_(1, torch.where(owner < 0, n, owner), True)
        free = ~assigned[:, :n]
        if turn % CHECK_EVERY == 0 and not bool(free.any()):
            break
        top, column = (benefits - prices[:, None, :]).topk(min(2, n), dim=2)
        raised = top[:, :, 0] - top[:, :, -1] + step[:, None]
        bids = torch.full_like(benefits, -torch.inf)
        bids.scatter_(2, column[:, :, :1], torch.where(free, raised, -torch.inf)[:, :, None])
        highest, bidder = bids.max(dim=1)
        sold = highest > -torch.inf
        owner = torch.where(sold, bidder, owner)
        prices += torch.where(sold, highest, 0.0)
    permutation = torch.full((count, n + 1), -1, device=device)
    permutation.scatter_(1, torch.where(owner < 0, n, owner), rows)
    permutation = permutation[:, :n]
    # Whoever is still without one takes what is left, in order: sorting brings both to the front.
    idle, left = (permutation >= 0).long().argsort(dim=1, stable=True), (owner >= 0).long().argsort(dim=1, stable=True)
    open_places = torch.arange(n, device=device) < (permutation < 0).sum(dim=1, keepdim=True)
    return permutation.scatter(1, idle, torch.where(open_places, left, permutation.gather(1, idle)))


def reassign(
    first: Tensor,
    second: Tensor,
    permutation: Tensor,
    linear: Tensor | None,
    rounds: int,
    noise: float,
    losses: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Reassign every pair of a batch.

    The noise of a round is the same for all pairs, so that a result does not depend on how pairs were batched.

    Args:
        first: As in `SwapSearch`; likewise `second`, `permutation`, `linear`.
        rounds: Number of assignments.
        noise: First width of the uniform noise on the gradient, in units of the loss per input; it falls to 0.
        losses: ``(P,)`` how far the starts' objectives fall short of their ceilings.
        generator: CPU generator the noise is drawn from.

    Returns:
        The best ``(P, n)`` permutations met, and ``(P,)`` bool whether they are known to be local optima.
    """
    n = permutation.shape[1]
    here, best = permutation, permutation
    value = objective(first, second, permutation, linear)
    converged = torch.zeros(len(permutation), dtype=torch.bool, device=permutation.device)
    per_input = losses.float() / n
    prices = torch.zeros_like(first[:, 0])  # gradients of neighbouring rounds are alike
    for turn in range(rounds):
        benefits = 2 * torch.bmm(first, rows_of(second, here))
        if linear is not None:
            benefits += linear
        uniform = torch.rand(n, n, generator=generator).to(first.device)
        benefits += (noise * (1 - turn / rounds) * per_input)[:, None, None] * uniform
        here = auction(benefits, PRICE_STEP * per_input + LEAST_STEP, ROUNDS, prices)
        reached = objective(first, second, here, linear)
        promising = (reached > value - PROMISING * losses).nonzero()[:, 0]
        if len(promising) == 0:
            continue
        part = None if linear is None else linear[promising]
        found, done = descend(first[promising], second[promising], here[promising], part)
        here = here.index_copy(0, promising, found)
        after = objective(first[promising], second[promising], found, part)
        better = after > value[promising]
        chosen = promising[better]
        best, value = best.index_copy(0, chosen, found[better]), value.index_copy(0, chosen, after[better])
        converged = converged.index_copy(0, chosen, done[better])
    return best, converged
