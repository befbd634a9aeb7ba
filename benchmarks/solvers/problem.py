"""One benchmark problem: the layers of a trained network on the same inputs, and the value of any coupling of them.

Spaces and values are computed here with NumPy and SciPy in float64, apart from the solvers that are measured, so that
every solver is judged by the same independent yardstick.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor

from benchmarks.solvers.representations import representations

FloatArray = NDArray[np.float64]
#: Either a permutation ``(n,)`` or a transport plan ``(n, n)``.
Coupling = NDArray[np.int64] | FloatArray

#: Hexadecimal digits of a pair's key.
KEY_LENGTH = 16


@dataclass(frozen=True)
class Problem:
    """All pairs of layers of one network.

    Attributes:
        name: ``network/L7/n128``.
        representations: Layer name to float32 ``(n, d)``.
        matrices: ``(L, n, n)`` Euclidean distances over the mean of all entries, float64: geometry ``euclidean``.
        variation: ``(L,)`` coefficient of variation, which converts values to ``standardized``.
        pairs: ``(P, 2)`` layer indices ``i < j`` in row-major order.
        digest: SHA-256 of the inputs.
    """

    name: str
    representations: Mapping[str, Tensor]
    matrices: FloatArray
    variation: FloatArray
    pairs: NDArray[np.int64]
    digest: str

    @staticmethod
    def of(name: str, representations: Mapping[str, Tensor]) -> Problem:
        """Problem of ``(n, d)`` representations of the same inputs."""
        matrices = np.stack([_mean_scaled_distances(x) for x in representations.values()])
        return Problem(
            name=name,
            representations=representations,
            matrices=matrices,
            variation=np.array([_variation(matrix) for matrix in matrices]),
            pairs=np.stack(np.triu_indices(len(matrices), 1), axis=1),
            digest=digest(representations),
        )

    @property
    def inputs(self) -> int:
        """``n``, inputs of every layer."""
        return int(self.matrices.shape[1])

    @property
    def keys(self) -> list[str]:
        """Of every pair, the start of the SHA-256 of both layers' inputs: what its best known value is kept under."""
        each = list(self.representations.items())
        return [digest(dict(each[k] for k in pair))[:KEY_LENGTH] for pair in self.pairs]

    def of_pair(self, pair: int) -> tuple[FloatArray, FloatArray]:
        """The two ``(n, n)`` matrices of pair number `pair`."""
        i, j = self.pairs[pair]
        return self.matrices[i], self.matrices[j]

    def identity(self) -> FloatArray:
        """``(P,)`` distortions of the identity coupling."""
        return np.array([np.mean((self.matrices[i] - self.matrices[j]) ** 2) for i, j in self.pairs])

    def distortion(self, pair: int, coupling: Coupling) -> float:
        """``Σ (A_ik − B_jl)² T_ij T_kl`` in geometry ``euclidean``, at the coupling's own marginals.

        Args:
            pair: Number of the pair.
            coupling: Permutation ``(n,)``, for which the value is a direct difference, or plan ``(n, n)``.
        """
        a, b = self.of_pair(pair)
        if coupling.ndim == 1:
            if not np.array_equal(np.sort(coupling), np.arange(self.inputs)):
                raise ValueError(f"{self.name}, pair {pair}: the coupling is no permutation of {self.inputs} inputs.")
            return float(np.mean((a - b[np.ix_(coupling, coupling)]) ** 2))
        rows, columns = coupling.sum(axis=1), coupling.sum(axis=0)
        squares = rows @ a**2 @ rows + columns @ b**2 @ columns
        return float(squares - 2 * np.sum((a @ coupling @ b) * coupling))

    def standardized(self, distortions: FloatArray, pairs: NDArray[np.int64] | slice = slice(None)) -> FloatArray:
        """Values of geometry ``euclidean`` read in ``standardized``; exact for permutations, an affine map for plans.

        ``euclidean = (v_i − v_j)² + v_i v_j standardized``, with ``v`` the coefficients of variation.
        """
        first, second = self.variation[self.pairs[pairs].T]
        return np.asarray((distortions - (first - second) ** 2) / (first * second))

    def euclidean(self, distortions: FloatArray) -> FloatArray:
        """Inverse of `standardized` on all pairs."""
        first, second = self.variation[self.pairs.T]
        return np.asarray((first - second) ** 2 + first * second * distortions)


def load_problem(network: str, layers: int, inputs: int) -> Problem:
    """Problem of a trained network (see `representations`)."""
    return Problem.of(f"{network}/L{layers}/n{inputs}", representations(network, layers, inputs))


def toy_problem(layers: int = 3, inputs: int = 16) -> Problem:
    """Random representations, to warm solvers up on."""
    generator = torch.Generator().manual_seed(0)
    return Problem.of(
        f"toy/L{layers}/n{inputs}", {str(k): torch.randn(inputs, 4, generator=generator) for k in range(layers)}
    )


def digest(representations: Mapping[str, Tensor]) -> str:
    """SHA-256 of the float32 bytes of all layers in depth order."""
    state = hashlib.sha256()
    for x in representations.values():
        state.update(np.ascontiguousarray(x.numpy(), dtype=np.float32).tobytes())
    return state.hexdigest()


def marginal_error(coupling: Coupling) -> float:
    """How far the marginals of a plan are from uniform in total variation, from 0 to 1; 0 for permutations."""
    if coupling.ndim == 1:
        return 0.0
    uniform = 1 / len(coupling)
    return float(max(np.abs(coupling.sum(axis=side) - uniform).sum() for side in (0, 1))) / 2


def _mean_scaled_distances(x: Tensor) -> FloatArray:
    points = x.double().numpy()
    distances = cdist(points, points)
    return np.asarray(distances / distances.mean())


def _variation(matrix: FloatArray) -> float:
    off_diagonal = ~np.eye(len(matrix), dtype=bool)
    centred = np.where(off_diagonal, matrix - matrix[off_diagonal].mean(), 0.0)
    return float(np.sqrt(np.mean(centred**2)) / matrix.mean())
