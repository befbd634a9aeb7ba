"""Distances between neighbouring layers alone: all that a null needs of each network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_gw.geometry.geometries import Geometry, get_geometry
from lightning_gw.geometry.spaces import check_representations, make_spaces
from lightning_gw.gw.precision import full_precision, single_threaded
from lightning_gw.gw.search.effort import PLANS, Effort
from lightning_gw.gw.search.known import Pairs
from lightning_gw.gw.search.pairs import solve_pairs
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.distributed import Ranks


class Adjacent(NamedTuple):
    """Distances from each layer to the next.

    Attributes:
        matched: ``(L − 1,)`` Gromov-Wasserstein distances (with the anchor's part, where there is one).
        paired: ``(L − 1,)`` distances of the identity coupling.
    """

    matched: FloatArray
    paired: FloatArray


@dataclass(frozen=True)
class AdjacentSolver:
    """Solves the pairs of neighbouring layers and no others, from cold.

    Two networks are measured alike only by the same search: a whole matrix finds slightly better matchings, through
    third layers, from earlier looks and by more effort. Whatever is held against a null is therefore solved like this.

    Attributes:
        geometry: See `gw_matrix`, like all the others.
        effort: Work per pair.
        anchor: Weight of the share of inputs not matched to themselves.
        seed: Seed of the search.
    """

    geometry: str | Geometry = "standardized"
    effort: Effort = "fast"
    anchor: float = 0.0
    seed: int = 0
    _kind: Geometry = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_kind", get_geometry(self.geometry))
        if self.effort not in PLANS:
            raise ValueError(f"Unknown effort {self.effort!r}. Known: {', '.join(PLANS)}.")
        if not 0 <= self.anchor < float("inf"):
            raise ValueError(f"anchor is {self.anchor}; expected a finite number that is not negative.")

    def __call__(self, representations: Mapping[str, Tensor] | Sequence[Tensor]) -> Adjacent:
        """Adjacent distances of one network, layer name to ``(n, d)`` in depth order; NaN beside a degenerate layer."""
        layers = check_representations(representations, geometry=self._kind)
        with full_precision(), single_threaded() as threads, torch.no_grad():
            spaces = make_spaces(layers, self._kind)
            place = {name: k for k, name in enumerate(spaces.layers)}
            names = list(layers)
            usable = [k for k in range(len(names) - 1) if names[k] in place and names[k + 1] in place]
            device = spaces.matrices.device
            pairs = Pairs(
                matrices=spaces.matrices,
                first=torch.tensor([place[names[k]] for k in usable], dtype=torch.int64, device=device),
                second=torch.tensor([place[names[k + 1]] for k in usable], dtype=torch.int64, device=device),
                names=tuple((names[k], names[k + 1]) for k in usable),
            )
            matched, paired = np.full(len(names) - 1, np.nan), np.full(len(names) - 1, np.nan)
            if usable:
                found = solve_pairs(pairs, self.effort, None, None, self.seed, None, self.anchor, threads, Ranks(None))
                matched[usable] = found.distortion.sqrt().cpu().numpy()
                paired[usable] = found.identity.sqrt().cpu().numpy()
        return Adjacent(matched, paired)
