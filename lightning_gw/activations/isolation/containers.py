"""What containers hold, put back in place: those of Python, those derived from them, weak ones, and raw bytes.

The methods of the built-in types are used on what is derived from them, since those of a class of somebody's own may
count, refuse or evict.
"""

from __future__ import annotations

import array
import ctypes
from collections import OrderedDict, deque
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from lightning_gw.activations.isolation.state import confirm

_MAPPINGS = (OrderedDict, dict, WeakKeyDictionary, WeakValueDictionary)
_ADDING: dict[type, str] = {list: "append", deque: "append", set: "add", WeakSet: "add"}
_FIXED = (tuple, frozenset)
#: Containers whose content is put back when it was changed in place, and all that is derived from them.
CONTAINERS = (*_MAPPINGS, *_ADDING)
_EXACT = frozenset((*CONTAINERS, *_FIXED))
#: What holds bytes that can be written over.
BUFFERS = (bytearray, array.array, ctypes.Array, ctypes.Structure, ctypes.Union, ctypes._SimpleCData)


def entries_of(container: Any) -> list[Any]:
    """What a container, tuple or frozen set holds, in its order; of a mapping pairs of key and value."""
    kind = _kind(container)
    return list(kind.items(container) if kind in _MAPPINGS else kind.__iter__(container))


class Container:
    """The entries of a container."""

    def __init__(self, name: str, live: Any) -> None:
        self.name = name
        self.live = live
        self._type = _kind(live)
        self.before = entries_of(live)

    def _same(self) -> bool:
        """Whether it holds the same objects in the same order; equal ones are not enough."""
        now = entries_of(self.live)
        if len(now) != len(self.before):
            return False
        if self._type in _MAPPINGS:
            return all(
                (a is b or _equal(a, b)) and one is other for (a, one), (b, other) in zip(now, self.before, strict=True)
            )
        if self._type in (set, WeakSet):
            return {id(entry) for entry in now} == {id(entry) for entry in self.before}
        return all(a is b for a, b in zip(now, self.before, strict=True))

    def changes(self) -> list[str]:
        if self._same():
            return []
        before, now = len(self.before), len(entries_of(self.live))
        how = "has other entries" if before == now else f"has {now} entries, and had {before}"
        return [f"{type(self.live).__name__} {self.name} {how}"]

    def put_back(self) -> list[str]:
        if self._same():
            return []
        self._type.clear(self.live)
        if self._type in _MAPPINGS:
            for key, value in self.before:
                self._type.__setitem__(self.live, key, value)
        else:
            add = getattr(self._type, _ADDING[self._type])
            for entry in self.before:
                add(self.live, entry)
        confirm(self._same())
        return []


class BufferContent:
    """The bytes of a `bytearray`, of an `array.array`, or of what `ctypes` lays out."""

    def __init__(self, name: str, live: Any) -> None:
        self.name = name
        self.live = live
        self.before = bytes(memoryview(live))

    def changes(self) -> list[str]:
        return (
            [] if bytes(memoryview(self.live)) == self.before else [f"{type(self.live).__name__} {self.name} changed"]
        )

    def put_back(self) -> list[str]:
        if not self.changes():
            return []
        if isinstance(self.live, bytearray):
            bytearray.__setitem__(self.live, slice(None), self.before)
        elif isinstance(self.live, array.array):
            array.array.__setitem__(self.live, slice(None), array.array(self.live.typecode, self.before))
        else:
            ctypes.memmove(ctypes.addressof(self.live), self.before, len(self.before))
        confirm(not self.changes())
        return []


def _kind(container: Any) -> Any:
    kind = type(container)
    return kind if kind in _EXACT else next(part for part in kind.__mro__ if part in _EXACT)


def _equal(one: Any, other: Any) -> bool:
    """Equality of what may be tensors or arrays, which have no truth value, or may refuse to be compared."""
    try:
        return bool(one == other)
    except Exception:
        return False
