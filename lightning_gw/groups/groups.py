"""Groups of layers: where the depth of a network falls into blocks of alike representations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_gw.groups.partition import (
    FloatArray,
    best_contiguous,
    best_hierarchical,
    boundaries_of,
    check_distances,
    prune_boundaries,
)
from lightning_gw.groups.reference import Reference, ReferenceLike
from lightning_gw.groups.roughness import roughness
from lightning_gw.gw.result import GWMatrix
from lightning_gw.utilities.shown import Shown

if TYPE_CHECKING:
    from lightning_gw.groups.choice import Choice

Method = Literal["contiguous", "hierarchical"]
Strength = Literal["none", "weak", "strong"]

#: Exponent on the squared distances in the modularity cost; 2 emphasises strong contrasts, 1.5 follows weaker ones.
DEFAULT_GAMMA = 2.0
#: From this contrast on a boundary is kept, …
WEAK_CONTRAST = 1.3
#: … and from this one where it cuts off a single layer at either end, where networks take larger steps anyway.
WEAK_END_CONTRAST = 1.7
#: Groups whose weakest boundary has this contrast are "strong".
STRONG_CONTRAST = 1.8
#: A boundary that returns in fewer probe resamples than this is no strong one.
STABLE = 0.5


@dataclass(frozen=True)
class Groups(Shown):
    """Groups of layers, how strongly they stand out, and how sure one can be.

    Attributes:
        labels: One group index per layer, numbered from 0 in the order in which groups begin; −1 for a degenerate
            layer, which is in no group.
        boundaries: Each ``k`` such that the ``k``-th layer (0-based) and the next are of different groups.
        adjacent: ``(L − 1,)`` distance from each layer to the next; NaN beside a degenerate layer.
        strength: ``"none"`` (the layers drift smoothly or cannot be told apart), ``"weak"`` or ``"strong"``.
        contrast: How many times the trend of those inside groups the step at the weakest boundary is, tempered where
            that trend is uncertain (see `partition.contrasts`); that of the boundary that was taken back last, when
            none is left; NaN where nothing was proposed. Steps are `excess` where there is a reference, else
            `adjacent`.
        roughness: Standard deviation of the residuals of log adjacent distance about a quadratic in depth;
            NaN with fewer than 4 usable neighbours.
        proposed: Boundaries the detector proposed before `strength` was judged.
        p_value: p-value of `roughness` against a null, or None where none was computed.
        stability: Per boundary, the share of probe resamples in which it returned, or None where none were drawn.
        support: ``(L − 1,)`` share of probe resamples in which a boundary stood after each layer, or None where none
            were drawn; `stability` is this at the boundaries.
        noise: ``(L − 1,)`` standard deviation of the logarithm of each adjacent distance over probe resamples, or None
            where none were drawn.
        reference: Number of networks that learnt nothing which the steps were held against; 0 where there were none,
            and what the architecture does by itself could not be told from what training made of it.
        excess: ``(L − 1,)`` how many times the reference's each step is (see `Reference.excess`), or None without one.
        built_in: Boundaries that the architecture has by itself, judged from the reference alone.
        unreferenced: Gaps that the reference lacks, because a layer is degenerate in it: judged without.
        p_values: Per boundary, the chance that a network which learnt nothing has a step as far beyond its kind at any
            gap, or None where it was not tested.

    Example:
        >>> import numpy as np
        >>> from lightning_gw import find_groups
        >>> depth = np.array([0, 1, 2, 7, 8, 9])  # six layers, a wide step after the third
        >>> groups = find_groups(abs(np.subtract.outer(depth, depth)))
        >>> groups.count, groups.members()
        (2, ((0, 1, 2), (3, 4, 5)))
        >>> groups.ranges()  # as people count layers, from 1
        '1–3 | 4–6'
    """

    labels: tuple[int, ...]
    boundaries: tuple[int, ...]
    adjacent: FloatArray
    strength: Strength
    contrast: float
    roughness: float
    proposed: tuple[int, ...] = ()
    p_value: float | None = None
    stability: tuple[float, ...] | None = None
    support: FloatArray | None = None
    noise: FloatArray | None = None
    reference: int = 0
    excess: FloatArray | None = None
    built_in: tuple[int, ...] = ()
    unreferenced: tuple[int, ...] = ()
    p_values: tuple[float, ...] | None = None

    @property
    def count(self) -> int:
        """Number of groups; 1 when no boundary stands."""
        return max(max(self.labels, default=0), 0) + 1

    def members(self) -> tuple[tuple[int, ...], ...]:
        """Layer indices of every group, in depth order."""
        used = sorted({label for label in self.labels if label >= 0})
        return tuple(tuple(i for i, label in enumerate(self.labels) if label == group) for group in used)

    def ranges(self, names: Sequence[str] = ()) -> str:
        """The groups as 1-based layer ranges, such as ``1–2 | 3–6 | 7–9``, with the layers' names where given."""
        left_out = [i for i, label in enumerate(self.labels) if label < 0]
        return " | ".join(layer_ranges(group, left_out, names) for group in self.members())

    def choose(
        self, layers: Sequence[str], which: str | int = "last", growth: FloatArray | None = None, anyway: bool = False
    ) -> Choice:
        """One of the groups, to be acted on or exported to other tools; see `choice.choose_group`.

        Example:
            >>> import numpy as np
            >>> depth = np.array([0, 1, 2, 7, 8, 9])
            >>> groups = find_groups(abs(np.subtract.outer(depth, depth)))
            >>> names = [f"model.layers.{k}" for k in range(6)]
            >>> groups.choose(names, "last", anyway=True).export("peft")
            {'layers_to_transform': [3, 4, 5], 'layers_pattern': 'layers'}
        """
        from lightning_gw.groups.choice import choose_group

        return choose_group(self, layers, which, growth, anyway)

    def __repr__(self) -> str:
        found = "none" if self.strength == "none" else f"{self.ranges()}, {self.strength}"
        p_value = "" if self.p_value is None else f", p = {self.p_value:.2g}"
        return f"Groups({len(self.labels)} layers: {found}{p_value})"

    def sentence(self) -> str:
        """What was found and how far it goes, in words; layers counted from 1."""
        if self.strength == "none":
            beyond = " beyond what the reference has" if self.reference else ""
            return f"No groups: no boundary stands out{beyond}."
        doubt = ""
        if not self.reference:
            doubt = ", since without a reference the architecture may have these steps by itself"
        elif lacking := sorted(set(self.unreferenced) & set(self.boundaries)):
            doubt = f", since the reference lacks the step after layer {lacking[0] + 1}"
        return f"{self.count} groups, {self.ranges()}: {self.strength}{doubt}."


def find_groups(
    matrix: GWMatrix | ArrayLike,
    reference: ReferenceLike | Reference | None = None,
    gamma: float = DEFAULT_GAMMA,
    weak: float = WEAK_CONTRAST,
    strong: float = STRONG_CONTRAST,
    method: Method = "contiguous",
    count: int | None = None,
    weak_end: float = WEAK_END_CONTRAST,
) -> Groups:
    """Groups of layers, their number not given.

    Among all ways to cut the depth into blocks, the one is proposed that maximises the modularity
    ``Σ_b 1/|b| Σ_{i<j in b} (mean(D^γ) − D^γ_ij)`` with ``D`` the squared distances (``2 (1 − similarity)``), found
    exactly by dynamic programming. Since every matrix has such a best cut, also one of pure drift, proposed boundaries
    whose step does not stand out from the trend of those inside groups (see `partition.contrasts`) are taken back one
    by one, the least contrasted first. What remains is as strong as its weakest boundary, and never "strong" if all it
    does is to cut off a single layer at an end, as entry and readout do in any network. The same matrix always gives
    the same
    groups: of equally good cuts the one with longer first blocks is taken.

    Widths that change, strides and blocks that begin as the identity are steps of the architecture, which an untrained
    network has as well. What counts as a step is therefore how far a distance goes beyond the same distance in a
    reference (see `Reference.excess`). Without one the plain distances are taken, and no groups are "strong".

    Args:
        matrix: A `GWMatrix`, whose `distance` is read, or a symmetric ``(L, L)`` array of distances. A layer whose
            distances are all NaN is left out and gets the label −1.
        reference: The same layers in networks that learnt nothing, or in the same network at the start: a `GWMatrix`,
            an ``(L, L)`` array of distances, or a sequence of them. It is to be measured as `matrix` was.
        gamma: Exponent ``γ`` on the squared distances.
        weak: Least contrast of a boundary that is kept.
        strong: Least contrast of the weakest boundary for strength "strong".
        method: ``"contiguous"``, or ``"hierarchical"``: groups need not be contiguous, so that layers far apart in
            depth may be of one; cut from the tree of average linkage (SciPy) where the same modularity is highest.
        count: Number of groups, where it is known; then all of them are kept, however little they stand out, and
            `strength` says how much they do.
        weak_end: Least contrast of a boundary that is kept though it cuts off a single layer at either end.

    Returns:
        Groups.

    Raises:
        ValueError: If the array is not square and symmetric, has negative entries, or misses single entries; if the
            matrix is one between two sets of layers; if the reference is of other layers, another geometry or anchor;
            if the method is unknown; or if `count` is below 1 or above the number of usable layers.

    Example:
        >>> import numpy as np
        >>> from lightning_gw import find_groups
        >>> def distances(*depth):
        ...     return abs(np.subtract.outer(depth, depth))
        >>> trained = distances(0, 1, 2, 7, 8, 9)  # six layers, a wide step after the third
        >>> untrained = distances(0, 1, 2, 3, 4, 5)
        >>> groups = find_groups(trained, reference=untrained)
        >>> groups.labels, groups.boundaries, groups.strength
        ((0, 0, 0, 1, 1, 1), (2,), 'strong')
        >>> find_groups(trained).strength  # the architecture may have this step by itself
        'weak'
        >>> find_groups(trained, reference=trained).strength  # and here it has
        'none'
    """
    if method not in get_args(Method):
        raise ValueError(f"Unknown method {method!r}. Known: {', '.join(get_args(Method))}.")
    if isinstance(matrix, GWMatrix) and matrix.other_layers is not None:
        raise ValueError(
            f"This matrix is between two sets of layers, {matrix.layers[0]!r}, … ({len(matrix.layers)}) and "
            f"{matrix.other_layers[0]!r}, … ({len(matrix.other_layers)}), and groups are of one set in its own depth "
            "order. Make each set's own matrix for them: find_groups(gw_matrix(representations))."
        )
    distances = check_distances(matrix.distance if isinstance(matrix, GWMatrix) else matrix)
    layers = len(distances)
    usable = np.flatnonzero(~np.isnan(np.where(np.eye(layers, dtype=bool), np.nan, distances)).all(axis=1))
    if layers == 1:
        usable = np.arange(1)
    if count is not None and not 1 <= count <= max(len(usable), 1):
        raise ValueError(
            f"count={count} groups cannot be made of {len(usable)} usable layers: expected 1 or more of each."
        )
    adjacent = distances[np.arange(layers - 1), np.arange(1, layers)].copy()
    inner = distances[np.ix_(usable, usable)]
    steps = inner[np.arange(max(len(usable) - 1, 0)), np.arange(1, len(usable))] if len(usable) else np.empty(0)

    held = None if reference is None else Reference.of(reference, matrix, usable, layers)
    beyond = steps if held is None else held.excess(steps)
    proposed = _propose(inner ** (2 * gamma), method, count)
    found, contrast = prune_boundaries(proposed, beyond, *((weak, weak_end) if count is None else (0.0, 0.0)))
    boundaries = boundaries_of(found)
    weakest = float(contrast.min()) if len(contrast) else float("nan")
    unreferenced = () if held is None else held.missing()
    sure = held is not None and not set(boundaries) & set(unreferenced)
    amid = any(0 < k < len(usable) - 2 for k in boundaries)
    strength: Strength = "none"
    if boundaries and weakest >= weak:
        strength = "strong" if sure and weakest >= strong and amid else "weak"
    labels = np.full(layers, -1)
    labels[usable] = found
    return Groups(
        labels=tuple(labels.tolist()),
        boundaries=tuple(int(usable[k]) for k in boundaries),
        adjacent=adjacent,
        strength=strength,
        contrast=weakest,
        roughness=roughness(steps),
        proposed=tuple(int(usable[k]) for k in boundaries_of(proposed)),
        **({} if held is None else _beyond(held, beyond, usable, layers, weak, weak_end)),
    )


def _beyond(
    held: Reference, excess: FloatArray, usable: NDArray[np.intp], layers: int, weak: float, weak_end: float
) -> dict[str, Any]:
    """What `Groups` says of its reference."""
    whole = np.full(max(layers - 1, 0), np.nan)
    whole[usable[:-1]] = np.where(np.diff(usable) == 1, excess, np.nan)
    return {
        "reference": held.networks,
        "excess": whole,
        "built_in": tuple(int(usable[k]) for k in held.built_in(weak, weak_end)),
        "unreferenced": tuple(int(usable[k]) for k in held.missing()),
    }


def find_boundaries(distances: FloatArray, reference: Reference | None = None) -> tuple[int, ...]:
    """The boundaries of `find_groups` with its defaults, without anything else: for many matrices in a row.

    Args:
        distances: ``(L, L)`` symmetric distances; rows that are NaN throughout, but for the diagonal, are left out.
        reference: What the steps are held against.
    """
    usable = np.flatnonzero(~np.isnan(distances).all(axis=1) & (np.isnan(distances).sum(axis=1) < len(distances) - 1))
    if len(usable) < 2:
        return ()
    inner = distances[np.ix_(usable, usable)]
    proposed = _propose(inner ** (2 * DEFAULT_GAMMA), "contiguous", None)
    steps = inner.diagonal(1)
    if reference is not None:
        steps = Reference.of(reference, distances, usable, len(distances)).excess(steps)
    found, _ = prune_boundaries(proposed, steps, WEAK_CONTRAST, WEAK_END_CONTRAST)
    return tuple(int(usable[k]) for k in boundaries_of(found))


def _propose(costs: FloatArray, method: Method, count: int | None) -> list[int]:
    """Group of each layer by the best partition of that kind."""
    if method == "hierarchical":
        return best_hierarchical(costs, count)
    labels = np.zeros(len(costs), dtype=np.int64)
    labels[np.array(best_contiguous(costs, count), dtype=np.int64) + 1] = 1
    return np.cumsum(labels).tolist()


def layer_ranges(layers: Iterable[int], left_out: Sequence[int] = (), names: Sequence[str] = ()) -> str:
    """0-based layer indices as 1-based ranges: ``(0, 1, 2, 6)`` is ``1–3, 7``, or ``1–3 (a to c), 7 (head)``.

    Args:
        layers: The indices.
        left_out: Layers that are in no group; a range goes on across them.
        names: What to call each layer of the network beside its number; numbers alone where there are none.
    """
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and all(between in left_out for between in range(runs[-1][-1] + 1, layer)):
            runs[-1].append(layer)
        else:
            runs.append([layer])
    told = []
    for run in runs:
        first, last = run[0], run[-1]
        span = f"{first + 1}" if first == last else f"{first + 1}–{last + 1}"
        if names:
            span += f" ({names[first]})" if first == last else f" ({names[first]} to {names[last]})"
        told.append(span)
    return ", ".join(told)
