"""Names of layers: where each stands in its list of layers, and regular expressions for what is inside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lightning_gw.utilities.calls import module_of


class ExportError(ValueError):
    """These layers cannot be said in that form; the message says why, and what to do."""


class Place(NamedTuple):
    """A layer's place in a list of layers.

    Attributes:
        holder: Name of the list, such as ``model.layers``.
        number: From 0.
    """

    holder: str
    number: int


def place_of(name: str) -> Place | None:
    """Where a layer such as ``model.layers.3`` stands; None for one that is in no list, such as an embedding."""
    holder, _, last = name.rpartition(".")
    return Place(holder, int(last)) if last.isdigit() and holder else None


def places_of(names: Sequence[str]) -> tuple[dict[str, list[int]], list[str]]:
    """Indices of layers by the list they are in, in ascending order, and the names of those that are in none."""
    indices: dict[str, list[int]] = {}
    without: list[str] = []
    for name in names:
        if place := place_of(name):
            indices.setdefault(place.holder, []).append(place.number)
        else:
            without.append(name)
    return {holder: sorted(found) for holder, found in indices.items()}, without


def seen_from(names: Iterable[str], inside: str) -> tuple[str, ...]:
    """Names as the module `inside` has them, each once; a tool is often given a part of the LightningModule.

    Raises:
        ExportError: If one of them is not in there.
    """
    known = list(dict.fromkeys(module_of(name) for name in names))
    if not inside:
        return tuple(known)
    if outside := [name for name in known if not name.startswith(inside + ".")]:
        raise ExportError(
            f"Layer {outside[0]!r} is not inside {inside!r}; the names there begin with {inside + '.'!r}."
        )
    return tuple(name.removeprefix(inside + ".") for name in known)


def to_patterns(layers: Sequence[str]) -> list[str]:
    """Regular expressions that match the names of all parameters in these layers, and of no others.

    One for each list of layers, anchored at the beginning, so that ``re.match`` and ``re.fullmatch`` both serve.

    Example:
        >>> to_patterns(["model.layers.1", "model.layers.2"])
        ['^model\\\\.layers\\\\.(?:1|2)\\\\..*']
    """
    indices, without = places_of(layers)
    single = [f"^{re.escape(name)}\\..*" for name in without]
    return single + [f"^{re.escape(holder)}\\.(?:{numbers(found)})\\..*" for holder, found in indices.items()]


def numbers(indices: Iterable[int]) -> str:
    """``1|2|3``."""
    return "|".join(map(str, indices))
