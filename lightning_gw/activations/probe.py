"""The fixed inputs that every look goes through: drawn once, held for the whole run, known by their hash."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SubsetRandomSampler, default_collate

from lightning_gw.activations.batches import count_rows, fingerprint, leaves, take_rows
from lightning_gw.utilities.errors import ArgumentError

if TYPE_CHECKING:
    from lightning_gw.activations.config import ProbeConfig

#: Inputs drawn where nobody says how many.
DEFAULT_PROBE_SIZE = 128
#: Fewer inputs than this have no geometry to speak of.
SMALLEST_PROBE = 4
#: How many times the probe's size is searched for inputs of every class, before balance settles for what it has.
_BALANCE_SEARCH = 50

#: Key into an item, or a function of it, that gives the class to balance over.
Balance = int | Callable[[Any], Any] | str


class ProbeError(ValueError):
    """There are no inputs to look through, or they cannot be read."""


class WrongProbeError(ProbeError, ArgumentError):
    """What the user wrote of the probe cannot be had, such as more inputs than there are."""


@dataclass(frozen=True)
class Probe:
    """Fixed probe inputs.

    Attributes:
        batches: The inputs as the collate function made them, on the CPU.
        size: Number of inputs over all batches, the ``n`` of everything that follows.
        source: Where they come from, in words.
        hash: SHA-256 over every tensor.
        notes: What was done differently from what one may expect, in plain words.
    """

    batches: tuple[Any, ...]
    size: int
    source: str
    hash: str
    notes: tuple[str, ...] = ()


def draw_probe(data: Any, source: str, config: ProbeConfig) -> Probe:
    """Draw the probe inputs from data of any usual kind.

    Items are taken as ``dataset[i]`` and put together by the loader's own collate function; the loader itself is never
    iterated, because that would move the random state and the samplers of training.

    Args:
        data: A batch (tensor, tuple, list or mapping of tensors), a ``Dataset``, a ``DataLoader`` or any iterable of
            batches, a ``CombinedLoader``, or a list, tuple or dict of loaders (of several, the first is taken), or a
            function without arguments that returns one of these.
        source: Where the data comes from, in words, such as ``"validation data"``.
        config: How many inputs, how many of them per forward pass, balanced over what, and the seed of the draw.

    Raises:
        WrongProbeError: If there are fewer inputs than asked for, or what was asked for makes no sense.
        ProbeError: If there are fewer than 4 inputs, or the data cannot be read.
    """
    if config.size is not None and config.size < SMALLEST_PROBE:
        raise WrongProbeError(
            f"probe_size={config.size}: at least {SMALLEST_PROBE} inputs are needed to compare layers."
        )
    if config.batch_size is not None and config.batch_size < 1:
        raise WrongProbeError(f"probe_batch_size={config.batch_size} must be at least 1.")
    draw = _Draw(source, config)
    batches = draw.batches(data)
    rows = sum(count_rows(batch) for batch in batches)
    draw.require(rows)
    return Probe(tuple(batches), rows, draw.source, fingerprint(batches), tuple(draw.notes))


class _Draw:
    def __init__(self, source: str, config: ProbeConfig) -> None:
        self._asked = config.size
        self._size = DEFAULT_PROBE_SIZE if config.size is None else config.size
        self._batch_size = config.batch_size
        self._balance = config.balance
        self._generator = torch.Generator().manual_seed(config.seed)
        self.source = source
        self.notes: list[str] = []

    def batches(self, data: Any) -> list[Any]:
        """Read `data`, whatever it is, into batches of at most ``size`` inputs in total."""
        if isinstance(data, DataLoader):
            return self._from_loader(data)
        if _is_batch(data):
            return self._split(data)
        if loaders := _several(data):
            if len(loaders) > 1:
                name = next(iter(loaders))
                self.notes.append(f"Of {len(loaders)} loaders the probe was drawn from the first, {name}.")
                self.source += f" ({name})"
            return self.batches(next(iter(loaders.values())))
        if _is_indexed(data):
            return self._from_dataset(data, range(len(data)), default_collate, None)
        if callable(data) and not isinstance(data, Iterable):
            return self.batches(data())
        if isinstance(data, Iterable):
            return self._from_stream(data, None, None)
        raise WrongProbeError(
            f"The probe cannot be drawn from a {type(data).__name__}; give a batch, a Dataset, a DataLoader, or a "
            "function that returns one."
        )

    def require(self, rows: int) -> None:
        """Refuse a probe with too few inputs, and say so where there are fewer than usual."""
        if self._asked is not None and rows < self._asked:
            raise WrongProbeError(
                f"probe_size={self._asked} asks for more inputs than the {self.source} holds: {rows}. Lower "
                "probe_size, or leave it out to take what there is."
            )
        if rows < SMALLEST_PROBE:
            raise ProbeError(
                f"The {self.source} holds {rows} input{'' if rows == 1 else 's'}; at least {SMALLEST_PROBE} are needed "
                "to compare layers. Pass other inputs with GWSimilarity(probe=...)."
            )
        if rows < self._size:
            self.notes.append(f"The probe has {rows} inputs, all there are in the {self.source}, not {self._size}.")

    def _split(self, batch: Any) -> list[Any]:
        rows = count_rows(batch)
        batch = take_rows(batch, 0, rows if self._asked is None else self._asked)
        self._size = rows = count_rows(batch)
        step = self._batch_size or rows
        return [take_rows(batch, start, start + step) for start in range(0, rows, step)]

    def _from_loader(self, loader: DataLoader[Any]) -> list[Any]:
        dataset: Any = loader.dataset
        if isinstance(dataset, IterableDataset) or not _is_indexed(dataset):
            collate = loader.collate_fn if loader.batch_sampler is not None or loader.batch_size else None
            return self._from_stream(dataset, collate, loader.batch_size)
        if loader.batch_sampler is None:
            return self._from_whole_batches(loader)
        sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
        # A sampler over a part of a data set usually parts validation from training.
        indices = sampler.indices if isinstance(sampler, SubsetRandomSampler) else range(len(dataset))
        size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
        return self._from_dataset(dataset, indices, loader.collate_fn, size)

    def _from_dataset(
        self, dataset: Any, indices: Sequence[int], collate: Callable[[list[Any]], Any], batch_size: int | None
    ) -> list[Any]:
        order = [indices[i] for i in torch.randperm(len(indices), generator=self._generator).tolist()]
        items = [dataset[i] for i in order[: self._size]] if self._balance is None else self._balanced(dataset, order)
        step = self._batch_size or batch_size or self._size
        return [collate(items[start : start + step]) for start in range(0, len(items), step)]

    def _balanced(self, dataset: Any, order: Sequence[int]) -> list[Any]:
        by_class: dict[Any, list[Any]] = {}
        for index in order[: self._size * _BALANCE_SEARCH]:
            item = dataset[index]
            by_class.setdefault(self._label(item), []).append(item)
        queues = [by_class[label] for label in sorted(by_class, key=repr)]
        # One input of every class in turn, then the next of every class.
        rounds = zip_longest(*([(turn, item) for item in queue] for turn, queue in enumerate(queues)))
        picked = [entry for entries in rounds for entry in entries if entry is not None][: self._size]
        counts = Counter(turn for turn, _ in picked)
        self.source += f", balanced over {len(queues)} classes"
        if len(counts) < len(queues):
            self.notes.append(f"The probe's {self._size} inputs cannot hold all of the {len(queues)} classes.")
        elif counts and max(counts.values()) - min(counts.values()) > 1:
            rare, common = min(counts.values()), max(counts.values())
            self.notes.append(f"Some classes are rare: classes have {rare} to {common} inputs in the probe.")
        return [item for _, item in picked]

    def _label(self, item: Any) -> Any:
        assert self._balance is not None
        try:
            label = self._balance(item) if callable(self._balance) else item[self._balance]
        except (KeyError, IndexError, TypeError) as error:
            has = f"keys {', '.join(map(str, item))}" if isinstance(item, Mapping) else f"type {type(item).__name__}"
            raise WrongProbeError(
                f"balance={self._balance!r} finds no label in an item of the {self.source} with {has}: {error!r}."
            ) from error
        if hasattr(label, "tolist"):
            label = label.tolist()
        return tuple(label) if isinstance(label, list) else label

    def _from_whole_batches(self, loader: DataLoader[Any]) -> list[Any]:
        """``batch_size=None``: the data set hands out whole batches, by number or by lists of indices."""
        if isinstance(loader.sampler, BatchSampler):
            order = torch.randperm(len(loader.dataset), generator=self._generator)[: self._size].tolist()  # type: ignore[arg-type]
            step = self._batch_size or loader.sampler.batch_size
            chunks: list[Any] = [order[start : start + step] for start in range(0, len(order), step)]
        else:
            chunks = torch.randperm(len(loader.dataset), generator=self._generator).tolist()  # type: ignore[arg-type]
        return self._gather(loader.collate_fn(loader.dataset[chunk]) for chunk in chunks)

    def _from_stream(
        self, stream: Iterable[Any], collate: Callable[[list[Any]], Any] | None, batch_size: int | None
    ) -> list[Any]:
        """The first inputs of an iterable, read from a copy so that the original is where it was."""
        try:
            fresh = iter(copy.deepcopy(stream))
        except Exception as error:
            raise ProbeError(
                f"The {self.source} can only be iterated, and its {type(stream).__name__} cannot be copied, which "
                f"would leave the original where it is ({error}). Pass inputs with GWSimilarity(probe=...)."
            ) from error
        self.notes.append(f"The {self.source} can only be iterated; the probe is its first inputs, from a fresh copy.")
        if self._balance is not None:
            self.notes.append("Data that can only be iterated was not balanced over classes.")
        if collate is None:
            return self._gather(fresh)
        items = [item for _, item in zip(range(self._size), fresh, strict=False)]
        step = self._batch_size or batch_size or self._size
        return [collate(items[start : start + step]) for start in range(0, len(items), step)]

    def _gather(self, stream: Iterable[Any]) -> list[Any]:
        batches: list[Any] = []
        left = self._size
        for batch in stream:
            batches.append(take_rows(batch, 0, left))
            left -= count_rows(batches[-1])
            if left <= 0:
                break
        return batches


def _is_batch(data: Any) -> bool:
    """Whether nothing but tensors and plain values is in it."""
    if isinstance(data, Tensor):
        return True
    if not isinstance(data, Mapping | list | tuple):
        return False
    found = [leaf for _, leaf in leaves(data)]
    return any(isinstance(leaf, Tensor) for leaf in found) and not any(
        isinstance(leaf, DataLoader) or (hasattr(leaf, "__getitem__") and not isinstance(leaf, Tensor | str | bytes))
        for leaf in found
    )


def _is_indexed(data: Any) -> bool:
    return hasattr(data, "__getitem__") and hasattr(data, "__len__")


def _several(data: Any) -> dict[str, Any]:
    """The loaders in a ``CombinedLoader``, list, tuple or dict, by name."""
    if hasattr(data, "flattened") and hasattr(data, "iterables"):  # CombinedLoader, of either Lightning package
        data = data.iterables
        if not isinstance(data, Mapping | list | tuple):
            return {"loader 0": data}
    if isinstance(data, Mapping):
        return {str(key): value for key, value in data.items()}
    if isinstance(data, list | tuple):
        return {f"loader {index}": value for index, value in enumerate(data)}
    return {}
