"""The two relaxations of trace(A X B Xᵀ) that `tight` joins, by eigenvalues and by sorted rows, and their minimum.

Whatever only leads to a bound, and is no part of it, is computed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Over-relaxation of the alternating direction method; 1.5–1.8 is usual (Boyd et al. 2011, section 3.4.3).
RELAXATION = 1.6
#: Alternating direction steps for the first split, for every later one, and between two looks at (s, t) at first.
FIRST_STEPS, NEXT_STEPS, DUAL_EVERY = 40, 5, 10
#: The few steps of later splits, which start where the last one ended, may be longer: their penalty over that which
#: evens out the residuals at first.
NEXT_PENALTY = 0.15
#: How far (s, t) goes towards what is best at the relaxed X, at first and from each later split to the next.
FIRST_DUAL, NEXT_DUAL = 0.5, 0.05


@dataclass(frozen=True)
class Eigen:
    """A symmetric matrix on the complement of the constant vector, and its row sums.

    Attributes:
        values: ``(n − 1,)`` ascending eigenvalues.
        vectors: ``(n, n − 1)`` orthonormal eigenvectors, orthogonal to the constant vector.
        sums: ``(n,)`` row sums of the matrix.
    """

    values: Tensor
    vectors: Tensor
    sums: Tensor

    @staticmethod
    def of(matrix: Tensor, complement: Tensor) -> Eigen:
        values, vectors = torch.linalg.eigh(complement.T @ matrix @ complement)
        return Eigen(values, complement @ vectors, matrix.sum(dim=1))


def complement_basis(matrix: Tensor) -> Tensor:
    """``(n, n − 1)`` orthonormal basis of the complement of the constant vector, by a Householder reflection."""
    n = len(matrix)
    normal = torch.full((n,), n**-0.5, dtype=matrix.dtype, device=matrix.device)
    normal[0] += 1
    reflection = torch.eye(n, dtype=matrix.dtype, device=matrix.device)
    return (reflection - 2 * torch.outer(normal, normal) / (normal @ normal))[:, 1:]


@dataclass(frozen=True)
class SortedRows:
    """Rows of a matrix beside the diagonal in ascending order, and the diagonal.

    Attributes:
        rows: ``(n, n − 1)``.
        order: ``(n, n − 1)`` the position each came from.
        diagonal: ``(n,)``.
    """

    rows: Tensor
    order: Tensor
    diagonal: Tensor

    @staticmethod
    def of(matrix: Tensor) -> SortedRows:
        rows = off_diagonal(matrix).sort(dim=1)
        return SortedRows(rows.values, rows.indices, matrix.diagonal())

    def products(self, other: SortedRows) -> Tensor:
        """``(n, n)`` most that a row of this matrix can make of a row of the other."""
        return self.rows @ other.rows.T + torch.outer(self.diagonal, other.diagonal)

    def image(self, x: Tensor, other: SortedRows) -> Tensor:
        """What this matrix is multiplied with in ⟨X, products⟩: the other's sorted rows, mixed by X, in its order."""
        mixed = x @ other.rows.to(x.dtype)
        entries = torch.zeros_like(mixed).scatter_(1, self.order, mixed)
        return _with_diagonal(entries, x @ other.diagonal.to(x.dtype))


@dataclass(frozen=True)
class ReducedRows:
    """Rows of a part of one matrix sorted with those of another whose columns were shifted, and the shift taken off.

    For permutations ``Σ_ij part_ij (whole + 1 βᵀ)_{p_i p_j}`` is that of `whole` plus ``Σ_j sums_j β_{p_j}``, which is
    linear in the permutation (reductions: Edwards 1980; Frieze and Yadegar 1983). Shifted rows, each sorted by itself,
    agree more on what goes where.

    Attributes:
        part: Rows of the part.
        whole: Rows of the other matrix, shifted.
        sums: ``(n,)`` column sums of the part.
        shift: ``(n,)`` β.
    """

    part: SortedRows
    whole: SortedRows
    sums: Tensor
    shift: Tensor

    @staticmethod
    def of(part: Tensor, whole: Tensor, shift: Tensor) -> ReducedRows:
        return ReducedRows(SortedRows.of(part), SortedRows.of(whole + shift), part.sum(dim=0), shift)

    def products(self) -> tuple[Tensor, float]:
        """``(n, n)`` whose sum over a permutation is at least the trace of part X whole Xᵀ, and what went into it."""
        sorted_rows, taken_off = self.part.products(self.whole), torch.outer(self.sums, self.shift)
        return sorted_rows - taken_off, float(sorted_rows.abs().max() + taken_off.abs().max())

    def images(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the part, the other matrix and the shift are multiplied with in ⟨X, products⟩."""
        whole = self.whole.image(x.T, self.part)
        part = self.part.image(x, self.whole) - (x @ self.shift.to(x.dtype))[None, :]
        return part, whole, whole.sum(dim=0) - x.T @ self.sums.to(x.dtype)


def spectral_duals(first: Tensor, second: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Dual feasible (s, t) for the costs ``−2 λ_i μ_j`` and the reduced costs ``(n − 1, n − 1)``, all ≥ 0.

    Held by ascending slopes, ``s_{i+1} − s_i = −2 (λ_{i+1} − λ_i) slope_i``; slopes between neighbouring μ attain the
    spectral bound. t, and then s again, are the largest feasible.
    """
    costs = -2 * torch.outer(first, second)
    s = torch.zeros_like(first)
    s[1:] = torch.cumsum(-2 * (first[1:] - first[:-1]) * slopes, dim=0)
    t = (costs - s[:, None]).amin(dim=0)
    s = (costs - t[None, :]).amin(dim=1)
    return s, t, (costs - s[:, None] - t[None, :]).clamp_(min=0)


def best_slopes(z: Tensor, second: Tensor) -> Tensor:
    """Slopes of the (s, t) that is best at ``z``: the north-west corner rule on what z leaves free of each vector."""
    rows = (1 - z.square().sum(dim=1)).clamp(min=0) + 1e-12
    columns = (1 - z.square().sum(dim=0)).clamp(min=0) + 1e-12
    rows, columns = rows.cumsum(dim=0), columns.cumsum(dim=0)
    corner = torch.searchsorted(columns / columns[-1], (rows / rows[-1])[:-1]).clamp(max=len(second) - 1)
    return second[corner]


def spectral_image(x: Tensor, first: Eigen, second: Eigen, s: Tensor) -> Tensor:
    """What A is multiplied with in its spectral part of S: X B Xᵀ, filled up by the derivative of tr s(A)(1 − X Xᵀ)."""
    n, kind = len(x), x.dtype
    vectors = first.vectors.to(kind)
    z = vectors.T @ x @ second.vectors.to(kind)
    gaps = first.values[:, None] - first.values[None, :]
    apart = gaps.abs() > 1e-9 * first.values.abs().max()
    divided = torch.where(apart, (s[:, None] - s[None, :]) / torch.where(apart, gaps, 1.0), 0.0)
    beside = divided.diagonal(1)
    divided.diagonal().copy_((torch.cat([beside[:1], beside]) + torch.cat([beside, beside[-1:]])) / 2)
    free = torch.eye(n - 1, dtype=kind, device=x.device) - z @ z.T
    image = vectors @ ((z * second.values.to(kind)) @ z.T - divided.to(kind) * free / 2) @ vectors.T
    sums = x @ second.sums.to(kind) / n
    return image + sums[:, None] + sums[None, :] - second.sums.to(kind).sum() / n**2


@dataclass(frozen=True)
class Relaxed:
    """State of the alternating direction method, kept from one split to the next.

    Attributes:
        positive: ``(n, n)`` float32, the copy of X that is nonnegative.
        scaled_dual: ``(n, n)`` float32 multipliers of X = positive, divided by the penalty.
        slopes: ``(n − 2,)`` float64, ascending; how (s, t) is held, see `spectral_duals`.
        penalty: Weight of the distance of the two copies.
    """

    positive: Tensor
    scaled_dual: Tensor
    slopes: Tensor
    penalty: float

    @staticmethod
    def start(first: Eigen, second: Eigen, linear: Tensor) -> Relaxed:
        """State near the minimum over doubly stochastic X of both relaxations, reached from the uniform X."""
        n = len(linear)
        slopes = (second.values[1:] + second.values[:-1]) / 2
        uniform = torch.full((n, n), 1 / n, dtype=torch.float32, device=linear.device)
        curvature = spectral_duals(first.values, second.values, slopes)[2]
        # Where both parts vanish any positive penalty will do.
        penalty = 6 * float(curvature.mean()) or float(linear.abs().mean()) or 1.0
        state = Relaxed(uniform, torch.zeros_like(uniform), slopes, penalty)
        for steps in range(DUAL_EVERY, FIRST_STEPS + 1, DUAL_EVERY):
            state = state._steps(first, second, linear, DUAL_EVERY, FIRST_DUAL, balanced=2 * steps <= FIRST_STEPS)[-1]
        penalty, dual = state.penalty * NEXT_PENALTY, state.scaled_dual / NEXT_PENALTY
        return Relaxed(state.positive, dual, state.slopes, penalty)

    def follow(self, first: Eigen, second: Eigen, linear: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Relaxed]:
        """A few steps: Z, s, t and their reduced costs, in float64, and the state after them, with its next (s, t).

        Z is zero where float32 could not hold it.
        """
        z, s, t, curvature, state = self._steps(first, second, linear, NEXT_STEPS, NEXT_DUAL, balanced=False)
        return z.nan_to_num(0, 0, 0), s, t, curvature, state

    def multipliers(self) -> Tensor:
        """``(n, n)`` float64 multipliers of X ≥ 0, themselves ≥ 0; zero where float32 could not hold them."""
        return (-self.penalty * self.scaled_dual).double().nan_to_num(0, 0, 0)

    def _steps(
        self, first: Eigen, second: Eigen, linear: Tensor, count: int, toward: float, balanced: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Relaxed]:
        s, t, curvature = spectral_duals(first.values, second.values, self.slopes)
        left, right = first.vectors.float(), second.vectors.float()
        projected = left.T @ linear.float() @ right
        weights = 1 / (2 * curvature.float() + self.penalty)
        positive, dual, penalty = self.positive, self.scaled_dual, self.penalty
        x = z = before = positive
        for _ in range(count):
            # The copy with row and column sums 1: uniform plus P Z Qᵀ, and the quadratic is diagonal in Z.
            z = (penalty * (left.T @ (positive - dual) @ right) - projected) * weights
            x = 1 / len(linear) + left @ z @ right.T
            moved = RELAXATION * x + (1 - RELAXATION) * positive + dual
            before, positive = positive, moved.clamp(min=0)
            dual = moved - positive
        if balanced:
            factor = _balance(x, positive, before, dual)
            penalty, dual = penalty * factor, dual / factor
        best = best_slopes((left.T @ positive @ right).double(), second.values)
        slopes = self.slopes + toward * (best - self.slopes)
        return z.double(), s, t, curvature, Relaxed(positive, dual, slopes, penalty)


def assignment_bound(costs: Tensor, multipliers: Tensor) -> float:
    """Lower bound on the least sum over permutations of ``(n, n)`` float64 `costs`: a feasible dual of the assignment.

    Where `multipliers` are the reduced costs at the optimum it is attained, for what they leave is u_i + v_j. Whatever
    they are, v and then u made as large as the costs allow are feasible.
    """
    rows = (costs - multipliers).mean(dim=1)
    columns = (costs - rows[:, None]).amin(dim=0)
    rows = (costs - columns[None, :]).amin(dim=1)
    return float(rows.sum() + columns.sum())


def _balance(x: Tensor, positive: Tensor, before: Tensor, dual: Tensor) -> float:
    """Factor on the penalty that evens out the relative primal and dual residuals."""
    primal = float((x - positive).norm() / positive.norm().clamp(min=1e-30))
    change = float((positive - before).norm() / dual.norm().clamp(min=1e-30))
    return float(min(max((primal / max(change, 1e-12)) ** 0.5, 0.25), 4.0))


def off_diagonal(matrix: Tensor) -> Tensor:
    """``(n, n − 1)`` entries beside the diagonal, row by row."""
    n = len(matrix)
    return matrix.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)


def _with_diagonal(entries: Tensor, diagonal: Tensor) -> Tensor:
    """``(n, n)`` matrix of the ``(n, n − 1)`` entries beside its diagonal and the diagonal."""
    n = len(entries)
    flat = torch.zeros(n * n, dtype=entries.dtype, device=entries.device)
    flat[1:].view(n - 1, n + 1)[:, :-1] = entries.reshape(n - 1, n)
    matrix = flat.view(n, n)
    matrix.diagonal().copy_(diagonal)
    return matrix
