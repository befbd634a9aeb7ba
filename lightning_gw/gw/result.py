"""What a Gromov-Wasserstein computation found: values, bounds, couplings, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Geometries whose matrices have root mean square 1, so that distortion = 2 (1 − similarity).
UNIT_SCALE_GEOMETRIES = frozenset({"standardized", "dcor", "cka", "cosine", "sqeuclidean", "rbf"})


@dataclass(frozen=True)
class GWMatrix:
    """Gromov-Wasserstein values between layers, each with its certified lower bound and its paired counterpart.

    Every value of `distortion` is an **upper bound**: the squared-loss Gromov-Wasserstein value at the best permutation
    that was found. The true value lies in ``[lower, distortion]``. `identity` is the same quantity at the identity
    coupling, which is a *paired* similarity measure: RSA for ``standardized`` and ``euclidean``, squared distance
    correlation for ``dcor``, linear CKA for ``cka``.

    Attributes:
        layers: Names of the rows, ``L`` of them, in depth order.
        geometry: Name of the geometry the metric-measure spaces were made under.
        distortion: ``(L, L)`` upper bounds on the squared-loss GW value; NaN in the rows of degenerate layers.
        lower: ``(L, L)`` certified lower bounds on `distortion`.
        identity: ``(L, L)`` distortion of the identity coupling; never below `distortion`.
        couplings: ``(L, L, n)`` permutations as int64: ``couplings[i, j][k]`` is the input of layer ``j`` that input
            ``k`` of layer ``i`` is matched to.
        converged: ``(L, L)`` True where the search ended in a local optimum rather than at its round limit.
        degenerate: Layers left out, name to the reason in plain words. Their rows are NaN.
        variation: ``(L,)`` standard deviation of the distances over their mean, which is what converts a value exactly
            between ``standardized`` and ``euclidean``; None where the geometry has no such conversion.
        seconds: Wall-clock seconds the computation took.
        solver: What the search ran on: ``"compiled"`` (Numba) or ``"batched torch"``.
        anchor: ``λ``; with ``λ > 0`` every `distortion` holds ``λ · moved`` on top of the squared differences.
    """

    layers: tuple[str, ...]
    geometry: str
    distortion: FloatArray
    lower: FloatArray
    identity: FloatArray
    couplings: NDArray[np.int64]
    converged: NDArray[np.bool_]
    degenerate: Mapping[str, str] = field(default_factory=dict)
    variation: FloatArray | None = None
    seconds: float = 0.0
    solver: str = ""
    anchor: float = 0.0

    @property
    def distance(self) -> FloatArray:
        """``(L, L)`` square root of `distortion`: lower is closer, zero on the diagonal."""
        return np.sqrt(self.distortion)

    @property
    def identity_distance(self) -> FloatArray:
        """``(L, L)`` square root of `identity`: the paired distance."""
        return np.sqrt(self.identity)

    @property
    def similarity(self) -> FloatArray:
        """``(L, L)`` ``1 − distortion / 2``: higher is closer, 1 on the diagonal.

        Raises:
            ValueError: For geometries without unit scale, where such a number has no meaning.
        """
        return self._to_similarity(self.distortion)

    @property
    def similarity_bound(self) -> FloatArray:
        """``(L, L)`` certified upper bound on `similarity`, from `lower`."""
        return self._to_similarity(self.lower)

    @property
    def identity_similarity(self) -> FloatArray:
        """``(L, L)`` similarity of the identity coupling: RSA, squared distance correlation or CKA by geometry."""
        return self._to_similarity(self.identity)

    @property
    def matching_gain(self) -> FloatArray:
        """``(L, L)`` ``identity − distortion``, what a free matching sees beyond the paired measure; never negative."""
        return self.identity - self.distortion

    @property
    def moved(self) -> FloatArray:
        """``(L, L)`` share of inputs matched to another input than themselves."""
        return np.asarray((self.couplings != np.arange(self.couplings.shape[-1])).mean(axis=-1))

    def to(self, geometry: str) -> GWMatrix:
        """Read the same couplings in the other of ``standardized`` and ``euclidean``, exactly.

        An offset and a positive scale of the distances do not move the best permutation, and with ``v`` the coefficient
        of variation of each layer's distances ``euclidean = (v_i − v_j)² + v_i v_j standardized`` for values and bounds
        alike.

        Args:
            geometry: ``"euclidean"`` or ``"standardized"``.

        Raises:
            ValueError: If no exact conversion between the two geometries exists.
        """
        if geometry == self.geometry:
            return self
        if self.variation is None or {geometry, self.geometry} != {"euclidean", "standardized"}:
            raise ValueError(
                f"A matrix in geometry {self.geometry!r} cannot be read as {geometry!r}: only 'euclidean' and "
                f"'standardized' share their best permutations. Call gw_matrix(..., geometry={geometry!r}) instead."
            )
        if self.anchor > 0:
            raise ValueError(
                f"This matrix is anchored (anchor={self.anchor}), and the anchor weighs differently in the other "
                f"geometry. Call gw_matrix(..., geometry={geometry!r}, anchor=...) instead."
            )
        product = np.outer(self.variation, self.variation)
        offset = np.subtract.outer(self.variation, self.variation) ** 2

        def convert(values: FloatArray) -> FloatArray:
            if geometry == "euclidean":
                return np.asarray(offset + product * values)
            return np.asarray((values - offset) / product)

        return replace(
            self,
            geometry=geometry,
            distortion=convert(self.distortion),
            lower=np.maximum(convert(self.lower), 0.0),
            identity=convert(self.identity),
        )

    def _to_similarity(self, values: FloatArray) -> FloatArray:
        if self.geometry not in UNIT_SCALE_GEOMETRIES:
            raise ValueError(
                f"geometry {self.geometry!r} has no unit scale, so its distortions are no similarities; "
                "read .distance, or .to('standardized').similarity."
            )
        return np.asarray(1.0 - values / 2.0)

    def __repr__(self) -> str:
        left_out = f", {len(self.degenerate)} degenerate" if self.degenerate else ""
        return f"GWMatrix({len(self.layers)} layers, n={self.couplings.shape[-1]}, {self.geometry}{left_out})"
