"""Gromov-Wasserstein between layers or models that saw different inputs, freed of the bias of finite samples."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lightning_gw.geometry.geometries import Geometry, get_geometry
from lightning_gw.geometry.validation import MINIMUM_INPUTS, check_layer, find_defect
from lightning_gw.gw.matrix import gw_matrix
from lightning_gw.gw.search.effort import PLANS, Effort
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.progress import Progress, counted
from lightning_gw.utilities.random_state import usual_defaults

#: Fewer splits than this have no spread, and so no resolution.
MINIMUM_SPLITS = 2


@dataclass(frozen=True)
class UnpairedMatrix:
    """What layers that saw different inputs have in common, as far as their samples can tell.

    Two samples of the very same layer are never at distance 0: how far apart they are is `within`, which depends on the
    layer and on the size of the samples. It is taken off: ``debiased_ij = between_ij − (within_i + within_j) / 2``.

    Attributes:
        layers: Names of the rows, ``L`` of them, in depth order.
        geometry: Name of the geometry.
        between: ``(L, M)`` distortion between one half of the one layer's inputs and another half of the other's, mean
            over the splits; symmetric where rows and columns are the same layers, with `within` on the diagonal.
        within: ``(L,)`` distortion between two halves of the layer's own inputs, mean over the splits.
        debiased: ``(L, M)`` as above, 0 on the diagonal of a square matrix. It is noisy both ways, and negative values
            are kept as they are, so that means of it are not pushed up.
        spread: ``(L, M)`` standard deviation of one split's debiased value over the splits.
        half: Inputs in a half.
        splits: How many splits.
        degenerate: Layers left out, name to reason; their rows are NaN.
        other_layers: Names of the columns where they are another set of layers, else None.
        other_within: `within` of the columns, where they are another set.
        other_degenerate: Columns left out, where they are another set.
        unit_scale: Whether the spaces have root mean square 1, so that there is a `similarity`.
        seconds: Wall-clock seconds.

    Example:
        >>> import torch
        >>> from lightning_gw import unpaired_gw_matrix
        >>> x = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
        >>> found = unpaired_gw_matrix({"x": x, "the same layer, other inputs": torch.randn(24, 6)[:20]}, splits=2)
        >>> found
        UnpairedMatrix(2 layers, 2 splits into halves of 10, cka)
        >>> found.debiased.shape, found.debiased[0, 0].item(), found.resolution > 0
        ((2, 2), 0.0, True)
    """

    layers: tuple[str, ...]
    geometry: str
    between: FloatArray
    within: FloatArray
    debiased: FloatArray
    spread: FloatArray
    half: int
    splits: int
    degenerate: Mapping[str, str] = field(default_factory=dict)
    other_layers: tuple[str, ...] | None = None
    other_within: FloatArray | None = None
    other_degenerate: Mapping[str, str] = field(default_factory=dict)
    unit_scale: bool = True
    seconds: float = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns: `layers` of the square matrix, `other_layers` of a rectangle between two sets."""
        return self.layers if self.other_layers is None else self.other_layers

    @property
    def distance(self) -> FloatArray:
        """``(L, M)`` square root of `debiased`, which is clipped at 0 for it: lower is closer."""
        return np.asarray(np.sqrt(np.maximum(self.debiased, 0.0)))

    @property
    def resolution(self) -> float:
        """Debiased distortion below which nothing can be told from 0: the median `spread` over pairs of layers."""
        values = self.spread
        if self.other_layers is None:
            values = values[np.triu_indices(len(self.layers), 1)]
        values = values[~np.isnan(values)]
        return float(np.median(values)) if len(values) else float("nan")

    @property
    def resolved_distance(self) -> FloatArray:
        """``(L, M)`` square root of `debiased`, raised to `resolution` where it is below: made for `find_groups`.

        Layers closer than the splits can tell are then all equally close. Otherwise noise around 0 makes some of them
        seem many times as far apart as others, and groups are found in any network. The diagonal of a square matrix
        is 0.
        """
        resolved = np.asarray(np.sqrt(np.maximum(self.debiased, self.resolution)))
        if self.other_layers is None:
            np.fill_diagonal(resolved, np.where(np.isnan(self.within), np.nan, 0.0))
        return resolved

    @property
    def similarity(self) -> FloatArray:
        """``(L, M)`` ``1 − distance² / 2``: higher is closer, 1 where nothing can be told apart.

        Raises:
            ValueError: For geometries without unit scale.
        """
        if not self.unit_scale:
            raise ValueError(f"geometry {self.geometry!r} has no unit scale, so its distortions are no similarities.")
        return np.asarray(1.0 - np.maximum(self.debiased, 0.0) / 2.0)

    def __repr__(self) -> str:
        rows, columns = len(self.layers), len(self.columns)
        layers = f"{rows} layers" if self.other_layers is None else f"{rows} × {columns} layers"
        return f"UnpairedMatrix({layers}, {self.splits} splits into halves of {self.half}, {self.geometry})"


@usual_defaults()
def unpaired_gw_matrix(
    representations: Mapping[str, Tensor] | Sequence[Tensor],
    others: Mapping[str, Tensor] | Sequence[Tensor] | None = None,
    geometry: str | Geometry = "cka",
    splits: int = 8,
    effort: Effort = "fast",
    seed: int = 0,
    half: int | None = None,
    progress: Progress | Literal[False] | None = None,
) -> UnpairedMatrix:
    """Gromov-Wasserstein matrix that pairs no inputs: for layers or models that saw different ones.

    A pair of layers is compared by a half of the inputs of the one and a half of those of the other, which have no
    input in common, several times over with halves drawn anew; what two halves of one layer are apart is taken off
    (see `UnpairedMatrix`). Only Gromov-Wasserstein can do this: RSA, distance correlation, CKA, CCA and Procrustes all
    need both layers' rows to belong to the same inputs.

    The layers of one set may have been shown the same inputs or different ones, also in different numbers. Layers shown
    equally many are split alike, so that halves stay disjoint if the inputs were the same ones. All halves are equally
    large, because bias depends on size: half of the inputs of whichever layer has fewest.

    Args:
        representations: Layer name to ``(n, d)``, or a sequence of tensors; ``n`` and ``d`` may differ.
        others: Layers of another model, or of another checkpoint whose probe is lost: the result has a column for each.
        geometry: See `gw_matrix`. ``"cka"`` did best of those tried; see docs/unpaired.md.
        splits: How often halves are drawn, at least 2. They are drawn from the same inputs, so that more of them take
            off the chance of drawing, never that of the inputs.
        effort: See `gw_matrix`; what is left of the search's slack is as much in `within` and goes with it.
        seed: Seed of the splits and the search; the global generators are never touched.
        half: Inputs in a half, at most half of the inputs of whichever layer has fewest, which is the default.
        progress: Called with (splits done, splits in all); None and False as for `gw_matrix`.

    Returns:
        UnpairedMatrix, float64. Layers with NaN, infinite or constant values are named in its `degenerate`
        (`other_degenerate` for columns), and their rows are NaN; so are those of layers that cannot be told from a
        constant one in some half.

    Raises:
        ValueError: For no layers, a shape other than ``(n, d)``, too few inputs or splits, or too large a `half`.
        TypeError: For complex or boolean representations.

    Example:
        >>> import torch
        >>> from lightning_gw import unpaired_gw_matrix
        >>> x = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
        >>> others = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))  # other inputs, and more of them
        >>> found = unpaired_gw_matrix({"mine": x}, {"theirs": others, "their line": others[:, :1]}, splits=2)
        >>> found.similarity.shape, found.half
        ((1, 2), 12)
        >>> bool(found.similarity[0, 0] > found.similarity[0, 1])  # a line is arranged otherwise than a cloud
        True
    """
    started = time.perf_counter()
    kind = get_geometry(geometry)
    rows = _checked(representations, kind, "")
    columns = None if others is None else _checked(others, kind, " of others")
    everything = [*rows.values(), *(columns or {}).values()]
    fewest = min(len(x) for x in everything)
    half = fewest // 2 if half is None else half
    if not MINIMUM_INPUTS <= half <= fewest // 2:
        raise ValueError(
            f"Halves of {half} inputs cannot be compared: every layer needs two disjoint ones of at least "
            f"{MINIMUM_INPUTS}, and the layer with fewest was shown {fewest}. Show more inputs."
        )
    if splits < MINIMUM_SPLITS:
        raise ValueError(f"splits is {splits}; expected at least {MINIMUM_SPLITS}, whose spread tells what is noise.")
    if effort not in PLANS:
        raise ValueError(f"Unknown effort {effort!r}. Known: {', '.join(PLANS)}.")

    degenerate = {name: reason for name, x in rows.items() if (reason := find_defect(x)) is not None}
    other_degenerate = {name: reason for name, x in (columns or {}).items() if (reason := find_defect(x)) is not None}
    shape = (splits, len(rows), len(rows if columns is None else columns))
    between, own, other_own = np.empty(shape), np.empty(shape[:2]), np.empty((splits, shape[2]))
    generator = torch.Generator().manual_seed(seed)
    with counted("Splits", progress) as moved:
        for k in range(splits):
            halves = _halves(sorted({len(x) for x in everything}), half, generator)
            first, second = _take(rows, halves, 0), _take(rows if columns is None else columns, halves, 1)
            found = gw_matrix(first, second, geometry=kind, effort=effort, bounds=None, seed=seed, progress=False)
            between[k] = found.distortion
            degenerate = {**found.degenerate, **degenerate}
            if columns is None:
                own[k] = other_own[k] = np.diag(found.distortion)
                degenerate = {**found.other_degenerate, **degenerate}
            else:
                other_degenerate = {**found.other_degenerate, **other_degenerate}
                own[k] = _within(first, _take(rows, halves, 1), kind, effort, seed)
                other_own[k] = _within(_take(columns, halves, 0), second, kind, effort, seed)
            moved(k + 1, splits)
    # A layer is left out of all splits, also of those whose halves happen to miss what is wrong with it.
    own[:, [name in degenerate for name in rows]] = np.nan
    other_own[:, [name in (degenerate if columns is None else other_degenerate) for name in columns or rows]] = np.nan
    debiased = between - (own[:, :, None] + other_own[:, None, :]) / 2
    if columns is None:
        between, debiased = ((values + values.transpose(0, 2, 1)) / 2 for values in (between, debiased))
    return UnpairedMatrix(
        layers=tuple(rows),
        geometry=kind.name,
        between=np.where(np.isnan(debiased), np.nan, between).mean(axis=0),
        within=own.mean(axis=0),
        debiased=debiased.mean(axis=0),
        spread=debiased.std(axis=0, ddof=1),
        half=half,
        splits=splits,
        degenerate=degenerate,
        other_layers=None if columns is None else tuple(columns),
        other_within=None if columns is None else other_own.mean(axis=0),
        other_degenerate=other_degenerate,
        unit_scale=kind.unit_scale,
        seconds=time.perf_counter() - started,
    )


def _checked(
    representations: Mapping[str, Tensor] | Sequence[Tensor], geometry: Geometry, of: str
) -> dict[str, Tensor]:
    """Representations as a mapping of ``(n, d)`` tensors, in which ``n`` may differ."""
    if not isinstance(representations, Mapping):
        representations = {str(k): x for k, x in enumerate(representations)}
    if not representations:
        raise ValueError(f"No representations{of} were given; expected at least one layer name with its (n, d) tensor.")
    return {str(name): check_layer(f"Layer {str(name)!r}{of}", x, geometry) for name, x in representations.items()}


def _halves(sizes: Sequence[int], half: int, generator: torch.Generator) -> dict[int, tuple[Tensor, Tensor]]:
    """For every number of inputs two disjoint halves of them, ``(half,)`` indices each."""
    drawn = {n: torch.randperm(n, generator=generator) for n in sizes}
    return {n: (order[:half], order[half : 2 * half]) for n, order in drawn.items()}


def _take(layers: Mapping[str, Tensor], halves: Mapping[int, tuple[Tensor, Tensor]], which: int) -> dict[str, Tensor]:
    """One half of the inputs of every layer."""
    return {name: x[halves[len(x)][which].to(x.device)] for name, x in layers.items()}


def _within(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], geometry: Geometry, effort: Effort, seed: int
) -> list[float]:
    """Distortion between two halves of every layer, searched as `gw_matrix` searches a pair between two sets."""
    return [
        float(gw_matrix([first[name]], [second[name]], geometry, effort, None, None, seed, False).distortion[0, 0])
        for name in first
    ]
