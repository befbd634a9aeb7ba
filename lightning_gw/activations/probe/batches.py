"""What a batch is made of: its tensors, its rows, its padding mask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, Dataset

#: Masks by their usual names, and whether they are nonzero where a position counts or where it is padding.
_MASKS = {"attention_mask": True, "src_key_padding_mask": False, "key_padding_mask": False, "padding_mask": False}


def leaves(batch: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a nested batch with the path to it, in the batch's own order.

    Batches of a class of their own, such as those of graphs, are searched by what they hold.
    """
    if isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from leaves(value, f"{path}.{key}")
    elif isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        for index, value in enumerate(batch):
            yield from leaves(value, f"{path}[{index}]")
    elif is_dataclass(batch) and not isinstance(batch, type):
        for field in fields(batch):
            yield from leaves(getattr(batch, field.name), f"{path}.{field.name}")
    elif held := _held(batch):
        for key, value in held.items():
            yield from leaves(value, f"{path}.{key}")
    else:
        yield path, batch


def _held(batch: Any) -> dict[str, Any]:
    """What an object holds that is a batch of a class of its own; empty for everything else."""
    if isinstance(batch, Tensor | torch.nn.Module | Dataset | DataLoader | type) or callable(batch):
        return {}
    as_dict = getattr(batch, "to_dict", None)  # as PyTorch Geometric has it
    held = as_dict() if callable(as_dict) else getattr(batch, "__dict__", {})
    if not isinstance(held, dict):
        return {}
    return held if any(isinstance(value, Tensor | Mapping | list | tuple) for value in held.values()) else {}


def count_rows(batch: Any) -> int:
    """The first dimension of the first tensor of a batch that has one.

    Raises:
        ValueError: If it holds no such tensor.
    """
    for _, leaf in leaves(batch):
        if isinstance(leaf, Tensor) and leaf.dim() > 0:
            return leaf.shape[0]
    raise ValueError(f"The probe batch, a {type(batch).__name__}, holds no tensor with a first dimension to count.")


def is_cut_by_rows(batch: Any, rows: int) -> bool:
    """Whether everything in a batch has one entry per input, so that `take_rows` leaves a whole batch of fewer."""
    if type(batch) in (list, tuple):
        return _per_input(batch, rows) or all(is_cut_by_rows(held, rows) for held in batch)
    if isinstance(batch, Mapping):
        return all(is_cut_by_rows(held, rows) for held in batch.values())
    if _is_named_tuple(batch):
        return all(is_cut_by_rows(held, rows) for held in batch)
    if isinstance(batch, Tensor):
        return batch.dim() == 0 or batch.shape[0] == rows
    return batch is None or isinstance(batch, str | bytes | int | float)


def take_rows(batch: Any, start: int, stop: int, rows: int | None = None) -> Any:
    """The inputs from `start` to `stop` of a batch: every tensor and list that has one entry per input is cut.

    A list counts as one entry per input unless all that it holds are tensors that do by themselves.

    Args:
        batch: Any nested batch.
        start: First input.
        stop: Input after the last.
        rows: Number of inputs; None counts them by the first tensor.
    """
    rows = count_rows(batch) if rows is None else rows
    if start == 0 and stop >= rows:
        return batch

    def cut(entries: Any) -> Any:
        if isinstance(entries, Tensor):
            return entries[start:stop] if entries.dim() > 0 and entries.shape[0] == rows else entries
        return entries[start:stop]

    def walk(part: Any) -> Any:
        if type(part) in (list, tuple):
            return cut(part) if _per_input(part, rows) else type(part)(walk(held) for held in part)
        if _is_named_tuple(part):
            return type(part)(*(walk(held) for held in part))
        if type(part) is dict:
            return {key: walk(held) for key, held in part.items()}
        return apply_to_collection(part, Tensor, cut)

    return walk(batch)


def _is_named_tuple(batch: Any) -> bool:
    return isinstance(batch, tuple) and hasattr(batch, "_fields") and not isinstance(batch, PackedSequence)


def _per_input(entries: Any, rows: int) -> bool:
    """Whether a list has one entry per input, such as a text, or an image of a size of its own."""
    if len(entries) != rows or any(isinstance(entry, list | tuple) and len(entry) == rows for entry in entries):
        return False
    return not all(isinstance(entry, Tensor) and entry.dim() > 0 and entry.shape[0] == rows for entry in entries)


def fingerprint(batches: Sequence[Any]) -> str:
    """SHA-256 over all of the batches: the place, type, shape and bytes of every tensor, and all plain values."""
    digest = hashlib.sha256()
    for path, leaf in leaves(batches):
        if isinstance(leaf, Tensor):
            dense = (leaf.to_dense() if leaf.layout is not torch.strided else leaf).detach().cpu().contiguous()
            digest.update(f"{path}:{dense.dtype}:{tuple(dense.shape)}:".encode())
            digest.update(dense.reshape(-1).view(torch.uint8).numpy().tobytes())
        elif leaf is None or isinstance(leaf, str | bytes | int | float | bool):
            digest.update(f"{path}:{leaf!r}".encode())
    return digest.hexdigest()


def fingerprints_of_rows(batch: Any, rows: int, wanted: Sequence[int]) -> list[str]:
    """A `fingerprint` of each of some inputs of a batch, wherever it stands and whatever stands beside it.

    Args:
        batch: One that `is_cut_by_rows`.
        rows: Number of inputs in it.
        wanted: Which of them.
    """
    return [fingerprint([take_rows(batch, row, row + 1, rows)]) for row in wanted]


def padding_mask(batch: Any) -> Tensor | None:
    """The batch's ``(n, t)`` mask of positions that count, where it brings one under a usual name.

    ``attention_mask`` as Hugging Face tokenizers make it, or a ``padding_mask``, ``key_padding_mask`` or
    ``src_key_padding_mask`` as PyTorch's attention takes it (True at padding), at the top of the batch or of its first
    element.
    """
    if isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch):
        batch = batch[0]
    if not isinstance(batch, Mapping):
        return None
    for name, counts in _MASKS.items():
        mask = batch.get(name)
        if isinstance(mask, Tensor) and mask.dim() == 2 and not mask.is_floating_point():
            return mask.bool() if counts else ~mask.bool()
    return None
