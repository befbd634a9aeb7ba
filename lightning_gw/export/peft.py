"""Arguments of the configs of ``peft``: which layers get an adapter, or one of another rank."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lightning_gw.export.names import ExportError, numbers, place_of, places_of


def to_peft(
    layers: Sequence[str],
    everything: Sequence[str],
    targets: Sequence[str] = (),
    rank: int | None = None,
) -> dict[str, Any]:
    """Arguments for ``peft.LoraConfig`` and its like, so that adapters are put into these layers alone.

    Args:
        layers: Names of the layers.
        everything: Names of all layers, from which they are to be told apart.
        targets: Names that the modules to be adapted end in, such as ``q_proj``.
        rank: Give the layers this rank, and leave all others theirs: a ``rank_pattern`` in place of a choice of layers.

    Returns:
        ``layers_to_transform`` (indices from 0) and ``layers_pattern``; ``target_modules``, a regular expression, where
        the layers are in several lists, or in one that no module holds, which most versions of peft do not find by its
        index; or ``rank_pattern``.

    Raises:
        ExportError: If none of the layers is in a list, or a regular expression is needed and no targets were given.

    Example:
        >>> names = [f"encoder.layer.{k}" for k in range(6)]
        >>> to_peft(names[4:], names, targets=["query"])
        {'target_modules': ['query'], 'layers_to_transform': [4, 5], 'layers_pattern': 'layer'}
        >>> to_peft(names[4:], names, rank=32)
        {'rank_pattern': {'layer\\\\.(?:4|5)\\\\..*': 32}}
    """
    indices, without = places_of(layers)
    if not indices:
        raise ExportError(
            f"peft finds layers by their index in a list, and {', '.join(without)} has none. Name it in target_modules "
            "yourself, or choose another group."
        )
    ends = {holder: _ending(holder, everything) for holder in indices}
    if rank is not None:
        named = {_key(holder, ends[holder], found): rank for holder, found in indices.items()}
        return ({"target_modules": list(targets)} if targets else {}) | {"rank_pattern": named}
    holder, found = next(iter(indices.items()))
    if len(indices) == 1 and "." in holder:
        chosen = {"layers_to_transform": found, "layers_pattern": re.escape(ends[holder])}
        return ({"target_modules": list(targets)} if targets else {}) | chosen
    if not targets:
        raise ExportError(
            "layers_to_transform takes layers of one list that is inside a module, and these are in "
            f"{', '.join(indices)}. "
            "Name the modules to be adapted with --targets, and a regular expression for target_modules is written."
        )
    lists = [f"{_start(holder)}{re.escape(holder)}\\.(?:{numbers(found)})" for holder, found in indices.items()]
    return {"target_modules": f"(?:{'|'.join(lists)})\\.(?:.*\\.)?(?:{'|'.join(map(re.escape, targets))})"}


def _key(holder: str, end: str, indices: Sequence[int]) -> str:
    """A key of ``rank_pattern`` for what is in these layers of a list, whose name alone ends so."""
    pattern = f"{re.escape(end)}\\.(?:{numbers(indices)})\\..*"
    # Older versions of peft put ".*\." before it, and would not find a name that begins so: the first way never fits.
    return pattern if "." in holder else f"(?!)|^{pattern}"


def _start(holder: str) -> str:
    """What may come before a list's name: other modules, but for a list that no module holds."""
    return "(?:.*\\.)?" if "." in holder else ""


def _ending(holder: str, everything: Sequence[str]) -> str:
    """The shortest end of a list's name that no other list of layers has."""
    others = {place.holder for name in everything if (place := place_of(name)) and place.holder != holder}
    parts = holder.split(".")
    for length in range(1, len(parts)):
        end = ".".join(parts[-length:])
        if not any(other == end or other.endswith("." + end) for other in others):
            return end
    return holder
