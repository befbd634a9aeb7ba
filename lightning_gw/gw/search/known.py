"""Which spaces are compared with which, and what an earlier matrix tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lightning_gw.geometry.spaces import Spaces
from lightning_gw.gw.drift import Drift
from lightning_gw.gw.search.starts import identity_start

if TYPE_CHECKING:
    from lightning_gw.gw.result import GWMatrix


@dataclass(frozen=True)
class Pairs:
    """Which spaces are compared with which.

    Attributes:
        matrices: ``(S, n, n)`` float64 spaces.
        first: ``(P,)`` index of the first space of each pair.
        second: ``(P,)`` index of the second.
        names: Layer names of each pair, ``P`` of them.
        layers: Name of each space, where they are of one set of layers.
    """

    matrices: Tensor
    first: Tensor
    second: Tensor
    names: tuple[tuple[str, str], ...]
    layers: tuple[str, ...] | None = None

    @staticmethod
    def of(rows: Spaces, columns: Spaces | None) -> Pairs:
        """All pairs within one set of layers, or, row by row, between two."""
        count, device = len(rows.layers), rows.matrices.device
        if columns is None:
            first, second = torch.triu_indices(count, count, 1, device=device)
            matrices, names = rows.matrices, rows.layers
        else:
            index = torch.arange(count + len(columns.layers), device=device)
            first, second = torch.cartesian_prod(index[:count], index[count:]).reshape(-1, 2).unbind(dim=1)
            matrices = torch.cat([rows.matrices, columns.matrices])
            names = rows.layers + columns.layers
        named = zip(first.tolist(), second.tolist(), strict=True)
        of_one_set = rows.layers if columns is None else None
        return Pairs(matrices, first, second, tuple((names[i], names[j]) for i, j in named), of_one_set)


@dataclass(frozen=True)
class Known:
    """What is known of ``P`` pairs from an earlier time.

    Attributes:
        permutations: ``(P, n)`` int64; identities of pairs that were not there.
        there: ``(P,)`` bool, whether they were.
        same: ``(P,)`` bool, whether both their layers are what they were, to the bit: all of this holds still.
        converged: ``(P,)`` bool, whether the permutations are local optima.
        lower: ``(P,)`` float64 certified lower bounds; 0 where there is none.
    """

    permutations: Tensor
    there: Tensor
    same: Tensor
    converged: Tensor
    lower: Tensor

    @staticmethod
    def of(warm_start: GWMatrix | None, pairs: Pairs, drift: Drift | None, anchor: float) -> Known:
        """From an earlier matrix of the same layers on the same inputs, if there is one."""
        n, device = pairs.matrices.shape[-1], pairs.matrices.device
        permutations = identity_start(len(pairs.names), n, device)
        there, same, converged = torch.zeros(3, len(pairs.names), dtype=torch.bool, device=device)
        lower = torch.zeros(len(pairs.names), dtype=torch.float64, device=device)
        if warm_start is None:
            return Known(permutations, there, same, converged, lower)
        rows = {name: k for k, name in enumerate(warm_start.layers) if name not in warm_start.degenerate}
        left_out = warm_start.degenerate if warm_start.other_layers is None else warm_start.other_degenerate
        columns = {name: k for k, name in enumerate(warm_start.columns) if name not in left_out}
        for pair, (row, column) in enumerate(pairs.names):
            if row in rows and column in columns:
                i, j = rows[row], columns[column]
                permutations[pair] = torch.from_numpy(warm_start.couplings[i, j]).to(device)
                there[pair], converged[pair] = True, bool(warm_start.converged[i, j])
                lower[pair] = float(np.nan_to_num(warm_start.lower[i, j]))
        if drift is not None and warm_start.anchor == anchor:
            still = torch.from_numpy(drift.still).to(device)
            same = there & still[pairs.first] & still[pairs.second]
        return Known(permutations, there, same, converged, torch.where(same, lower, 0.0))
