"""What a Gromov-Wasserstein computation found: values, bounds, couplings, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lightning_gw.geometry.geometries import GEOMETRIES
from lightning_gw.gw.drift import Drift
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.shown import Shown


@dataclass(frozen=True)
class GWMatrix(Shown):
    """Gromov-Wasserstein values between layers, each with its certified lower bound and its paired counterpart.

    Every value of `distortion` is an **upper bound**: the squared-loss Gromov-Wasserstein objective at the best
    permutation that was found. The optimum over permutations lies in ``[lower, distortion]``. `identity` is the same
    quantity at the identity coupling, which is a *paired* similarity measure: RSA for ``standardized`` and
    ``euclidean``, squared distance correlation for ``dcor``, linear CKA for ``cka``.

    Rows and columns are the same ``L`` layers, or, for `gw_matrix` with two sets, ``L_a`` rows and ``L_b`` columns. Two
    sets seen on different numbers of inputs have no permutations between them: then `couplings` holds transport plans,
    and what asks for a permutation (`identity`, `matching_gain`, `moved`) is NaN.

    Attributes:
        layers: Names of the rows, ``L`` of them, in depth order.
        geometry: Name of the geometry the metric-measure spaces were made under.
        distortion: ``(L, L)`` upper bounds on the squared-loss GW value; NaN in the rows of degenerate layers.
        lower: ``(L, L)`` certified lower bounds on `distortion`; 0 where none were asked for.
        identity: ``(L, L)`` distortion of the identity coupling; never below `distortion`.
        couplings: ``(L, L, n)`` permutations as int64: ``couplings[i, j][k]`` is the input of layer ``j`` that input
            ``k`` of layer ``i`` is matched to. Between sets of ``n`` and ``m ≠ n`` inputs ``(L_a, L_b, n, m)`` float32
            transport plans, whose rows add up to ``1/n`` and columns to ``1/m``.
        converged: ``(L, L)`` True where the search ended in a local optimum rather than at its round limit.
        degenerate: Layers left out, name to the reason in plain words. Their rows are NaN.
        variation: ``(L,)`` standard deviation of the distances over their mean, which is what converts a value exactly
            between ``standardized`` and ``euclidean``; None where the geometry, or a transport plan, has no such
            conversion.
        seconds: Wall-clock seconds the computation took.
        solver: What the search ran on: ``"compiled"`` (Numba) or ``"batched torch"``, or
            ``"conditional gradient (POT)"`` between sets of different ``n``.
        anchor: ``λ``; with ``λ > 0`` every `distortion` holds ``λ · moved`` on top of the squared differences.
        other_layers: Names of the columns where they are another set of layers, else None. See `columns`.
        other_degenerate: Columns left out, like `degenerate`; empty where rows and columns are the same layers.
        other_variation: `variation` of the columns where they are another set of layers.
        restricted: ``(L, L)`` True where some coupling that is no permutation may lie below the best permutation,
            because the objective is not concave in the coupling. Then `distortion` and `lower` are about permutations
            only, and ``gw_coupling(A, B, geometry="precomputed")`` searches among all couplings. None in a record
            written before this was kept.
        unit_scale: Whether the spaces have root mean square 1, so that there is a `similarity`; by default what is true
            of the geometry of that name.
        warm_looks: How many matrices in a row, this one included, were searched from the one before; 0 from cold.
        drift: How far layers moved since each pair was last searched, for the next warm start; None where that is not
            known, and everything counts as moved.

    A best coupling is a permutation where the doubly centred matrices are both positive or both negative semi-definite
    (Maron and Lipman, "(Probably) Concave Graph Matching", NeurIPS 2018); docs/method.md says why. `restricted` is
    judged by the plain distances, before centring and scale; values of geometries with off-diagonal centring
    (``standardized``, ``cosine``, ``sqeuclidean``, ``rbf``) are by definition read at the best permutation of these.

    Example:
        >>> import torch
        >>> from lightning_gw import gw_matrix
        >>> x = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
        >>> matrix = gw_matrix({"first": x, "squares": x.square()})
        >>> matrix.layers, matrix.similarity.shape, matrix.couplings.shape
        (('first', 'squares'), (2, 2), (2, 2, 32))
        >>> bool(matrix.lower[0, 1] <= matrix.distortion[0, 1] <= matrix.identity[0, 1])
        True
        >>> matrix.to("euclidean").geometry  # the same couplings, read in the other geometry
        'euclidean'
    """

    layers: tuple[str, ...]
    geometry: str
    distortion: FloatArray
    lower: FloatArray
    identity: FloatArray
    couplings: NDArray[np.int64] | NDArray[np.float32]
    converged: NDArray[np.bool_]
    degenerate: Mapping[str, str] = field(default_factory=dict)
    variation: FloatArray | None = None
    seconds: float = 0.0
    solver: str = ""
    anchor: float = 0.0
    other_layers: tuple[str, ...] | None = None
    other_degenerate: Mapping[str, str] = field(default_factory=dict)
    other_variation: FloatArray | None = None
    restricted: NDArray[np.bool_] | None = None
    unit_scale: bool | None = None
    warm_looks: int = 0
    drift: Drift | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.unit_scale is None:
            known = GEOMETRIES.get(self.geometry)
            object.__setattr__(self, "unit_scale", known is not None and known.unit_scale)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns: `layers` of the square matrix, `other_layers` of a rectangle between two sets."""
        return self.layers if self.other_layers is None else self.other_layers

    @property
    def gap(self) -> FloatArray:
        """``(L, L)`` ``distortion − lower``: how far below `distortion` the optimum may still lie, uncertified."""
        return self.distortion - self.lower

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
        """``(L, L)`` share of inputs matched to another input than themselves; NaN between sets of different ``n``."""
        if self.couplings.ndim == 4:
            return np.full(self.distortion.shape, np.nan)
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
        if self.couplings.ndim == 4:
            raise ValueError(
                f"Transport plans between different numbers of inputs are not best in two geometries at once. Call "
                f"gw_matrix(..., geometry={geometry!r}) instead."
            )
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
        other = self.variation if self.other_variation is None else self.other_variation
        product = np.outer(self.variation, other)
        offset = np.subtract.outer(self.variation, other) ** 2

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
            unit_scale=None,
        )

    def _to_similarity(self, values: FloatArray) -> FloatArray:
        if not self.unit_scale:
            raise ValueError(
                f"geometry {self.geometry!r} has no unit scale, so its distortions are no similarities; "
                "read .distance, or .to('standardized').similarity."
            )
        return np.asarray(1.0 - values / 2.0)

    def __repr__(self) -> str:
        rows, columns = len(self.layers), len(self.columns)
        layers = f"{rows} layers" if self.other_layers is None else f"{rows} × {columns} layers"
        plans = self.couplings.ndim == 4
        inputs = " × ".join(map(str, self.couplings.shape[2:])) if plans else str(self.couplings.shape[-1])
        missing = len(self.degenerate) + len(self.other_degenerate)
        left_out = f", {missing} degenerate" if missing else ""
        pairs = 0 if self.restricted is None else int(self.restricted.sum())
        pairs = pairs // 2 if self.other_layers is None else pairs
        restricted = f", {pairs} restricted to permutations" if pairs else ""
        return f"GWMatrix({layers}, n={inputs}, {self.geometry}{left_out}{restricted})"


def _refuse_to_change(matrix: GWMatrix, name: str, value: object) -> None:
    raise FrozenInstanceError(
        f"A GWMatrix does not change, so {name!r} cannot be set. Where Lightning was to log it, log numbers of it: "
        "self.log('gw/first_to_last', metric.compute().similarity[0, -1].item()); self.log takes no matrix, nor the "
        "metric that computes one."
    )


# In the place of dataclass's own words; Lightning sets every field of what a logged metric gave.
GWMatrix.__setattr__ = _refuse_to_change  # type: ignore[method-assign, assignment]
