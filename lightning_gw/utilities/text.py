"""Counts and lists in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: Names that a folded note lists.
_MOST_NAMES = 4

_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def number_word(count: int) -> str:
    """A count in words up to twelve, in digits beyond."""
    return _NUMBERS[count] if 0 <= count < len(_NUMBERS) else str(count)


def plural(count: int, noun: str) -> str:
    """``one layer``, ``nine layers``."""
    return f"{number_word(count)} {noun}" if count == 1 else f"{number_word(count)} {noun}s"


def listed(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def numbered(layer: int, names: Sequence[str] = ()) -> str:
    """A layer (0-based) as people count it, with its name where there are names: ``3``, ``3 (blocks.1)``."""
    return f"{layer + 1} ({names[layer]})" if names else f"{layer + 1}"


def bare_names(layers: Sequence[str]) -> tuple[str, ...]:
    """Layer names without the path that all of them share: ``net.layer1.0`` is ``layer1.0`` beside ``net.stem``."""
    split = [name.split(".") for name in layers]
    shared = 0
    while len(split) > 1 and all(len(parts) > shared + 1 and parts[shared] == split[0][shared] for parts in split):
        shared += 1
    if shared and all(re.fullmatch(r"\d+", ".".join(parts[shared:])) for parts in split):
        shared -= 1  # a bare number would be mistaken for the layer's place, which counts from 1
    return tuple(".".join(parts[shared:]) for parts in split)


def short_names(layers: Sequence[str], longest: int = 16) -> tuple[str, ...]:
    """The `bare_names`, cut to a length at which they fit beside an axis or into a sentence.

    Names that are too long lose the ending all share, then components at their left.

    Args:
        layers: Full names, such as ``model.blocks.3``.
        longest: Longest name that is kept whole.

    Returns:
        Names such as ``blocks.3``, one per layer.
    """
    kept = [name.split(".") for name in bare_names(layers)]
    if any(len(".".join(parts)) > longest for parts in kept):
        while len(kept) > 1 and all(len(parts) > 1 and parts[-1] == kept[0][-1] for parts in kept):
            kept = [parts[:-1] for parts in kept]
    whole = ["".join(c if c.isprintable() else "�" for c in ".".join(parts)) for parts in kept]
    cut = [name if len(name) <= longest else "…" + _end_of(name, longest - 1) for name in whole]
    # Two stacks of a network may have layers of one name at their ends.
    return tuple(short if cut.count(short) == 1 else name for short, name in zip(cut, whole, strict=True))


def _end_of(name: str, longest: int) -> str:
    """As many whole components as fit; of a last one that does not, its end."""
    end = name[-longest:]
    return end if "." not in end or name[-longest - 1] == "." else end.split(".", 1)[1]


def folded(notes: Iterable[str]) -> tuple[str, ...]:
    """Notes that say the same of several layers as one, at the place of the first.

    Example:
        >>> folded(["Layer a: it is flat.", "The probe is small.", "Layer b: it is flat."])
        ('Layers a and b: it is flat.', 'The probe is small.')
    """
    named: dict[str, list[str]] = {}
    for note in notes:
        found = re.match(r"Layer '?([^\s':]+)'?: (.*)", note, re.DOTALL)
        name, rest = (found[1], found[2]) if found else ("", note)
        names = named.setdefault(rest, [])
        if name and name not in names:
            names.append(name)
    return tuple(_of_layers(names) + rest for rest, names in named.items())


def _of_layers(names: Sequence[str]) -> str:
    if len(names) <= 1:
        return "".join(f"Layer {name}: " for name in names)
    more = len(names) - _MOST_NAMES
    shown = names if more <= 1 else [*names[:_MOST_NAMES], f"{more} more"]
    return f"Layers {listed(shown)}: "
