"""What code remembers: classes, the cells of closures, names of a script, and how far an iterator has got."""

from __future__ import annotations

import itertools
import operator
import sysconfig
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, GeneratorType
from typing import Any

import lightning_gw
from lightning_gw.activations.isolation.state import Attributes, SavedState

_MADE: tuple[Any, ...] = ([], (), {}, {}.values(), {}.items(), set(), range(0), range(2**70), "", "é", b"")
#: Iterators of Python itself, which say how far they have got and cannot be turned back.
ITERATORS: tuple[type, ...] = (
    GeneratorType,
    itertools.count,
    itertools.cycle,
    itertools.chain,
    itertools.islice,
    itertools.repeat,
    enumerate,
    zip,
    map,
    filter,
    reversed,
    *(type(iter(made)) for made in _MADE),
)
#: How deep iterators are followed into those that they draw from.
_DEEPEST = 4


class ClassAttributes(Attributes):
    """The attributes of a class, but for those that Python gives it."""

    kind = "class attribute"

    def now(self) -> Mapping[str, Any]:
        return own_attributes(self.live)

    def assign(self, key: str, value: Any) -> None:
        type.__setattr__(self.live, key, value)

    def remove(self, key: str) -> None:
        type.__delattr__(self.live, key)


class Slots(Attributes):
    """The attributes of an object that it keeps in slots."""

    def now(self) -> Mapping[str, Any]:
        return held_in_slots(self.live)

    def assign(self, key: str, value: Any) -> None:
        object.__setattr__(self.live, key, value)

    def remove(self, key: str) -> None:
        object.__delattr__(self.live, key)


class GlobalNames(Attributes):
    """Of the names of a script or module those that some function of its own uses."""

    kind = "global variable"

    def __init__(self, name: str, live: dict[str, Any], used: Sequence[str]) -> None:
        self._used = used
        super().__init__(name, live)

    def now(self) -> Mapping[str, Any]:
        return {key: self.live[key] for key in self._used if key in self.live}


class Cell(Attributes):
    """A variable of an outer function that an inner one uses."""

    kind = "variable"

    def now(self) -> Mapping[str, Any]:
        try:
            return {"": self.live.cell_contents}
        except ValueError:  # nothing was put into it yet
            return {}

    def assign(self, key: str, value: Any) -> None:
        self.live.cell_contents = value

    def remove(self, key: str) -> None:
        del self.live.cell_contents


class Iterated:
    """How far an iterator has got, which is noticed only: none can be turned back."""

    def __init__(self, name: str, live: Any) -> None:
        self.name = name
        self.live = live
        self.before = _reached(live)

    def changes(self) -> list[str]:
        return [] if _reached(self.live) == self.before else [f"{type(self.live).__name__} {self.name} moved on"]

    def put_back(self) -> list[str]:
        return self.changes()


class Noticed:
    """Something that is not put back; that it changed is said.

    Args:
        saved: What sees it.
        why: Why it is left as it is, after what changed.
    """

    def __init__(self, saved: SavedState, why: str) -> None:
        self.name = saved.name
        self._saved = saved
        self._why = why

    def changes(self) -> list[str]:
        return [f"{said}, {self._why}" for said in self._saved.changes()]

    def put_back(self) -> list[str]:
        return self.changes()


def own_attributes(kind: type) -> dict[str, Any]:
    """What a class holds by itself, without what Python keeps in it."""
    return {
        key: value
        for key, value in vars(kind).items()
        if not (key.startswith("__") and key.endswith("__")) and key != "_abc_impl"
    }


def held_in_slots(value: Any) -> dict[str, Any]:
    """The attributes that an object has in slots."""
    found = {}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for key in (slots,) if isinstance(slots, str) else tuple(slots):
            mangled = f"_{kind.__name__.lstrip('_')}{key}" if key.startswith("__") and not key.endswith("__") else key
            if key not in ("__dict__", "__weakref__") and hasattr(value, mangled):
                found[mangled] = getattr(value, mangled)
    return found


def names_used(function: FunctionType) -> tuple[str, ...]:
    """Names of global variables that the code of a function uses, if it is the user's own and no package's."""
    return _global_names(function.__code__) if _is_own(function.__code__.co_filename) else ()


@cache
def _global_names(code: CodeType) -> tuple[str, ...]:
    inner = [name for part in code.co_consts if isinstance(part, CodeType) for name in _global_names(part)]
    return tuple(dict.fromkeys((*code.co_names, *inner)))


@cache
def _is_own(file: str) -> bool:
    """Whether code was written by the user: neither Python's, nor installed, nor ours."""
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed.add(str(Path(lightning_gw.__file__).parent))
    return not file.startswith("<frozen") and not any(Path(file).is_relative_to(folder) for folder in installed)


def _reached(iterator: Any, depth: int = 0) -> Any:
    """Numbers that tell how far an iterator has got."""
    if isinstance(iterator, GeneratorType):
        frame = iterator.gi_frame
        if frame is None:
            return "over"
        held = list(frame.f_locals.values()) if depth < _DEEPEST else []
        return frame.f_lasti, [_reached(value, depth + 1) for value in held]
    if isinstance(iterator, bool | int | float | str | None):
        return iterator
    if not isinstance(iterator, Iterator):
        return id(iterator)
    if isinstance(iterator, itertools.count | itertools.repeat):
        return repr(iterator) if isinstance(iterator, itertools.count) else operator.length_hint(iterator, -1)
    return operator.length_hint(iterator, -1), _inner(iterator, depth)


def _inner(iterator: Any, depth: int) -> list[Any]:
    """How far those have got that an iterator draws from, as far as Python tells."""
    if depth >= _DEEPEST:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 deprecates asking some of them, 3.14 refuses
        try:
            parts = iterator.__reduce__()
        except Exception:
            return []
    flat = [part for group in parts[1:] for part in (group if isinstance(group, tuple) else (group,))]
    return [_reached(part, depth + 1) for part in flat if isinstance(part, int | Iterator)]
