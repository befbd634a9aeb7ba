"""What one input is: which rows of what a layer puts out belong to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_gw.activations.probe.batches import leaves
from lightning_gw.utilities.errors import ArgumentError

#: How a user says it: the key or place of something in a batch with one entry per input, or a function of the batch
#: that gives the number of inputs, or ``(m,)`` integers that say of every row of the layers which input it belongs to.
RowsOption = str | int | Callable[[Any], Any]

#: Keys under which packed sequences bring where each begins and ends.
_BOUNDS = ("cu_seqlens", "cu_seq_lens_q", "cu_seqlens_q", "cu_seq_lens")
#: What a layer puts out where its rows are inputs needs no more words than this.
PLAIN = "inputs"
OWN = "the layers' own rows"


@dataclass(frozen=True)
class Rows:
    """The rows of one batch.

    Attributes:
        count: Number of inputs; None where it is what the layers put out, of all of them alike.
        index: ``(m,)``, the input that each of m finer rows belongs to (nodes of graphs, tokens of packed sequences);
            None where there are none.
        others: The same of other finer rows of another number (edges beside nodes).
    """

    count: int | None
    index: Tensor | None = None
    others: tuple[Tensor, ...] = ()

    def index_of(self, shape: Sequence[int]) -> Tensor | None:
        """The index of such an output's finer rows, which may lie behind a first axis of 1; None where none fits."""
        finer = [] if self.index is None else [self.index, *(held for held in self.others if len(held) != self.count)]
        lengths = (*shape[:1], *(shape[1:2] if len(shape) > 2 and shape[0] == 1 else ()))
        return next((index for length in lengths for index in finer if len(index) == length), None)


@dataclass(frozen=True)
class RowRule:
    """One way of telling the rows of a batch.

    Attributes:
        name: What records call it.
        of: ``(batch, items) -> Rows``, where `items` is how many items were put together in it, if that is known.
    """

    name: str
    of: Callable[[Any, int | None], Rows]


def row_rules(batch: Any, items: int | None, asked: RowsOption | None = None) -> list[RowRule]:
    """The ways of telling the rows of such batches, the surest first; the last leaves it to the layers.

    Args:
        batch: One of them.
        items: How many items were put together in it; None where that is not known.
        asked: What the user said, which is then the only one.
    """
    if asked is not None:
        return [RowRule(f"rows={_name(asked)}", lambda batch, items: _asked(batch, asked))]
    rules = []
    if _index_of_graphs(batch) is not None:
        rules.append(
            RowRule("graphs", lambda batch, items: _indexed(_index_of_graphs(batch), items, _index_of_edges(batch)))
        )
    elif _index_of_packed(batch) is not None:
        rules.append(RowRule("packed sequences", lambda batch, items: _indexed(_index_of_packed(batch), None)))
    elif items is not None and _holds(batch, items):
        rules.append(RowRule(PLAIN, lambda batch, items: Rows(items)))
    else:
        lengths: dict[int, str] = {}
        for path, length in _lengths(batch):
            lengths.setdefault(length, path)
        rules += [
            RowRule(PLAIN if len(lengths) == 1 else f"rows of {path.lstrip('.') or 'the batch'}", _counting(path))
            for path in lengths.values()
        ]
    return [*rules, RowRule(OWN, lambda batch, items: Rows(None))]


def guess_rows(batch: Any, items: int | None = None) -> int:
    """Number of inputs in a batch, as far as the batch alone can tell; at least 1."""
    if items is not None:
        return items
    rule = row_rules(batch, None)[0]
    return max(1, rule.of(batch, None).count or 1)


def best_rule(rules: Sequence[RowRule], batch: Any, items: int | None, shapes: Sequence[tuple[int, ...]]) -> RowRule:
    """The rule that fits most of the shapes that layers put out for a batch, of equals the first.

    A rule that was asked for, or that is sure, is alone but for the last one: it stands if it fits any two layers.
    """
    scores = [_score(rule.of(batch, items), shapes) for rule in rules]
    least = min(2, len(shapes))
    standing = [rule for rule, score in zip(rules[:-1], scores[:-1], strict=True) if score >= least]
    if not standing or len(rules) == 1:
        return rules[-1]
    return max(standing, key=lambda rule: scores[rules.index(rule)])


def regroup(tensor: Tensor, rows: Rows) -> tuple[Tensor, Tensor | None]:
    """Bring finer rows together: ``(m, d)`` or ``(1, m, d)`` becomes ``(n, t, d)`` with its mask ``(n, t)``.

    What has other rows than these comes back as it is, without a mask.
    """
    index = None if rows.count is None or tensor.dim() < 2 else rows.index_of(tensor.shape)
    if index is None or rows.count is None:
        return tensor, None
    m = len(index)
    if tensor.shape[0] != m:
        tensor = tensor[0]
    index = index.to(tensor.device)
    if m == rows.count and torch.equal(index, torch.arange(m, device=index.device)):
        return tensor, None
    tensor = tensor.flatten(1)
    order = torch.argsort(index, stable=True)
    counts = torch.bincount(index, minlength=rows.count)
    begins = counts.cumsum(0) - counts
    place = torch.arange(m, device=tensor.device) - begins[index[order]]
    padded = tensor.new_zeros(rows.count, int(counts.max()), *tensor.shape[1:])
    padded[index[order], place] = tensor[order]
    mask = torch.arange(padded.shape[1], device=tensor.device)[None] < counts[:, None]
    return padded, mask


def _score(rows: Rows, shapes: Sequence[tuple[int, ...]]) -> int:
    return sum(bool(shape) and (shape[0] == rows.count or rows.index_of(shape) is not None) for shape in shapes)


def _asked(batch: Any, asked: RowsOption) -> Rows:
    try:
        found = asked(batch) if callable(asked) else batch[asked]
    except Exception as error:
        raise ArgumentError(f"rows={_name(asked)} does not work on a probe batch: {error!r}.") from error
    if isinstance(found, Tensor) and callable(asked) and found.dim() == 1 and not found.is_floating_point():
        return Rows(int(found.max()) + 1, found)
    if callable(asked) and (isinstance(found, int) or (isinstance(found, Tensor) and found.dim() == 0)):
        return Rows(int(found))
    try:
        return Rows(len(found))
    except TypeError as error:
        raise ArgumentError(f"rows={_name(asked)} gives a {type(found).__name__}, which has no entries.") from error


def _indexed(index: Tensor | None, items: int | None, other: Tensor | None = None) -> Rows:
    assert index is not None
    return Rows(items or (int(index.max()) + 1 if len(index) else 0), index, () if other is None else (other,))


def _counting(path: str) -> Callable[[Any, int | None], Rows]:
    return lambda batch, items: Rows(dict(_lengths(batch)).get(path))


def _lengths(batch: Any) -> Iterator[tuple[str, int]]:
    """Everything in a batch that may have one entry per input, and how many entries it has."""
    for path, leaf in leaves(batch):
        if isinstance(leaf, Tensor) and leaf.dim() > 0:
            yield path, leaf.shape[0]
    for path, entries in _lists(batch):
        if entries and all(isinstance(entry, str | bytes) for entry in entries):
            yield f"{path}[]", len(entries)


def _holds(batch: Any, items: int) -> bool:
    """Whether anything in a batch has one entry for every item that was put into it, sequences also along their second
    dimension."""
    return (
        any(length == items for _, length in _lengths(batch))
        or any(len(entries) == items for _, entries in _lists(batch))
        or any(isinstance(leaf, Tensor) and leaf.dim() > 1 and leaf.shape[1] == items for _, leaf in leaves(batch))
    )


def _lists(batch: Any, path: str = "") -> Iterator[tuple[str, Sequence[Any]]]:
    if isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from _lists(value, f"{path}.{key}")
    elif isinstance(batch, list | tuple):
        yield path, batch
        for place, value in enumerate(batch):
            yield from _lists(value, f"{path}[{place}]")


def _parts(batch: Any) -> Iterator[Any]:
    """A batch, and what lies in it at its top."""
    yield batch
    if isinstance(batch, Mapping):
        yield from batch.values()
    elif isinstance(batch, list | tuple):
        yield from batch


def _index_of_graphs(batch: Any) -> Tensor | None:
    """Of every node its graph, as PyTorch Geometric keeps it in ``batch`` or ``ptr``."""
    for part in _parts(batch):
        get = part.get if isinstance(part, Mapping) else lambda name, part=part: getattr(part, name, None)
        bounds, index = get("ptr"), get("batch")
        if isinstance(index, Tensor) and index.dim() == 1 and index.dtype == torch.int64 and len(index):
            return index
        if isinstance(bounds, Tensor) and bounds.dim() == 1 and len(bounds) > 1 and int(bounds[0]) == 0:
            return _from_bounds(bounds)
        nodes = getattr(part, "batch_num_nodes", None)  # DGL
        if callable(nodes) and isinstance(counts := nodes(), Tensor):
            return torch.repeat_interleave(torch.arange(len(counts)), counts.cpu())
    return None


def _index_of_edges(batch: Any) -> Tensor | None:
    """Of every edge the graph of the node that it leaves, where the batch says which nodes edges lead between."""
    nodes = _index_of_graphs(batch)
    for part in _parts(batch):
        edges = part.get("edge_index") if isinstance(part, Mapping) else getattr(part, "edge_index", None)
        if nodes is not None and isinstance(edges, Tensor) and edges.dim() == 2 and edges.shape[0] == 2:
            within = edges.dtype == torch.int64 and (edges.numel() == 0 or int(edges.max()) < len(nodes))
            return nodes[edges[0]] if within else None
    return None


def _index_of_packed(batch: Any) -> Tensor | None:
    """Of every token its sequence, where several lie one behind the other in one row."""
    for part in _parts(batch):
        if not isinstance(part, Mapping):
            continue
        for name in _BOUNDS:
            bounds = part.get(name)
            if isinstance(bounds, Tensor) and bounds.dim() == 1 and len(bounds) > 1:
                return _from_bounds(bounds)
        positions = part.get("position_ids")
        if isinstance(positions, Tensor) and positions.dim() == 2 and positions.shape[0] == 1:
            begins = positions[0] == 0
            if int(begins.sum()) > 1 and bool(begins[0]):
                return begins.long().cumsum(0) - 1
        index = part.get("seq_idx")
        if isinstance(index, Tensor) and index.dim() == 2 and index.shape[0] == 1 and int(index.max()) > 0:
            return index[0].long()
    return None


def _from_bounds(bounds: Tensor) -> Tensor:
    counts = bounds.diff().long()
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def _name(asked: RowsOption) -> str:
    return getattr(asked, "__qualname__", type(asked).__name__) if callable(asked) else repr(asked)
