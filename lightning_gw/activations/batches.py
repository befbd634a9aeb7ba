"""What a batch is made of: its tensors, its rows, its padding mask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

#: Masks by their usual names, and whether they are nonzero where a position counts or where it is padding.
_MASKS = {"attention_mask": True, "src_key_padding_mask": False, "key_padding_mask": False, "padding_mask": False}


def leaves(batch: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a nested batch with the path to it, in the batch's own order."""
    if isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from leaves(value, f"{path}.{key}")
    elif isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        for index, value in enumerate(batch):
            yield from leaves(value, f"{path}[{index}]")
    elif is_dataclass(batch) and not isinstance(batch, type):
        for field in fields(batch):
            yield from leaves(getattr(batch, field.name), f"{path}.{field.name}")
    else:
        yield path, batch


def count_rows(batch: Any) -> int:
    """Number of inputs in a batch: the first dimension of its first tensor that has one.

    Raises:
        ValueError: If it holds no such tensor.
    """
    for _, leaf in leaves(batch):
        if isinstance(leaf, Tensor) and leaf.dim() > 0:
            return leaf.shape[0]
    raise ValueError(f"The probe batch, a {type(batch).__name__}, holds no tensor with a first dimension to count.")


def take_rows(batch: Any, start: int, stop: int) -> Any:
    """The inputs from `start` to `stop` of a batch: every tensor and list that has one entry per input is cut.

    A list counts as one entry per input if it holds plain values, such as texts, and no tensors.
    """
    rows = count_rows(batch)
    if start == 0 and stop >= rows:
        return batch

    def cut(entries: Any) -> Any:
        if isinstance(entries, Tensor):
            return entries[start:stop] if entries.dim() > 0 and entries.shape[0] == rows else entries
        return entries[start:stop]

    def per_input(entries: Any) -> bool:
        return len(entries) == rows and all(isinstance(entry, str | bytes | int | float) for entry in entries)

    def walk(part: Any) -> Any:
        if type(part) in (list, tuple):
            return cut(part) if per_input(part) else type(part)(walk(held) for held in part)
        if type(part) is dict:
            return {key: walk(held) for key, held in part.items()}
        return apply_to_collection(part, Tensor, cut)

    return walk(batch)


def in_pieces(batches: Sequence[Any], rows: int) -> list[Any]:
    """The same inputs in the same order, in batches of at most `rows`."""
    return [take_rows(batch, start, start + rows) for batch in batches for start in range(0, count_rows(batch), rows)]


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
