"""The batches that a loader makes, with what is chosen among them; run in a copy of the process, which may be changed.

Everything here alters loaders, samplers and data sets as it likes: it is called through `apart.read_apart`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice, zip_longest
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric.utilities.data import sized_len
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)

from lightning_gw.activations.probe.rows import guess_rows
from lightning_gw.utilities.errors import ArgumentError

if TYPE_CHECKING:
    from lightning_gw.activations.config import ProbeConfig

#: Batches of a sampler of somebody's own among which the probe is chosen.
_LISTED = 1000
#: How many times the probe's size is searched for inputs of every class, before balance settles for what it has.
_BALANCE_SEARCH = 50


@dataclass
class Drawn:
    """What was drawn from one source.

    Attributes:
        source: Where it comes from, in words.
        batches: As the loader made them.
        items: Number of items that were put together in each; None where that is not known.
        notes: What was done differently from what one may expect, in plain words.
        whole: Whether the batches are not to be cut.
        places: Of every input its batch and its row there, where the loader gives all it has in this order; empty where
            that is not known.
        given: Whether it is one batch that somebody put together.
    """

    source: str
    batches: list[Any] = field(default_factory=list)
    items: list[int | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    whole: bool = False
    places: list[tuple[int, int]] = field(default_factory=list)
    given: bool = False

    @property
    def size(self) -> int:
        """Number of inputs, as far as can be told from the batches alone."""
        return sum(guess_rows(*pair) for pair in zip(self.batches, self.items, strict=True))


class Drawing:
    """Draws at least as many inputs as are wanted, or all there are.

    Args:
        source: Where they come from, in words.
        size: How many are wanted.
        config: How they are drawn.
        alive: Called now and then, as a sign of life.
    """

    def __init__(self, source: str, size: int, config: ProbeConfig, alive: Callable[[], None] = lambda: None) -> None:
        self.drawn = Drawn(source)
        self._size = size
        self._config = config
        self._alive = alive
        self._generator = torch.Generator().manual_seed(config.seed)

    def draw(self, data: Any) -> Drawn:
        """Draw from a loader, a data set, a ``CombinedLoader`` or any iterable of batches."""
        if _is_combined(data):
            for loader in data.flattened:
                if isinstance(loader, DataLoader):
                    _tame(loader)
            # It gives every batch with its number and that of its loader.
            self._take(((batch[0] if isinstance(batch, tuple) else batch, None) for batch in data), count())
        elif isinstance(data, DataLoader):
            self._from_loader(data)
        elif _is_indexed(data):
            size = self._config.batch_size or min(self._size, max(1, len(data)))
            self._from_loader(DataLoader(data, batch_size=size))
        else:
            self._in_order(data)
        return self.drawn

    def _from_loader(self, loader: DataLoader[Any]) -> None:
        _tame(loader)
        if isinstance(loader.dataset, IterableDataset):
            if loader.batch_size is not None:
                vars(loader)["collate_fn"] = _Counted(loader.collate_fn)
                if self._config.batch_size and isinstance(loader.batch_sampler, BatchSampler):
                    loader.batch_sampler.batch_size = self._config.batch_size
            self._in_order(loader)
        elif type(loader).__iter__ is not DataLoader.__iter__:
            self._in_order(loader)
        elif type(loader.batch_sampler) is BatchSampler and (pool := self._pool(loader.batch_sampler.sampler)):
            self._by_item(loader, pool)
        else:
            self._by_batch(loader)

    def _in_order(self, stream: Iterable[Any]) -> None:
        self.drawn.notes.append(f"The {self.drawn.source} can only be iterated; the probe is its first inputs.")
        if self._config.balance is not None:
            self.drawn.notes.append("Data that can only be iterated was not balanced over classes.")
        # Lightning asks for no more batches than there are said to be, and not every loader ends well.
        batches = islice(stream, sized_len(stream))
        held = ((batch.content, batch.items) if isinstance(batch, _Batch) else (batch, None) for batch in batches)
        self._take(held, count())

    def _by_item(self, loader: DataLoader[Any], pool: Sequence[Any]) -> None:
        """Any inputs, in batches of the loader's size: its sampler would put any of them together."""
        order = [pool[i] for i in torch.randperm(len(pool), generator=self._generator, device="cpu").tolist()]
        in_order = type(getattr(loader.batch_sampler, "sampler", None)) is SequentialSampler
        full = int(loader.batch_size or 1)
        step = self._config.batch_size or loader.batch_size or self._size
        if self._config.balance is not None:
            order = self._balanced(loader, order, step)
        chosen = order[: self._size]
        if loader.drop_last and self._config.batch_size is None:
            # A network that is sized for full batches gets full batches.
            chosen = order[: max(1, -(-len(chosen) // step)) * step]
            chosen = chosen[: len(chosen) // step * step]
            self.drawn.whole = True
        self.drawn.places = [divmod(int(index), full) for index in chosen] if in_order else []
        self._read(loader, [chosen[start : start + step] for start in range(0, len(chosen), step)])

    def _pool(self, sampler: Any) -> Sequence[Any] | None:
        """The indices that a sampler draws from at will; None for one that has reasons for its order."""
        if isinstance(sampler, SubsetRandomSampler):
            return sampler.indices
        if type(sampler) is SequentialSampler or (type(sampler) is RandomSampler and not sampler.replacement):
            return range(len(sampler.data_source))
        if isinstance(sampler, DistributedSampler) and type(sampler).__name__ != "DistributedSamplerWrapper":
            return range(len(sampler.dataset))  # type: ignore[arg-type]
        if self._config.balance is None and self._config.batch_size is None:
            return None
        return list(dict.fromkeys(islice(sampler, _LISTED * self._size)))  # as the user wants them put together

    def _by_batch(self, loader: DataLoader[Any]) -> None:
        """Batches of those that the loader's own sampler makes, each whole."""
        batched = loader.batch_sampler is not None
        listed = list(islice(loader.batch_sampler if batched else loader.sampler, _LISTED))  # type: ignore[arg-type]
        order = torch.randperm(len(listed), generator=self._generator, device="cpu").tolist()
        if self._config.balance is not None:
            self.drawn.notes.append("Batches that a sampler of its own puts together were not balanced over classes.")
        self._read(loader, [listed[k] for k in order], order)

    def _read(self, loader: DataLoader[Any], indices: list[Any], numbers: Iterable[int] = ()) -> None:
        batched = loader.batch_sampler is not None
        vars(loader)["batch_sampler" if batched else "sampler"] = indices
        counts = [len(entry) if isinstance(entry, list | tuple) else None for entry in indices]
        self._take(zip(loader, counts, strict=False), numbers)

    def _take(self, batches: Iterable[tuple[Any, int | None]], numbers: Iterable[int] = ()) -> None:
        """Take batches until there are enough inputs; `numbers` are their places in the loader, as far as known."""
        found, places = 0, iter(numbers)
        for batch, items in batches:
            self._alive()
            self.drawn.batches.append(batch)
            self.drawn.items.append(items)
            rows = guess_rows(batch, items)
            found += rows
            if (number := next(places, None)) is not None:
                self.drawn.places += [(number, row) for row in range(rows)]
            if found >= self._size:
                break

    def _balanced(self, loader: DataLoader[Any], order: Sequence[Any], step: int) -> list[Any]:
        """One input of every class in turn, then the next of every class."""
        searched = order[: self._size * _BALANCE_SEARCH]
        collate = loader.collate_fn
        vars(loader)["collate_fn"] = list
        vars(loader)["batch_sampler"] = [searched[start : start + step] for start in range(0, len(searched), step)]
        by_class: dict[Any, list[Any]] = {}
        position = 0
        for items in loader:
            self._alive()
            for item in items:
                by_class.setdefault(self._label(item), []).append(searched[position])
                position += 1
        vars(loader)["collate_fn"] = collate
        queues = [by_class[label] for label in sorted(by_class, key=repr)]
        rounds = zip_longest(*([(turn, index) for index in queue] for turn, queue in enumerate(queues)))
        picked = [entry for entries in rounds for entry in entries if entry is not None]
        counts = Counter(turn for turn, _ in picked[: self._size])
        self.drawn.source += f", balanced over {len(queues)} classes"
        if len(counts) < len(queues):
            self.drawn.notes.append(f"The probe's {self._size} inputs cannot hold all of the {len(queues)} classes.")
        elif counts and max(counts.values()) - min(counts.values()) > 1:
            rare, common = min(counts.values()), max(counts.values())
            self.drawn.notes.append(f"Some classes are rare: classes have {rare} to {common} inputs in the probe.")
        return [index for _, index in picked]

    def _label(self, item: Any) -> Any:
        balance = self._config.balance
        assert balance is not None
        try:
            label = balance(item) if callable(balance) else item[balance]
        except (KeyError, IndexError, TypeError) as error:
            has = f"keys {', '.join(map(str, item))}" if isinstance(item, Mapping) else f"type {type(item).__name__}"
            raise ArgumentError(
                f"balance={balance!r} finds no label in an item of the {self.drawn.source} with {has}: {error!r}."
            ) from error
        if hasattr(label, "tolist"):
            label = label.tolist()
        return tuple(label) if isinstance(label, list) else label


@dataclass
class _Batch:
    """A batch with the number of items in it."""

    content: Any
    items: int


class _Counted:
    """A collate function that counts what it puts together."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self._collate = collate

    def __call__(self, items: Any) -> _Batch:
        return _Batch(self._collate(items), len(items))


def _tame(loader: DataLoader[Any]) -> None:
    """Have a loader begin anew, with one worker at most, and as if it were that of the only process."""
    own = vars(loader)
    _KEPT.append(own.get("_iterator"))  # its workers belong to the process, and would end with it
    own["_iterator"] = None
    own["persistent_workers"] = False
    own["pin_memory"] = False
    own["num_workers"] = min(1, loader.num_workers)
    for sampler in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
        if isinstance(sampler, DistributedSampler):
            sampler.num_replicas, sampler.rank = 1, 0
            sampler.num_samples = sampler.total_size = len(sampler.dataset)  # type: ignore[arg-type]


_KEPT: list[Any] = []


def _is_indexed(data: Any) -> bool:
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Iterator)


def _is_combined(data: Any) -> bool:
    return hasattr(data, "flattened") and hasattr(data, "iterables")  # CombinedLoader, of either Lightning package
