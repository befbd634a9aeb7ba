"""Certified lower bounds on the distortion of every coupling between spaces of any two sizes, weights uniform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_gw.utilities.arrays import FloatArray

#: Bounds are lowered by ROUNDINGS · (n + m + ROUNDINGS) machine roundings of the magnitudes that went into them: sums
#: lose at most one rounding per term, and a symmetric eigendecomposition is backward stable to a small multiple of n.
ROUNDINGS = 8.0


@dataclass(frozen=True)
class Profile:
    """What a space keeps under every coupling, made once for all its pairs.

    Attributes:
        sorted_rows: ``(n, n)`` rows in ascending order, diagonal included.
        mean: Mean of all entries.
        row_means: ``(n,)`` ascending row means less the mean.
        eigenvalues: ``(n,)`` ascending eigenvalues of the doubly centred matrix, divided by ``n``.
        mean_square: Mean square of the entries.
    """

    sorted_rows: FloatArray
    mean: float
    row_means: FloatArray
    eigenvalues: FloatArray
    mean_square: float

    @staticmethod
    def of(matrix: FloatArray) -> Profile:
        """Profile of a symmetric ``(n, n)`` matrix."""
        rows = matrix.mean(axis=1)
        mean = float(rows.mean())
        centred = matrix - rows[:, None] - rows[None, :] + mean
        return Profile(
            sorted_rows=np.sort(matrix, axis=1),
            mean=mean,
            row_means=np.sort(rows - mean),
            eigenvalues=np.linalg.eigvalsh(centred) / len(matrix),
            mean_square=float(np.square(matrix).mean()),
        )


def transport_bound(first: Profile, second: Profile) -> float:
    """The larger of `sorted_rows_bound` and `spectral_transport_bound`, rounded down, never below 0."""
    n, m = len(first.row_means), len(second.row_means)
    spectral = spectral_transport_bound(first, second)
    spectral -= _rounding(n, m) * (first.mean_square + second.mean_square)
    return max(0.0, sorted_rows_bound(first, second), spectral)


def sorted_rows_bound(first: Profile, second: Profile) -> float:
    """Third lower bound (Mémoli 2011) over all couplings, certified.

    With ``(i, j)`` held fixed, ``Σ_kl (A_ik − B_jl)² T_kl`` is at least the cost ``c_ij`` of transporting row ``i`` to
    row ``j`` in one dimension, which sorted order attains. What is left is linear in ``T``. Any ``u`` with
    ``v_j = min_i c_ij − u_i`` is feasible for its dual, so the bound ``mean u + mean v`` holds however well the
    transport problem was solved.
    """
    import ot  # where it is needed: it brings packages along that take a second to import

    n, m = len(first.row_means), len(second.row_means)
    places, widths = merged_steps(n, m)
    a = first.sorted_rows[:, places // m]
    b = second.sorted_rows[:, places // n]
    weighted = b * widths
    cost = np.square(a) @ widths[:, None] + (b * weighted).sum(axis=1)[None, :] - 2 * (a @ weighted.T)
    cost = np.maximum(cost, 0.0)
    _, log = ot.emd(np.full(n, 1 / n), np.full(m, 1 / m), cost, log=True)
    u = np.asarray(log["u"])
    v = (cost - u[:, None]).min(axis=0)
    magnitude = first.mean_square + second.mean_square + np.abs(u).mean() + np.abs(v).mean()
    return max(0.0, float(u.mean() + v.mean() - _rounding(n, m) * magnitude))


def spectral_transport_bound(first: Profile, second: Profile) -> float:
    """Spectral bound over all couplings, not yet rounded down.

    Under ``T ⊗ T`` the difference ``A_ik − B_jl`` splits into a constant, a part that depends on ``(i, j)`` plus the
    same of ``(k, l)``, and a part that averages to zero over either; the parts are orthogonal for every coupling.

    * The constant is ``(mean A − mean B)²``.
    * With ``r``, ``s`` the row means less the mean, the middle part is ``2 Σ T_ij (r_i − s_j)²``, least for the sorted
      coupling of the two.
    * The last is ``‖α‖² + ‖β‖² − 2 tr(Â X B̂ Xᵀ)`` with ``Â = A°/n``, ``B̂ = B°/m``, eigenvalues ``α``, ``β``, and
      ``X = √(nm) T``, a conditional expectation, hence of norm at most 1. Products of a positive with a negative part
      of ``Â``, ``B̂`` only lower the trace; for two positive (or two negative) parts von Neumann's inequality and
      ``‖X‖ ≤ 1`` bound it by the product of the eigenvalues in order of size. So the part is at least the squared
      difference of the positive eigenvalues in order, padded with zeros, plus that of the negative ones. (Permutations
      are invertible, which allows the pairing across signs in `bounds`; couplings at large do not.)
    """
    n, m = len(first.row_means), len(second.row_means)
    places, widths = merged_steps(n, m)
    constant = (first.mean - second.mean) ** 2
    rows = 2 * float(widths @ np.square(first.row_means[places // m] - second.row_means[places // n]))
    size = max(n, m)

    def of_sign(values: FloatArray, sign: float) -> FloatArray:
        padded = np.zeros(size)
        kept = np.sort(np.maximum(sign * values, 0.0))[::-1]
        padded[: len(kept)] = kept
        return padded

    centred = sum(
        float(np.square(of_sign(first.eigenvalues, sign) - of_sign(second.eigenvalues, sign)).sum())
        for sign in (1.0, -1.0)
    )
    return constant + rows + centred


def merged_steps(n: int, m: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Where two quantile functions of ``n`` and ``m`` equal steps are both constant.

    Returns:
        ``(S,)`` left ends, as whole multiples of ``1 / (n m)``, and ``(S,)`` widths, which add up to 1.
    """
    ends = np.union1d(np.arange(n + 1, dtype=np.int64) * m, np.arange(m + 1, dtype=np.int64) * n)
    return ends[:-1], np.diff(ends) / (n * m)


def _rounding(n: int, m: int) -> float:
    return ROUNDINGS * (n + m + ROUNDINGS) * float(np.finfo(np.float64).eps)
