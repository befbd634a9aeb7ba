"""GromovWassersteinMatrix on two processes: what they gather is compared as one process would, or refused on both."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from metric_on_ranks import assert_same, inputs, on_a_rank, rows
from ranks_at_work import run_ranks

from lightning_gw import gw_matrix


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_ranks(2, on_a_rank, tmp_path_factory.mktemp("metric-ranks"))


@pytest.mark.slow
def test_two_processes_find_what_one_finds_on_all_inputs(ranks: list[dict[str, Any]]) -> None:
    twice = {name: torch.cat([x, x[20:]]) for name, x in inputs().items()}
    halves = {name: x.half() for name, x in inputs().items()}
    doubles = {name: x.double() for name, x in inputs().items()}
    for rank, found in enumerate(ranks):
        assert_same(found["forward"], gw_matrix(rows(inputs(), 6 + 14 * rank, 14 + 10 * rank)))
        assert_same(found["gathered"], gw_matrix(inputs()))
        assert_same(found["again"], gw_matrix(twice))
        assert_same(found["half"], gw_matrix(halves, effort="fast"))
        assert_same(found["limited"], gw_matrix(rows(inputs(), 0, 16), effort="fast"))
        assert_same(found["one rank has none"], gw_matrix(doubles, effort="fast"))
        assert_same(found["on step"], gw_matrix(inputs(), effort="fast"))
        assert (found["seen"], found["not kept"]) == (14, 2 * rank)


@pytest.mark.slow
def test_gathered_states_can_be_compared_by_one_rank_alone(ranks: list[dict[str, Any]]) -> None:
    assert_same(ranks[0]["one rank computes"], gw_matrix(inputs()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no inputs", "no inputs to compare"),
        ("width", r"rank 1 has 'head' as torch.float32 of width 1, another rank as torch.float32 of width 2"),
        ("type", r"rank 1 has 'head' as torch.float64 of width 2, another rank as torch.float32 of width 2"),
        ("names", r"rank 1 has layers \('a\.0', 'a\.1'\), rank 0 has \('a\.0', 'a\.1', 'head'\)"),
    ],
)
def test_ranks_that_gathered_unlike_things_are_told(name: str, said: str, ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        with pytest.raises(ValueError, match=said):
            raise found[name]
