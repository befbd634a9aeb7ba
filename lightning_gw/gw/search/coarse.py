"""From all inputs to a few landmarks and back: the coarse scale of the search."""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_gw.gw.moves.batched_swaps import SearchMatrices
from lightning_gw.gw.search.starts import main_axis, reduced_costs

#: Inputs that the coarse solution is made on.
LANDMARKS = 128
#: From this many inputs on a coarse solution pays.
COARSE_FROM = 2 * LANDMARKS


def subset(search: SearchMatrices, chosen: Tensor) -> SearchMatrices:
    """Search matrices of some of the inputs, of which `chosen` are the ``(m,)`` indices."""
    found = SearchMatrices.of(search.whole()[:, chosen][:, :, chosen])
    return replace(found, scale=found.scale * search.scale)


def extend(search: SearchMatrices, chosen: Tensor, first: Tensor, second: Tensor, landmarks: Tensor) -> Tensor:
    """Permutations of all inputs that agree best with those of the landmarks: one linear assignment per pair.

    The cost of matching two inputs is the mean squared difference of their distances to the landmarks.

    Args:
        search: Of all ``n`` inputs.
        chosen: ``(m,)`` indices of the landmarks, the same in every layer.
        first: ``(P,)`` first layers.
        second: ``(P,)`` second layers.
        landmarks: ``(P, m)`` permutations of the landmarks.

    Returns:
        ``(P, n)`` permutations.
    """
    found = []
    for i, j, permutation in zip(first.tolist(), second.tolist(), landmarks, strict=True):
        rows = search.matrices[i][:, chosen].double()
        columns = search.matrices[j][:, chosen[permutation]].double()
        rows, columns = rows - rows.mean(dim=0), columns - columns.mean(dim=0)
        axis = main_axis(rows[None])
        cost = torch.cdist(rows, columns).square_().cpu().numpy()
        reduced = reduced_costs(cost, (rows @ axis).cpu().numpy(), (columns @ axis).cpu().numpy())
        found.append(torch.from_numpy(linear_sum_assignment(reduced)[1]))
    return torch.stack(found).to(first.device)
