"""The two matrices of one look, from spaces made once: the plain one, and the anchored one that begins with it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lightning_gw.geometry.geometries import Geometry
from lightning_gw.geometry.spaces import Spaces, make_spaces
from lightning_gw.geometry.validation import MINIMUM_INPUTS, check_representations
from lightning_gw.gw.matrix import assemble, check_sides
from lightning_gw.gw.moves.shared import same_call, same_spaces
from lightning_gw.gw.precision import full_precision, single_threaded
from lightning_gw.gw.result import GWMatrix
from lightning_gw.gw.search.effort import Effort
from lightning_gw.gw.search.known import Pairs
from lightning_gw.gw.search.pairs import SMALL, anchor_pairs, solve_pairs
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.random_state import usual_defaults

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class LayerMatrices:
    """What is asked of the layers of one look.

    Attributes:
        layers: Names of all ``L`` layers, degenerate ones too.
        spaces: Their spaces.
        effort: See `gw_matrix`, likewise `seed`.
        ranks: Processes that share the pairs.
    """

    layers: tuple[str, ...]
    spaces: Spaces
    effort: Effort
    seed: int
    ranks: Ranks

    @staticmethod
    def of(
        representations: Mapping[str, Tensor],
        geometry: Geometry,
        effort: Effort,
        seed: int,
        process_group: ProcessGroup | Literal["world"] | None = None,
    ) -> LayerMatrices:
        """Make the spaces of ``(n, d)`` representations; see `gw_matrix` for arguments and errors."""
        ranks = Ranks(process_group)
        with ranks.failing_together(), usual_defaults(), full_precision(), single_threaded(), torch.no_grad():
            rows = check_representations(representations, MINIMUM_INPUTS, geometry)
            check_sides(rows, None, effort, None, None, 0.0)
            same_call(ranks, rows, None, None, {"geometry": geometry.name, "effort": effort, "seed": seed})
            return LayerMatrices(tuple(rows), same_spaces(ranks, make_spaces(rows, geometry)), effort, seed, ranks)

    def plain(self, before: GWMatrix | None, bounds: Literal["fast"] | None = "fast") -> GWMatrix:
        """The matrix that `gw_matrix` gives.

        Args:
            before: Matrix of the same layers and inputs at an earlier time, or None.
            bounds: See `gw_matrix`.
        """
        return self._solved(0.0, self.effort, before, None, bounds)

    def anchored(self, anchor: float, plain: GWMatrix | None, before: GWMatrix | None) -> GWMatrix:
        """The matrix with an anchor, without bounds; from the plain one at a small part of the time of a search.

        The anchor draws every pair towards its identity, and what keeps it away is what the plain search found. So a
        pair descends from both and from an earlier anchored matching, and then a few noisy assignments are made; where
        its layers hardly moved since, it descends from the best of these alone. Few inputs, and high effort, are
        searched as by `gw_matrix`.

        Args:
            anchor: ``λ``, above 0.
            plain: The matrix of these layers without anchor, or None where it is not known: all is searched then.
            before: Anchored matrix at an earlier time, or None.
        """
        # Groups need no last percent: what is left to gain is far below the contrast of a boundary.
        effort: Effort = "fast" if self.effort == "default" else self.effort
        searched = plain is None or effort == "high" or self.spaces.matrices.shape[-1] <= SMALL
        return self._solved(anchor, effort, before, None if searched else plain, None)

    def _solved(
        self,
        anchor: float,
        effort: Effort,
        before: GWMatrix | None,
        plain: GWMatrix | None,
        bounds: Literal["fast"] | None,
    ) -> GWMatrix:
        started = time.perf_counter()
        with self.ranks.failing_together(), usual_defaults():
            with full_precision(), single_threaded() as threads, torch.no_grad():
                pairs = Pairs.of(self.spaces, None)
                if plain is None:
                    solution = solve_pairs(pairs, effort, before, bounds, self.seed, None, anchor, threads, self.ranks)
                else:
                    solution = anchor_pairs(pairs, plain, before, self.seed, anchor, threads, self.ranks)
            seconds = time.perf_counter() - started
            found = pairs, solution
            return self.ranks.first(assemble(self.layers, None, self.spaces, None, found, anchor, seconds))
