"""Configs of ``mergekit`` that leave layers out of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_gw.export.names import ExportError, places_of


def to_mergekit(removed: Sequence[str], everything: Sequence[str], model: str) -> dict[str, Any]:
    """A passthrough merge of one model with itself that keeps every layer but `removed`.

    Args:
        removed: Names of the layers that are left out.
        everything: Names of all layers of the model.
        model: Its name or folder, as mergekit takes it.

    Returns:
        ``slices``, whose ``layer_range`` counts from 0 and does not include its end.

    Raises:
        ExportError: If nothing or everything would be left out, the layers are in no list or several, or `everything`
            is not all of one list from 0 on.

    Example:
        >>> names = [f"model.layers.{k}" for k in range(6)]
        >>> config = to_mergekit(names[2:4], names, "a/model")
        >>> [part["sources"][0]["layer_range"] for part in config["slices"]]
        [[0, 2], [4, 6]]
    """
    indices, without = places_of(removed)
    if without:
        raise ExportError(f"mergekit leaves out layers by their index in a list, and {', '.join(without)} has none.")
    if len(indices) != 1:
        raise ExportError(
            f"mergekit leaves out layers of one list, and these are in {', '.join(indices) or 'none: there are none'}."
        )
    holder, gone = next(iter(indices.items()))
    there = places_of(everything)[0].get(holder, [])
    if there != list(range(len(there))):
        raise ExportError(
            f"The history does not have all layers of {holder!r}, but those with the indices {there}, so it cannot be "
            "said which are to stay. Look at all of them."
        )
    kept = [index for index in there if index not in gone]
    if not kept:
        raise ExportError(f"All layers of {holder!r} would be left out: the group is the whole network.")
    ranges: list[list[int]] = []
    for index in kept:
        if ranges and ranges[-1][1] == index:
            ranges[-1][1] = index + 1
        else:
            ranges.append([index, index + 1])
    slices = [{"sources": [{"model": model, "layer_range": part}]} for part in ranges]
    return {"merge_method": "passthrough", "slices": slices}
