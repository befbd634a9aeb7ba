"""Gromov-Wasserstein between two sets of any sizes and any weights, through POT.

POT's exact conditional-gradient solver (Peyré, Cuturi and Solomon 2016; Vayer et al. 2020) finds a local optimum near
its start, and its product start is often the worst one. It is therefore run from several starts, and the value of the
best coupling is computed by us.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import ot
import torch
from numpy.typing import ArrayLike, NDArray

from lightning_gw.gw.moves import choose_moves
from lightning_gw.gw.search import SearchMatrices
from lightning_gw.gw.solve import PLANS, PairSolver
from lightning_gw.gw.starts import sorted_rows_assignments
from lightning_gw.spaces import Geometry, find_defect, get_geometry, make_space, to_float64

FloatArray = NDArray[np.float64]

#: Weights must add up to 1 within this.
WEIGHT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class GWCoupling:
    """The best coupling found between two metric-measure spaces.

    Attributes:
        distortion: ``Σ (A_ik − B_jl)² T_ij T_kl``, an upper bound on the Gromov-Wasserstein value.
        coupling: ``(n, m)`` coupling ``T``, its marginals the two weights.
        start: Name of the start it was reached from.
    """

    distortion: float
    coupling: FloatArray
    start: str

    @property
    def distance(self) -> float:
        """Square root of `distortion`."""
        return float(np.sqrt(self.distortion))


def gw_distance(
    x: torch.Tensor | ArrayLike,
    y: torch.Tensor | ArrayLike,
    a: torch.Tensor | ArrayLike | None = None,
    b: torch.Tensor | ArrayLike | None = None,
    geometry: str | Geometry = "euclidean",
    seed: int = 0,
) -> float:
    """Gromov-Wasserstein distance between two sets of representations, of any sizes and weights: an upper bound.

    Args:
        x: ``(n, d)`` representations.
        y: ``(m, e)`` representations; neither the number of inputs nor the width need agree.
        a: ``(n,)`` weights of the inputs of ``x``, adding up to 1; uniform if left out.
        b: ``(m,)`` weights of ``y``.
        geometry: How the distance matrices are made; ``"precomputed"`` takes ``x`` and ``y`` as ``(n, n)`` and
            ``(m, m)`` symmetric matrices, used as they are.
        seed: Seed of the random starts.

    Returns:
        Square root of the smallest distortion found. `gw_coupling` also returns its coupling.

    Raises:
        ValueError: For unusable representations or weights; the message says which and why.
    """
    return gw_coupling(x, y, a, b, geometry, seed).distance


def gw_coupling(
    x: torch.Tensor | ArrayLike,
    y: torch.Tensor | ArrayLike,
    a: torch.Tensor | ArrayLike | None = None,
    b: torch.Tensor | ArrayLike | None = None,
    geometry: str | Geometry = "euclidean",
    seed: int = 0,
) -> GWCoupling:
    """Like `gw_distance`, with the coupling that the value was reached at.

    Starts: the product coupling, the one-dimensional optimal couplings of the mean distances, two random ones, and,
    where sizes agree and weights are uniform, the identity and the best permutation of our own search.
    """
    first, a_weights = _space("x", x, a, geometry)
    second, b_weights = _space("y", y, b, geometry)
    best: GWCoupling | None = None
    for name, start in _starts(first, second, a_weights, b_weights, seed).items():
        reached = ot.gromov.gromov_wasserstein(
            first, second, a_weights, b_weights, loss_fun="square_loss", G0=start, symmetric=True, max_iter=1000
        )
        # The start counts as well: no descent is trusted to improve on it.
        for coupling in (start, np.asarray(reached)):
            value = coupling_distortion(first, second, coupling)
            if best is None or value < best.distortion:
                best = GWCoupling(value, coupling, name)
    assert best is not None
    return best


def coupling_distortion(first: FloatArray, second: FloatArray, coupling: FloatArray) -> float:
    """``Σ (A_ik − B_jl)² T_ij T_kl`` for symmetric ``(n, n)`` and ``(m, m)`` matrices and an ``(n, m)`` coupling."""
    rows, columns = coupling.sum(axis=1), coupling.sum(axis=0)
    squares = rows @ first**2 @ rows + columns @ second**2 @ columns
    return max(float(squares - 2 * np.sum((first @ coupling @ second) * coupling)), 0.0)


def _space(
    name: str, x: torch.Tensor | ArrayLike, weights: torch.Tensor | ArrayLike | None, geometry: str | Geometry
) -> tuple[FloatArray, FloatArray]:
    """Float64 matrix and weights of one side, checked."""
    points = torch.as_tensor(x)
    if points.ndim != 2 or points.is_complex():
        raise ValueError(f"{name} has shape {tuple(points.shape)} and dtype {points.dtype}; expected real (n, d).")
    points = to_float64(points)
    checked = _check_weights(name, weights, len(points))
    if geometry == "precomputed":
        matrix = points.cpu().numpy()
        if matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T) or not np.isfinite(matrix).all():
            raise ValueError(f"{name} has shape {matrix.shape}; expected a finite symmetric (n, n) matrix.")
        return matrix, checked
    reason = find_defect(points)
    if reason is None:
        made, _ = make_space(points, get_geometry(geometry), torch.from_numpy(checked).to(points.device))
        if made is not None:
            return made.cpu().numpy(), checked
        reason = "its inputs are all equally far apart, so centred distances have no scale"
    raise ValueError(f"{name} cannot be compared: {reason}.")


def _check_weights(name: str, weights: torch.Tensor | ArrayLike | None, n: int) -> FloatArray:
    if weights is None:
        return np.full(n, 1.0 / n)
    checked = torch.as_tensor(weights).detach().cpu().double().numpy()
    side = "a" if name == "x" else "b"
    if checked.shape != (n,):
        raise ValueError(f"weights {side} have shape {checked.shape}; expected ({n},), one per input of {name}.")
    if not np.isfinite(checked).all() or (checked < 0).any():
        raise ValueError(f"weights {side} must be finite and not negative.")
    if abs(checked.sum() - 1) > WEIGHT_TOLERANCE:
        raise ValueError(f"weights {side} add up to {checked.sum():g}; expected 1. Divide them by their sum.")
    return checked / checked.sum()


def _starts(first: FloatArray, second: FloatArray, a: FloatArray, b: FloatArray, seed: int) -> dict[str, FloatArray]:
    n, m = len(a), len(b)
    starts = {
        "product": np.outer(a, b),
        "mean distance": np.asarray(ot.emd_1d(first @ a, second @ b, a, b)),
        "reversed mean distance": np.asarray(ot.emd_1d(first @ a, -(second @ b), a, b)),
    }
    generator = np.random.default_rng(seed)
    for k in range(2):
        starts[f"random {k + 1}"] = np.asarray(ot.emd(a, b, generator.random((n, m))))
    if n == m and np.allclose(a, 1 / n) and np.allclose(b, 1 / n):
        starts["identity"] = np.eye(n) / n
        if n > 1:
            starts["swap search"] = np.eye(n)[_search(first, second, seed)] / n
    return starts


def _search(first: FloatArray, second: FloatArray, seed: int) -> NDArray[np.int64]:
    """Best permutation of our own search: ``T[i, p_i] = 1/n``."""
    matrices = torch.from_numpy(np.stack([first, second]))
    left, right = torch.tensor([0]), torch.tensor([1])
    search = SearchMatrices.of(matrices)
    solver = PairSolver(search, choose_moves(search), left, right, PLANS["default"], seed, lambda _: None)
    sorted_rows, _ = sorted_rows_assignments(matrices, left, right)
    return np.asarray(solver.solve(sorted_rows)[0][0].numpy())
