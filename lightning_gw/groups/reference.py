"""What an architecture does by itself: steps between layers of networks that learnt nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_gw.groups.partition import OWN_FLOOR, FloatArray, boundaries_of, check_distances, prune_boundaries
from lightning_gw.gw.result import GWMatrix

#: Distances are compared where they are large against this share of the reference's largest step: ratios of distances
#: that are both next to nothing say nothing, and blocks that begin as the identity have distances of exactly zero.
FLOOR = 0.25
#: Steps below this share of the largest are none that people would name, however much they stand out from the rest.
WORTH_NAMING = 0.2

#: Distances of networks that learnt nothing, as `find_groups` takes them.
ReferenceLike = GWMatrix | ArrayLike | Sequence[GWMatrix | ArrayLike]


@dataclass(frozen=True)
class Reference:
    """Steps from each layer to the next in networks that learnt nothing, or in the same network at the start.

    Attributes:
        adjacent: ``(R, L − 1)`` distances from each layer to the next in each of ``R`` networks; NaN beside a layer
            that is degenerate there.
        first: ``(L, L)`` distances of the first of them, where all are known: with them steps across layers that are
            left out can be judged too.
        itself: Whether it is the very look that is held against it: then nothing stands out on other inputs either.
    """

    adjacent: FloatArray
    first: FloatArray | None = None
    itself: bool = False

    @classmethod
    def of(cls, given: ReferenceLike | Reference, matrix: GWMatrix | ArrayLike, layers: int) -> Reference:
        """Read whatever `find_groups` was given.

        Args:
            given: A matrix, an ``(L, L)`` array of distances, several of them, or a `Reference`.
            matrix: What is to be judged, which has to be of the same layers and the same geometry.
            layers: Number of its layers ``L``.

        Raises:
            ValueError: If a reference is of other layers, another geometry or anchor, or no matrix of distances.
        """
        if isinstance(given, Reference):
            if given.adjacent.ndim != 2 or given.adjacent.shape[1] != max(layers - 1, 0):
                raise ValueError(
                    f"The reference holds steps of shape {given.adjacent.shape}, where {layers} layers ask for "
                    f"(networks, {layers - 1}). Make it of the same layers."
                )
            return given
        alone = isinstance(given, GWMatrix) or (not _holds_matrices(given) and np.ndim(cast("ArrayLike", given)) == 2)
        several = [cast("GWMatrix | ArrayLike", given)] if alone else list(cast("Sequence[ArrayLike]", given))
        if not several:
            raise ValueError("The reference is empty; pass at least one matrix, or reference=None for none.")
        matrices = [_distances(one, matrix, layers, number) for number, one in enumerate(several, start=1)]
        return cls(np.stack([distances.diagonal(1) for distances in matrices]), matrices[0])

    def among(self, usable: NDArray[np.intp]) -> Reference:
        """What it says of some layers alone: steps from each to the next of them.

        Where layers lie between the two, networks of which neighbours alone are known have none.

        Args:
            usable: ``(U,)`` indices of the layers.
        """
        steps = np.where(np.diff(usable) == 1, self.adjacent[:, usable[:-1]], np.nan)
        if self.first is not None:
            steps[0] = self.first[usable[:-1], usable[1:]]
        return Reference(steps)

    def within(self, part: slice) -> Reference:
        """What it says of layers in a row."""
        first = None if self.first is None else self.first[part, part]
        return Reference(self.adjacent[:, part.start : part.stop - 1], first)

    @property
    def networks(self) -> int:
        """Number of networks, R."""
        return len(self.adjacent)

    @property
    def steps(self) -> FloatArray:
        """``(L − 1,)`` root mean square over the networks; NaN beside a layer that is degenerate in all of them."""
        squares = np.ma.masked_invalid(self.adjacent**2)
        return np.asarray(np.ma.sqrt(squares.mean(axis=0)).filled(np.nan), dtype=np.float64)

    def missing(self) -> tuple[int, ...]:
        """Gaps that cannot be judged against it: each ``k`` whose step from layer ``k`` to the next is missing."""
        return tuple(int(k) for k in np.flatnonzero(np.isnan(self.steps)))

    def excess(self, adjacent: FloatArray) -> FloatArray:
        """How many times the reference's each step is: ``√((d² + f²) / (r² + f²))``.

        ``r`` is the reference's step and ``f`` a quarter of its largest one, below which a distance is next to nothing
        (or a twentieth of the largest ``d``, where that is more). A gap that the reference lacks is held against the
        root mean square of the others.

        Args:
            adjacent: ``(…, L − 1)`` distances ``d`` from each layer to the next; NaN stays NaN.

        Returns:
            ``(…, L − 1)`` pure numbers, finite and above zero wherever `adjacent` is finite.
        """
        steps = self.steps
        known = steps[~np.isnan(steps)]
        filled = np.where(np.isnan(steps), np.sqrt(np.mean(known**2)) if len(known) else 0.0, steps)
        largest = np.where(np.isfinite(adjacent), adjacent, 0.0).max(axis=-1, keepdims=True, initial=0.0)
        floor = np.maximum(max(FLOOR * filled.max(initial=0.0), np.finfo(float).tiny), OWN_FLOOR * largest)
        return np.asarray(np.sqrt((adjacent**2 + floor**2) / (filled**2 + floor**2)))

    def built_in(self, weak: float, weak_end: float) -> tuple[int, ...]:
        """Boundaries that the architecture has by itself: each ``k`` after whose layer its own steps stand out.

        Proposed are the local maxima of the reference's steps; those are kept that stand out from the rest (see
        `partition.contrasts`).

        Args:
            weak: Least contrast of such a boundary.
            weak_end: The same where it cuts off a single layer at either end.
        """
        steps = self.steps
        usable = np.flatnonzero(~np.isnan(steps))
        inner = steps[usable]
        padded = np.concatenate([[-np.inf], inner, [-np.inf]])
        named = (inner > 0) & (inner >= WORTH_NAMING * inner.max(initial=0.0))
        peaks = named & (inner >= padded[:-2]) & (inner >= padded[2:])
        labels = np.concatenate([[0], np.cumsum(peaks)]).tolist()
        found, _ = prune_boundaries(labels, inner, weak, weak_end)
        return tuple(int(usable[k]) for k in boundaries_of(found))


def _holds_matrices(given: object) -> bool:
    return isinstance(given, Sequence) and any(isinstance(one, GWMatrix) for one in given)


def _distances(one: GWMatrix | ArrayLike, matrix: GWMatrix | ArrayLike, layers: int, number: int) -> FloatArray:
    if isinstance(one, GWMatrix):
        if isinstance(matrix, GWMatrix):
            _check_alike(one, matrix, number)
        one = one.distance
    distances = check_distances(one)
    if len(distances) != layers:
        raise ValueError(
            f"Reference {number} is of {len(distances)} layers, the matrix of {layers}. Make it of the same layers."
        )
    return distances


def _check_alike(one: GWMatrix, matrix: GWMatrix, number: int) -> None:
    if one.layers != matrix.layers:
        differ = next((pair for pair in zip(one.layers, matrix.layers, strict=False) if pair[0] != pair[1]), None)
        detail = f", beginning with {differ[0]!r} for {differ[1]!r}" if differ else ""
        raise ValueError(
            f"Reference {number} is of other layers than the matrix ({len(one.layers)} and {len(matrix.layers)}"
            f"{detail}). Make it of the same layers, in the same order."
        )
    for what in ("geometry", "anchor"):
        theirs, ours = getattr(one, what), getattr(matrix, what)
        if theirs != ours:
            raise ValueError(
                f"Reference {number} was made with {what}={theirs!r}, the matrix with {what}={ours!r}; distances of "
                f"two kinds cannot be held against each other. Make both with the same {what}."
            )
