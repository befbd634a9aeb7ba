"""What a row is: items put together, graphs, packed sequences, what the user says, or what all layers share."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gw.activations.probe.rows import OWN, PLAIN, Rows, best_rule, guess_rows, regroup, row_rules
from lightning_gw.utilities.errors import ArgumentError

IMAGES = [torch.zeros(3, 6 + k, 5) for k in range(8)]


@dataclass
class Graphs:
    """As PyTorch Geometric's batches: three graphs of 2, 1 and 3 nodes."""

    x: Tensor
    edge_index: Tensor
    y: Tensor
    batch: Tensor | None
    ptr: Tensor | None


def graphs(batch: bool = True) -> Graphs:
    index = torch.tensor([0, 0, 1, 2, 2, 2])
    return Graphs(
        torch.zeros(6, 4),
        torch.zeros(2, 9, dtype=torch.long),
        torch.zeros(3),
        index if batch else None,
        torch.tensor([0, 2, 3, 6]),
    )


PACKED = {
    "input_ids": torch.zeros(1, 6, dtype=torch.long),
    "labels": torch.zeros(1, 6, dtype=torch.long),
    "position_ids": torch.tensor([[0, 1, 0, 0, 1, 2]]),
}


@pytest.mark.parametrize(
    ("batch", "items", "rule", "count"),
    [
        ((IMAGES, [{"boxes": torch.zeros(k, 4)} for k in range(8)]), 8, PLAIN, 8),
        (["a text"] * 5, 5, PLAIN, 5),
        ({"text": ["a"] * 5, "kind": "plain"}, None, PLAIN, 5),
        ((torch.ones(10), torch.zeros(6, 4), torch.zeros(6)), 6, PLAIN, 6),
        ((torch.zeros(6, 4), torch.zeros(6)), None, PLAIN, 6),
        (graphs(), 3, "graphs", 3),
        (graphs(batch=False), None, "graphs", 3),
        (({"graph": 0}, graphs()), 3, "graphs", 3),
        (PACKED, 3, "packed sequences", 3),
        ({"input_ids": torch.zeros(6), "cu_seqlens": torch.tensor([0, 2, 3, 6])}, None, "packed sequences", 3),
        ({"input_ids": torch.zeros(1, 6), "seq_idx": torch.tensor([[0, 0, 1, 2, 2, 2]])}, None, "packed sequences", 3),
        (SimpleNamespace(batch_num_nodes=lambda: torch.tensor([2, 1, 3])), 3, "graphs", 3),
    ],
)
def test_rows_are_known_from_the_batch_and_the_items_in_it(batch: Any, items: Any, rule: str, count: int) -> None:
    rules = row_rules(batch, items)
    assert [found.name for found in rules] == [rule, OWN]
    assert rules[0].of(batch, items).count == guess_rows(batch, items) == count


def test_a_batch_that_is_no_packed_one_is_not_taken_for_it() -> None:
    positions = {"input_ids": torch.zeros(1, 6), "position_ids": torch.arange(6)[None]}
    assert row_rules(positions, 1)[0].name == PLAIN
    several = {"input_ids": torch.zeros(2, 3), "position_ids": torch.arange(3)[None].repeat(2, 1)}
    assert row_rules(several, 2)[0].name == PLAIN


def test_where_batch_and_items_leave_it_open_the_layers_decide() -> None:
    weights_first = (torch.ones(10), torch.zeros(6, 4), torch.zeros(6))
    rules = row_rules(weights_first, None)
    assert [rule.name for rule in rules] == ["rows of [0]", "rows of [1]", OWN]
    assert best_rule(rules, weights_first, None, [(6, 4), (6, 10), (6,)]).name == "rows of [1]"
    assert best_rule(rules, weights_first, None, [(10, 6), (10, 4)]).name == "rows of [0]"
    assert best_rule(rules, weights_first, None, [(24, 4), (24, 4)]).name == OWN
    split = {"windows": torch.zeros(24, 4)}  # three windows of every item
    assert [rule.of(split, 8).count for rule in row_rules(split, 8)] == [24, None]


def test_what_the_user_says_counts_alone() -> None:
    batch = {"x": torch.zeros(12, 4), "y": torch.zeros(4), "images": IMAGES}
    for asked, count in (("y", 4), ("images", 8), (lambda batch: 3, 3), (lambda batch: batch["x"], 12)):
        (rule,) = row_rules(batch, 5, asked)
        assert rule.of(batch, 5) == Rows(count)
    index = torch.tensor([1, 0, 1])
    (rule,) = row_rules(batch, 5, lambda batch: index)
    assert rule.of(batch, 5).count == 2
    assert torch.equal(rule.of(batch, 5).index, index)
    assert row_rules((0, torch.zeros(7)), None, 1)[0].of((0, torch.zeros(7)), None).count == 7
    with pytest.raises(ArgumentError, match=r"rows='z' does not work on a probe batch: KeyError\('z'\)"):
        row_rules(batch, 5, "z")[0].of(batch, 5)
    with pytest.raises(ArgumentError, match="gives a float, which has no entries"):
        row_rules(batch, 5, lambda batch: 0.5)[0].of(batch, 5)


@pytest.mark.parametrize("shape", [(6, 4), (1, 6, 4), (6, 2, 2)])
def test_finer_rows_are_brought_together_whatever_their_order(shape: tuple[int, ...]) -> None:
    index = torch.tensor([2, 0, 1, 0, 2, 2])
    values = torch.randn(shape)
    padded, mask = regroup(values, Rows(3, index))
    flat = values.reshape(6, 4)
    assert padded.shape == (3, 3, 4)
    assert mask.sum(1).tolist() == [2, 1, 3]
    for row in range(3):
        torch.testing.assert_close(padded[row][mask[row]], flat[index == row])


def test_what_has_one_row_per_input_stays_as_it_is() -> None:
    pooled = torch.randn(3, 4)
    assert regroup(pooled, Rows(3, torch.tensor([2, 0, 1, 0, 2, 2])))[0] is pooled
    assert regroup(pooled, Rows(3))[1] is None
    assert regroup(pooled, Rows(3, torch.arange(3)))[1] is None


def test_edges_belong_to_the_graph_of_the_nodes_between_which_they_lead() -> None:
    batch = graphs()
    batch.edge_index = torch.tensor([[0, 1, 3, 4, 5], [1, 0, 4, 5, 3]])
    rows = row_rules(batch, 3)[0].of(batch, 3)
    messages, mask = regroup(torch.arange(5.0)[:, None], rows)
    assert mask is not None
    assert mask.tolist() == [[True, True, False], [False, False, False], [True, True, True]]
    assert messages[..., 0].tolist() == [[0, 1, 0], [0, 0, 0], [2, 3, 4]]
    _, mask = regroup(torch.arange(6.0)[:, None], rows)
    assert mask is not None
    assert mask.sum(1).tolist() == [2, 1, 3]
    of_graphs = torch.arange(3.0)[:, None]
    assert regroup(of_graphs, rows) == (of_graphs, None)


@pytest.mark.parametrize("edges", [torch.zeros(2, 3), torch.full((2, 3), 99), torch.zeros(3, 2, dtype=torch.long)])
def test_what_leads_between_no_nodes_tells_nothing_of_edges(edges: Tensor) -> None:
    batch = graphs()
    batch.edge_index = edges
    assert row_rules(batch, 3)[0].of(batch, 3).others == ()
