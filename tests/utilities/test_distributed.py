"""Which processes work together, and what a process alone does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ranks_at_work import layers

from lightning_gw.gw import gw_matrix
from lightning_gw.utilities.distributed import Ranks


def test_the_world_is_this_process_where_there_are_no_others() -> None:
    assert not dist.is_initialized()
    one, alone = gw_matrix(layers(), process_group="world"), gw_matrix(layers())
    for name in ("distortion", "lower", "identity", "couplings", "converged", "variation"):
        np.testing.assert_array_equal(getattr(one, name), getattr(alone, name), err_msg=name)


@pytest.mark.parametrize("wrong", ["everyone", True, 3])
def test_anything_else_is_no_process_group(wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a torch ProcessGroup, 'world' or None"):
        Ranks(wrong)


def test_one_rank_alone_does_its_own_work() -> None:
    ranks = Ranks()
    first, second = torch.triu_indices(4, 4, 1)
    assert (ranks.rank, ranks.size) == (0, 1)
    assert torch.equal(ranks.pairs(torch.add, first, second), first + second)
    assert ranks.exchange("mine") == ["mine"]
