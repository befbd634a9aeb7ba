"""Convex quadratic lower bounds: the certificate of `bounds="tight"`, slower and tighter than the others here.

With S(X) = tr(A X B Xᵀ) the distortion of a permutation X is ``(‖A‖² + ‖B‖² − 2 S(X)) / n²``. Both matrices are split,
A = A₁ + A₂ and B = B₁ + B₂, and the parts of S are bounded over the same doubly stochastic X:

* A₁, B₁ by the convex quadratic programming bound of Anstreicher and Brixius (2001, Mathematical Programming 89). In
  eigenbases P, Q of the two matrices on the complement of the constant vector, with Z = Pᵀ X Q, every (s, t) with
  ``c_ij = −2 λ_i μ_j − s_i − t_j ≥ 0`` gives the convex ``Σ c_ij Z_ij² + Σ s + Σ t`` plus a linear term of row sums,
  which equals −2 S on permutations. They fix (s, t) at the outset; here it follows the relaxed X, for which the best
  (s, t) solves a transport problem between what X leaves free of each eigenvector, in closed form (Monge costs).
* A₂ with B, and A₁ with B₂, by the linear assignment of their sorted rows (Gilmore 1962; Lawler 1963). A₂ and B₂ need
  not be symmetric: an antisymmetric part changes nothing for permutations, and helps the relaxation.

The relaxed problem is solved by the alternating direction method of multipliers, cheap since its quadratic is diagonal.
The split climbs along supergradients. Neither needs to converge: by convexity a tangent at any X, minimised over
permutations by one linear assignment, is a valid bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_gw.gw.bounds.permutations import Spectrum, round_down, spectral_bound
from lightning_gw.gw.bounds.relaxation import (
    Eigen,
    SortedRows,
    best_slopes,
    complement_basis,
    spectral_duals,
    spectral_image,
)

#: Bounds are lowered by ROUNDINGS · n machine roundings of the sum of the magnitudes that went into them. Products of
#: n × n matrices and a symmetric eigendecomposition are backward stable to a small multiple of n roundings.
ROUNDINGS = 64.0
#: Over-relaxation of the alternating direction method; 1.5–1.8 is usual (Boyd et al. 2011, section 3.4.3).
RELAXATION = 1.6
#: Alternating direction steps for the first split, for every later one, and between two looks at (s, t).
FIRST_STEPS, NEXT_STEPS, DUAL_EVERY = 120, 20, 10
#: Share of the distance to the best known distortion that a step of the split aims for (Polyak), the weight of the
#: step before, and how many steps without gain halve the share and go back to the best split.
STEP, MOMENTUM, PATIENCE = 0.2, 0.7, 4
#: Starting share of each matrix in its sorted part.
SHARE = 0.3
#: A bound this close to the best known distortion is not worth more time.
CLOSE = 0.998


def tight_bounds(
    matrices: Tensor,
    first: Tensor,
    second: Tensor,
    distortion: Tensor,
    iterations: int = 60,
    anchor: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """``(P,)`` lower bounds on mean ``(A − B[p][:, p])²`` over permutations ``p``, never below the spectral bound.

    With an anchor, on that plus ``anchor`` times the share of inputs not matched to themselves.

    They hold for any symmetric matrices. The work is done on the device of `matrices`, one pair at a time and in
    memory for some forty matrices, except for one linear assignment per iteration, which SciPy solves on the host.

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


@dataclass
class _Relaxed:
    """State of the alternating direction method, kept from one split to the next.

    Attributes:
        positive: ``(n, n)`` the copy of X that is nonnegative.
        scaled_dual: ``(n, n)`` multipliers of X = positive, divided by the penalty.
        slopes: ``(n − 2,)`` ascending; how (s, t) is held, see `spectral_duals`.
        penalty: Weight of the distance of the two copies.
    """

    positive: Tensor
    scaled_dual: Tensor
    slopes: Tensor
    penalty: float


@dataclass(frozen=True)
class _Bound:
    """A certified bound for one pair of splits, and the way up.

    Attributes:
        value: Lower bound on ``‖A − B[p][:, p]‖²``, rounded down.
        ascent: ``(2, n, n)`` supergradient of the bound with respect to A₂ and B₂.
    """

    value: float
    ascent: Tensor


def _bound_pair(a: Tensor, b: Tensor, anchor: float, target: float, iterations: int) -> float:
    """Best bound over splits of both matrices of one pair, as a mean over entries."""
    pair = _Pair(a, b, anchor)
    goal = target * a.numel()
    value = pair.bound(torch.zeros(2, *a.shape, dtype=a.dtype, device=a.device), None)[0].value
    if iterations > 0 and value < CLOSE * goal:
        value = max(value, _climb(pair, SHARE * torch.stack([a, b]), goal, iterations))
    return max(0.0, value / a.numel())


def _climb(pair: _Pair, split: Tensor, goal: float, iterations: int) -> float:
    """Best value along the ascent of the ``(2, n, n)`` split, Polyak steps with momentum."""
    bound, state = pair.bound(split, None)
    best, best_split, best_bound = bound.value, split, bound
    share, stale = STEP, 0
    reach = 0.5 * float(torch.stack([pair.a, pair.b]).norm())
    move = torch.zeros_like(split)
    for _ in range(iterations):
        steepness = float(bound.ascent.norm())
        if steepness == 0:
            break
        # A goal out of reach must not throw the split far beyond the matrices.
        length = min(share * max(goal - bound.value, 0.0) / steepness, reach) / steepness
        move = MOMENTUM * move + (1 - MOMENTUM) * length * bound.ascent
        split = split + move
        bound, state = pair.bound(split, state)
        if bound.value > best:
            best, best_split, best_bound, stale = bound.value, split, bound, 0
            if best >= CLOSE * goal:
                break
            continue
        stale += 1
        if stale == PATIENCE:
            split, bound, stale = best_split, best_bound, 0
            share, move = share / 2, torch.zeros_like(split)
    return best


class _Pair:
    """What stays the same for all splits of one pair."""

    def __init__(self, a: Tensor, b: Tensor, anchor: float) -> None:
        self.a, self.b = a, b
        self.constant = float(a.square().sum() + b.square().sum()) + anchor * a.numel()
        self.anchor = anchor * len(a)
        self.complement = complement_basis(a)

    def bound(self, splits: Tensor, state: _Relaxed | None) -> tuple[_Bound, _Relaxed]:
        """Certified bound with ``(2, n, n)`` splits A₂ and B₂, from the state of near splits or from the uniform X."""
        n = len(self.a)
        rest_a, rest_b = torch.stack([self.a, self.b]) - (splits + splits.transpose(1, 2)) / 2
        first, second = Eigen.of(rest_a, self.complement), Eigen.of(rest_b, self.complement)
        by_a = SortedRows.of(splits[0]), SortedRows.of(self.b)
        by_b = SortedRows.of(rest_a), SortedRows.of(splits[1])
        linear = -2 * (by_a[0].products(by_a[1]) + by_b[0].products(by_b[1]))
        linear -= (4 / n) * torch.outer(first.sums, second.sums)
        linear.diagonal().sub_(self.anchor)
        projected = first.vectors.T @ linear @ second.vectors

        fresh = state is None
        slopes = (second.values[1:] + second.values[:-1]) / 2 if state is None else state.slopes
        s, t, curvature = spectral_duals(first.values, second.values, slopes)
        if state is None:
            uniform = torch.full_like(linear, 1 / n)
            # Where both parts vanish any positive penalty will do.
            penalty = 6 * float(curvature.mean()) or float(linear.abs().mean()) or 1.0
            state = _Relaxed(uniform, torch.zeros_like(linear), slopes, penalty)
        positive, dual, penalty = state.positive, state.scaled_dual, state.penalty
        x = positive
        for step in range(1, (FIRST_STEPS if fresh else NEXT_STEPS) + 1):
            # The copy with row and column sums 1: uniform plus P Z Qᵀ, and the quadratic is diagonal in Z.
            pulled = first.vectors.T @ (positive - dual) @ second.vectors
            z = (penalty * pulled - projected) / (2 * curvature + penalty)
            x = 1 / n + first.vectors @ z @ second.vectors.T
            relaxed = RELAXATION * x + (1 - RELAXATION) * positive
            before = positive
            positive = (relaxed + dual).clamp(min=0)
            dual = dual + relaxed - positive
            if step % DUAL_EVERY:
                continue
            if fresh and step <= FIRST_STEPS // 2:
                factor = _balance(x, positive, before, dual)
                penalty, dual = penalty * factor, dual / factor
            best = best_slopes(first.vectors.T @ positive @ second.vectors, second.values)
            slopes = (slopes + best) / 2 if fresh else slopes + 0.3 * (best - slopes)
            s, t, curvature = spectral_duals(first.values, second.values, slopes)

        z = first.vectors.T @ x @ second.vectors
        value = self._certify(first, second, s, t, curvature, z, linear)
        x = positive / positive.sum(dim=1, keepdim=True).clamp(min=1e-12)
        image = spectral_image(x, first, second, s) + by_b[0].image(x, by_b[1])
        ascent_a = (image + image.T) / 2 - by_a[0].image(x, by_a[1])
        ascent_b = spectral_image(x.T, second, first, t) - by_b[1].image(x.T, by_b[0])
        return _Bound(value, 2 * torch.stack([ascent_a, ascent_b])), _Relaxed(positive, dual, slopes, penalty)

    def _certify(
        self, first: Eigen, second: Eigen, s: Tensor, t: Tensor, curvature: Tensor, z: Tensor, linear: Tensor
    ) -> float:
        """Tangent of the convex relaxation at ``z``, minimised over permutations, less its rounding error."""
        n = len(linear)
        slope = first.vectors @ (2 * curvature * z) @ second.vectors.T
        cost = (slope + linear).cpu().numpy()
        assigned = linear_sum_assignment(cost)
        constant = 2 * float(first.sums.sum() * second.sums.sum()) / n**2
        quadratic = float((curvature * z * z).sum())
        value = self.constant + constant + float(s.sum() + t.sum()) - quadratic + float(cost[assigned].sum())
        magnitude = (
            self.constant
            + abs(constant)
            + quadratic
            + float(s.abs().sum() + t.abs().sum())
            + n * float(curvature.max() + linear.abs().max() + slope.abs().max())
        )
        return value - ROUNDINGS * n * torch.finfo(torch.float64).eps * magnitude


def _balance(x: Tensor, positive: Tensor, before: Tensor, dual: Tensor) -> float:
    """Factor on the penalty that evens out the relative primal and dual residuals."""
    primal = float((x - positive).norm() / positive.norm().clamp(min=1e-300))
    change = float((positive - before).norm() / dual.norm().clamp(min=1e-300))
    return float(min(max((primal / max(change, 1e-12)) ** 0.5, 0.25), 4.0))
