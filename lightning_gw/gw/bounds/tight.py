"""Convex quadratic lower bounds: the certificate of `bounds="tight"`, slower and tighter than the others here.

With S(X) = tr(A X B Xᵀ) the distortion of a permutation X is ``(‖A‖² + ‖B‖² − 2 S(X)) / n²``. Both matrices are split,
A = A₁ + A₂ and B = B₁ + B₂, and the parts of S are bounded over the same doubly stochastic X:

* A₁, B₁ by the convex quadratic programming bound of Anstreicher and Brixius (2001, Mathematical Programming 89). In
  eigenbases P, Q of the two matrices on the complement of the constant vector, with Z = Pᵀ X Q, every (s, t) with
  ``c_ij = −2 λ_i μ_j − s_i − t_j ≥ 0`` gives the convex ``Σ c_ij Z_ij² + Σ s + Σ t`` plus a linear term of row sums,
  which equals −2 S on permutations. They fix (s, t) at the outset; here it follows the relaxed X, for which the best
  (s, t) solves a transport problem between what X leaves free of each eigenvector, in closed form (Monge costs).
* A₂ with B, and A₁ with B₂, by the linear assignment of their sorted rows (Gilmore 1962; Lawler 1963). A₂ and B₂ need
  not be symmetric: an antisymmetric part changes nothing for permutations, and helps the relaxation. Nor need the rows
  be those of B and A₁ themselves: their columns may be shifted, for what a shift changes is linear and is taken off
  again (reductions: Edwards 1980; Frieze and Yadegar 1983).

The relaxed problem is solved by the alternating direction method of multipliers, cheap since its quadratic is diagonal.
Splits and shifts climb along supergradients, with the matrices in either order. Neither needs to converge, nor to be
exact: by convexity a tangent at any Z, minimised over permutations by one linear assignment, is a valid bound. Only
that is computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_gw.gw.bounds.permutations import Spectrum, round_down, spectral_bound
from lightning_gw.gw.bounds.relaxation import (
    Eigen,
    ReducedRows,
    Relaxed,
    assignment_bound,
    complement_basis,
    spectral_image,
)

#: Bounds are lowered by ROUNDINGS · n machine roundings of the sum of the magnitudes that went into them. Products of
#: n × n matrices and a symmetric eigendecomposition are backward stable to a small multiple of n roundings.
ROUNDINGS = 64.0
#: Splits tried with the matrices in either order before the better one goes on alone.
TRIAL = 5
#: The first level that steps of the split aim for (Polyak), in shares of the distance from the first bound to the best
#: known distortion; the weight of the step before; and how many steps without gain halve the distance of the level
#: from the best bound and go back to the best split.
LEVEL, MOMENTUM, PATIENCE = 0.2, 0.7, 3
#: Starting shares of the two matrices in their sorted parts, and share of the row means that is taken off there.
SHARES, REDUCTION = (0.6, 0.2), 0.5
#: Squared length of a step of the shifts over one of A₂ and B₂ that is as steep for each of the n rows it counts in.
SHIFT_STEP = 20.0
#: A bound this close to the best known distortion is not worth more time.
CLOSE = 0.998


def tight_bounds(
    matrices: Tensor,
    first: Tensor,
    second: Tensor,
    distortion: Tensor,
    iterations: int = 50,
    anchor: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """``(P,)`` lower bounds on mean ``(A − B[p][:, p])²`` over permutations ``p``, never below the spectral bound.

    With an anchor, on that plus ``anchor`` times the share of inputs not matched to themselves.

    They hold for any symmetric matrices. The work is done on the device of `matrices`, one pair at a time and in
    memory for some forty matrices, except for linear assignments, which SciPy solves on the host.

    Args:
        matrices: ``(L, n, n)`` float64, symmetric.
        first: ``(P,)`` int64 index of the first layer of each pair.
        second: ``(P,)`` the second layer.
        distortion: ``(P,)`` float64, the best known distortions. They set the length of the steps and when to stop;
            the bounds hold whatever they are.
        iterations: Splits tried per pair. 0 leaves the plain convex quadratic bound.
        anchor: Weight of the share of inputs not matched to themselves, at least 0.
        progress: Called with 1 after each pair.

    Returns:
        Bounds in float64 on the device of `matrices`, rounded down by what floating point may have added.

    Raises:
        ValueError: If `matrices` are not ``(L, n, n)`` float64, or `anchor` is negative.
    """
    if matrices.dtype != torch.float64 or matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise ValueError(f"matrices must be (L, n, n) float64, got {tuple(matrices.shape)} {matrices.dtype}.")
    if not anchor >= 0:
        raise ValueError(f"anchor must be at least 0, got {anchor}.")
    norms = matrices.square().mean(dim=(1, 2))
    bounds = round_down(spectral_bound(Spectrum.of(matrices), first, second), norms[first] + norms[second])
    if matrices.shape[-1] < 3:  # nothing is left beside the constant vector and one eigenvector
        return bounds
    values = bounds.tolist()
    for pair, (i, j, target) in enumerate(zip(first.tolist(), second.tolist(), distortion.tolist(), strict=True)):
        if values[pair] < CLOSE * target:
            values[pair] = max(values[pair], _bound_pair(matrices[i], matrices[j], anchor, target, iterations))
        if progress is not None:
            progress(1)
    return torch.tensor(values, dtype=torch.float64, device=matrices.device)


def _bound_pair(a: Tensor, b: Tensor, anchor: float, target: float, iterations: int) -> float:
    """Best bound over splits of one pair, as a mean over entries."""
    largest = float(torch.stack([a, b]).abs().max())
    if largest == 0:
        return 0.0
    # Within what float32 can hold, whatever the matrices are; by a power of two, which rounds nothing.
    unit = 2.0 ** float(torch.tensor(largest, dtype=torch.float64).log2().floor())
    a, b, anchor, goal = a / unit, b / unit, anchor / unit**2, target / unit**2 * a.numel()
    pairs = [_Pair(a, b, anchor), _Pair(b, a, anchor)]
    value = pairs[0].bound(torch.zeros(2, len(a) + 1, len(a), dtype=a.dtype, device=a.device), None).value()
    if iterations > 0 and value < CLOSE * goal:
        climbs = [_Climb(pair, goal) for pair in pairs]
        for climb in climbs:
            climb.go(min(iterations, TRIAL))
        better = max(climbs, key=lambda climb: climb.best.least)
        better.go(iterations - TRIAL)
        value = max(value, better.best.value())
    return max(0.0, value / a.numel()) * unit**2


class _Climb:
    """Ascent of the splits of one pair, by Polyak steps with momentum towards a level that comes down.

    Attributes:
        best: The best bound so far.
    """

    def __init__(self, pair: _Pair, goal: float) -> None:
        self._pair, self._goal = pair, goal
        self._split = pair.start()
        self.best = self._bound = pair.bound(self._split, None)
        self._best_split = self._split
        self._move = torch.zeros_like(self._split)
        self._distance = LEVEL * max(goal - self.best.least, 0.0)
        self._stale = 0

    def go(self, iterations: int) -> None:
        """Try so many splits, or fewer where the goal is near, or no way up is known."""
        # A level out of reach must not throw the split far beyond the matrices.
        reach = 0.5 * float(self._pair.a.norm())
        for _ in range(iterations):
            steepness = float(self._bound.ascent.norm())
            if not 0 < steepness < inf or self.best.least >= CLOSE * self._goal:
                break
            length = min((self.best.least + self._distance - self._bound.least) / steepness, reach) / steepness
            self._move = MOMENTUM * self._move + (1 - MOMENTUM) * length * self._bound.ascent
            self._split = self._split + self._move
            self._bound = self._pair.bound(self._split, self._bound.relaxed)
            if self._bound.least > self.best.least:
                self.best, self._best_split, self._stale = self._bound, self._split, 0
                continue
            self._stale += 1
            if self._stale == PATIENCE:
                self._split, self._bound, self._stale = self._best_split, self.best, 0
                self._distance, self._move = self._distance / 2, torch.zeros_like(self._split)


@dataclass(frozen=True)
class _Bound:
    """A certified bound for one pair of splits, and the way up.

    Attributes:
        constant: What is added to an assignment of the costs, rounded down.
        costs: ``(n, n)`` tangent of the convex relaxation.
        least: Lower bound on ``‖A − B[p][:, p]‖²`` from a feasible dual of the assignment; `value` is the best one.
        ascent: ``(2, n + 1, n)`` supergradient of the bound with respect to the splits.
        relaxed: From where the next split goes on.
    """

    constant: float
    costs: Tensor
    least: float
    ascent: Tensor
    relaxed: Relaxed

    def value(self) -> float:
        """Lower bound on ``‖A − B[p][:, p]‖²``."""
        costs = self.costs.cpu().numpy()
        return max(self.least, self.constant + float(costs[linear_sum_assignment(costs)].sum()))


class _Pair:
    """What stays the same for all splits of one pair.

    Splits are ``(2, n + 1, n)``: A₂ and B₂, and below each the shift of what its rows are sorted with, in `unit`.
    """

    def __init__(self, a: Tensor, b: Tensor, anchor: float) -> None:
        self.a, self.b = a, b
        self.norms = float(a.square().sum() + b.square().sum()) + anchor * a.numel()
        self.anchor = anchor * len(a)
        self.complement = complement_basis(a)
        self.unit = (SHIFT_STEP / len(a)) ** 0.5

    def start(self) -> Tensor:
        """Splits from which to climb."""
        a, b = self.a, self.b
        a_means, b_means = (REDUCTION * (matrix.mean(dim=1) - matrix.mean()) for matrix in (a, b))
        first = torch.cat([SHARES[0] * (a - a_means), -b_means[None] / self.unit])
        second = torch.cat([SHARES[1] * (b - b_means), -(1 - SHARES[0]) * a_means[None] / self.unit])
        return torch.stack([first, second])

    def bound(self, splits: Tensor, relaxed: Relaxed | None) -> _Bound:
        """Certified bound with these splits, from the state of near splits or from the uniform X."""
        n = len(self.a)
        parts, shifts = splits[:, :-1], self.unit * splits[:, -1]
        rest_a, rest_b = torch.stack([self.a, self.b]) - (parts + parts.transpose(1, 2)) / 2
        first, second = Eigen.of(rest_a, self.complement), Eigen.of(rest_b, self.complement)
        by_a = ReducedRows.of(parts[0], self.b, shifts[0])
        by_b = ReducedRows.of(parts[1], rest_a, shifts[1])
        (products_a, magnitude_a), (products_b, magnitude_b) = by_a.products(), by_b.products()
        linear = -2 * (products_a + products_b.T) - (4 / n) * torch.outer(first.sums, second.sums)
        linear.diagonal().sub_(self.anchor)
        if relaxed is None:
            relaxed = Relaxed.start(first, second, linear)
        z, s, t, curvature, relaxed = relaxed.follow(first, second, linear)

        costs = first.vectors @ (2 * curvature * z) @ second.vectors.T + linear
        constant = 2 * float(first.sums.sum() * second.sums.sum()) / n**2
        quadratic = float((curvature * z * z).sum())
        magnitude = self.norms + abs(constant) + quadratic + float(s.abs().sum() + t.abs().sum())
        multipliers = relaxed.multipliers()
        entries = (curvature, linear, costs, multipliers)
        magnitude += n * (magnitude_a + magnitude_b + sum(float(x.abs().max()) for x in entries))
        constant += self.norms + float(s.sum() + t.sum()) - quadratic
        constant -= ROUNDINGS * n * torch.finfo(torch.float64).eps * magnitude
        least = constant + assignment_bound(costs, multipliers)

        x = relaxed.positive / relaxed.positive.sum(dim=1, keepdim=True).clamp(min=1e-12)
        part_a, _, shift_a = by_a.images(x)
        part_b, whole, shift_b = by_b.images(x.T)
        image = spectral_image(x, first, second, s) + whole
        up_a = torch.cat([(image + image.T) / 2 - part_a, -self.unit * shift_a[None]])
        up_b = torch.cat([spectral_image(x.T, second, first, t) - part_b, -self.unit * shift_b[None]])
        return _Bound(constant, costs, least, 2 * torch.stack([up_a, up_b]).double(), relaxed)
