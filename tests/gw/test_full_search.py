"""Warm starts do not drift: now and then everything is searched in full."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gw.gw import GWMatrix, gw_matrix
from lightning_gw.gw.search.pairs import FULL_SEARCH_EVERY


def layers(shift: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    points, drift = torch.randn(40, 6, generator=generator), torch.randn(4, 40, 6, generator=generator)
    return {str(k): points + (0.3 + shift) * drift[: k + 1].sum(dim=0) for k in range(4)}


def test_every_so_many_looks_a_warm_start_is_searched_in_full_and_says_so() -> None:
    look: GWMatrix | None = None
    counted = []
    for step in range(2 * FULL_SEARCH_EVERY + 1):
        look = gw_matrix(layers(0.01 * step), warm_start=look)
        counted.append(look.warm_looks)
    assert counted == [*range(FULL_SEARCH_EVERY), *range(FULL_SEARCH_EVERY), 0]


def test_a_full_search_from_a_warm_start_is_never_worse_than_the_matching_it_came_with() -> None:
    look = gw_matrix(layers(0.0), effort="high")
    for _ in range(FULL_SEARCH_EVERY):
        again = gw_matrix(layers(0.0), effort="fast", warm_start=look)
        assert (again.distortion <= look.distortion + 1e-12).all()
        look = again
    assert look.warm_looks == 0
