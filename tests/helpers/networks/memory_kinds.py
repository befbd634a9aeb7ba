"""Every kind of place in which a network may keep what it remembers, by name."""

from __future__ import annotations

import argparse
import array
import ctypes
import itertools
import multiprocessing
import threading
from collections import ChainMap, Counter, UserDict, UserList, deque
from collections.abc import Callable
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import numpy as np
import torch
from memories import (
    Evicting,
    Frozen,
    Guarded,
    Key,
    Logged,
    Net,
    Pair,
    Slotted,
    Stack,
    Upper,
    count_globally,
    counted_globally,
    held,
    hyperparameters,
    in_a_bound_method,
    in_a_closure,
    in_a_decorator,
    in_a_default,
    in_a_partial,
    in_attributes_of_a_function,
    in_keywords_of_a_partial,
    in_weak,
    numbered,
    of_a_class,
    of_a_class_that_is_called,
    of_an_enumeration,
    set_item,
)


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_double))


def structured() -> Any:
    return np.zeros(2, dtype=[("a", "i4"), ("b", "O")])


def objects() -> Any:
    made = np.empty(2, dtype=object)
    made[:] = [[1], {"a": 1}]
    return made


def change_objects(memory: Any) -> None:
    memory[0].append(2)
    memory[1] = None


def change_all(memory: Any) -> None:
    memory.update("aab")


def shared(memory: Any) -> None:
    with memory.get_lock():
        memory.value += 1


def drawing() -> tuple[Net, Callable[[], Any]]:
    def numbers() -> Any:
        number = 0
        while True:
            number += 1
            yield number

    made = numbers()
    return numbered(lambda: next(made), lambda: None)


def passed_on() -> tuple[Net, Callable[[], Any]]:
    made = (2 * number for number in itertools.count())
    return numbered(lambda: next(made), lambda: None)


def step_on(memory: Any) -> None:
    next(memory)


def count_guarded(memory: Any) -> None:
    with memory.lock:
        memory.seen += 1


PUT_BACK: dict[str, Callable[[], tuple[Any, Callable[[], Any]]]] = {
    "Counter": held(lambda: Counter("ab"), change_all),
    "UserDict": held(lambda: UserDict(a=1), set_item("b", 2)),
    "derived from UserDict": held(lambda: Upper(a=1), set_item("a", 2)),
    "UserList": held(lambda: UserList([1]), lambda memory: memory.append(2)),
    "ChainMap": held(lambda: ChainMap({"a": 1}, {"b": 1}), set_item("b", 2)),
    "WeakKeyDictionary": in_weak(WeakKeyDictionary),
    "WeakValueDictionary": in_weak(WeakValueDictionary),
    "WeakSet": in_weak(WeakSet),
    "bytearray": held(lambda: bytearray(b"ab"), lambda memory: memory.extend(b"c")),
    "array": held(lambda: array.array("d", [1.0]), lambda memory: memory.append(2.0)),
    "ctypes": held(Point, lambda memory: setattr(memory, "y", 2.0)),
    "array of ctypes": held(lambda: (ctypes.c_int * 3)(), set_item(1, 7)),
    "value shared by processes": held(lambda: multiprocessing.Value("i", 0), shared),
    "derived from dict": held(Logged, set_item("a", 1)),
    "derived from OrderedDict": held(lambda: Evicting({1: 1, 2: 2}), set_item(3, 3)),
    "derived from list": held(lambda: Stack([3, 1]), lambda memory: memory.append(2)),
    "derived from set": held(lambda: type("Own", (set,), {})([1]), lambda memory: memory.add(2)),
    "derived from deque": held(lambda: type("Own", (deque,), {})([1, 2], 2), lambda memory: memory.append(3)),
    "NamedTuple": held(lambda: Pair(torch.zeros(2), [1]), lambda memory: (memory.mean.add_(1), memory.seen.append(2))),
    "frozen set of objects": held(lambda: frozenset([Slotted()]), lambda memory: next(iter(memory)).count()),
    "key of a dictionary": held(lambda: {Key(): 1}, lambda memory: vars(next(iter(memory))).update(seen=1)),
    "object array": held(objects, change_objects),
    "structured array": held(structured, set_item(0, (1, "x"))),
    "masked array": held(lambda: np.ma.array([1, 2], mask=[0, 1]), lambda memory: memory.mask.__setitem__(0, True)),
    "number of an array": held(lambda: {"a": np.zeros(())}, lambda memory: memory["a"].__iadd__(1)),
    "slots": in_a_bound_method,
    "frozen dataclass with slots": held(Frozen, lambda memory: memory.seen.append(1)),
    "argparse.Namespace": held(lambda: argparse.Namespace(tau=1.0), lambda memory: setattr(memory, "tau", 0.9)),
    "threading.local": held(threading.local, lambda memory: setattr(memory, "tau", 0.9)),
    "view of a dictionary": held(lambda: [{"a": [1]}], lambda memory: MappingProxyType(memory[0])["a"].append(2)),
    "class": of_a_class,
    "class that is called": of_a_class_that_is_called,
    "enumeration": of_an_enumeration,
    "closure": in_a_closure,
    "decorator": in_a_decorator,
    "partial": in_a_partial,
    "keywords of a partial": in_keywords_of_a_partial,
    "attributes of a function": in_attributes_of_a_function,
    "default of an argument": in_a_default,
    "script": lambda: numbered(count_globally, counted_globally),
    "hyperparameters": hyperparameters,
}

SAID: dict[str, tuple[Callable[[], tuple[Any, Callable[[], Any]]], str]] = {
    "generator": (drawing, "generator "),
    "generator over a counter": (passed_on, "generator "),
    "count": (held(itertools.count, step_on), "count memory moved on"),
    "cycle": (held(lambda: itertools.cycle([1, 2, 3]), step_on), "cycle memory moved on"),
    "list": (held(lambda: iter([1, 2, 3]), step_on), "list_iterator memory moved on"),
    "zip": (held(lambda: zip(itertools.count(), "abc", strict=False), step_on), "zip memory moved on"),
    "enumerate": (
        held(lambda: {"a": enumerate("abc")}, lambda memory: next(memory["a"])),
        "enumerate memory['a'] moved",
    ),
    "map": (held(lambda: map(abs, itertools.count()), step_on), "map memory moved on"),
    "lock": (held(Guarded, count_guarded), "attribute memory.seen is 1 now, and was 0, that is not put back"),
}
