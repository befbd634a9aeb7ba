"""Networks that keep what they remember in every place there is, each with what tells of it."""

from __future__ import annotations

import argparse
import ctypes
import enum
import functools
import threading
from collections import Counter, OrderedDict, UserDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

Step = Callable[[Any], None]
CALLS, SEEN = 0, Counter[str]()


class Net(nn.Module):
    """Does what it is told in every forward pass."""

    remember: Step

    def forward(self, x: Tensor) -> Tensor:
        self.remember(self)
        return x


class Upper(UserDict[str, int]):
    def __setitem__(self, key: str, value: int) -> None:
        super().__setitem__(key.upper(), value)


class Logged(dict[str, int]):
    """Refuses to be cleared, counts what it is given, and evicts."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def __setitem__(self, key: str, value: int) -> None:
        self.given += 1
        super().__setitem__(key, value)

    def clear(self) -> None:
        raise RuntimeError("it is not cleared")


class Evicting(OrderedDict[int, int]):
    def __setitem__(self, key: int, value: int) -> None:
        super().__setitem__(key, value)
        if len(self) > 2:
            self.popitem(last=False)


class Stack(list[int]):
    def append(self, value: int) -> None:
        super().append(value)
        self.sort(reverse=True)


class Pair(NamedTuple):
    mean: Tensor
    seen: list[int]


class Slotted:
    __slots__ = ("__hidden", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.__hidden = 0

    def count(self) -> None:
        self.seen += 1
        self.__hidden += 1

    def both(self) -> tuple[int, int]:
        return self.seen, self.__hidden


@dataclass(frozen=True, slots=True)
class Frozen:
    seen: list[int] = field(default_factory=list)


class Key:
    """A thing that weak containers take."""


class Mode(enum.Enum):
    ONLY = 0


class Base(Net):
    calls = 0
    table: ClassVar[dict[str, int]] = {}
    mean = torch.zeros(2)


class Derived(Base):
    pass


class Register:
    entries: ClassVar[list[int]] = []

    @classmethod
    def enter(cls) -> None:
        cls.entries.append(1)
        cls.last = len(cls.entries)  # type: ignore[attr-defined]


class Guarded:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seen = 0


def held(make: Callable[[], Any], change: Step) -> Callable[[], tuple[Net, Callable[[], Any]]]:
    """A network that keeps what `make` gives and changes it by `change`; with what tells of it."""

    def build() -> tuple[Net, Callable[[], Any]]:
        net = Net()
        net.memory = make()
        net.remember = lambda self: change(self.memory)
        return net, lambda: said_of(net.memory)

    return build


def said_of(memory: Any) -> str:
    if isinstance(memory, frozenset):
        return str([slotted.both() for slotted in memory])
    if isinstance(memory, threading.local):
        return str(vars(memory))
    if isinstance(memory, ctypes.Structure | ctypes.Array):
        return bytes(memoryview(memory)).hex()
    return f"{memory!r} {getattr(memory, '__dict__', '')}"


def set_item(key: Any, value: Any) -> Step:
    return lambda memory: memory.__setitem__(key, value)


def numbered(step: Callable[[], None], tell: Callable[[], Any]) -> tuple[Net, Callable[[], Any]]:
    net = Net()
    net.remember = lambda self: step()
    return net, tell


def in_a_closure() -> tuple[Net, Callable[[], Any]]:
    calls, trace, mean = 0, [1], torch.zeros(2)

    def step() -> None:
        nonlocal calls
        calls += 1
        trace.append(calls)
        mean.add_(1)

    return numbered(step, lambda: f"{calls} {trace} {mean}")


def in_a_decorator() -> tuple[Net, Callable[[], Any]]:
    seen: Counter[str] = Counter()

    def counted(function: Any) -> Any:
        @functools.wraps(function)
        def inner(*args: Any) -> Any:
            seen[function.__name__] += 1
            return function(*args)

        return inner

    class Counted(nn.Module):
        @counted
        def forward(self, x: Tensor) -> Tensor:
            return x

    return Counted(), lambda: dict(seen)  # type: ignore[return-value]


def in_a_partial() -> tuple[Net, Callable[[], Any]]:
    def step(trace: list[int], *, table: dict[str, int]) -> None:
        trace.append(1)
        table["a"] = len(trace)

    kept = functools.partial(step, [], table={})
    return numbered(kept, lambda: f"{kept.args} {kept.keywords}")


def in_keywords_of_a_partial() -> tuple[Net, Callable[[], Any]]:
    kept = functools.partial(dict, a=1)
    return numbered(lambda: kept.keywords.update(a=2), lambda: dict(kept.keywords))


def in_a_bound_method() -> tuple[Net, Callable[[], Any]]:
    slotted = Slotted()
    net = Net()
    net.remember = lambda self: self.step()
    net.step = slotted.count
    return net, slotted.both


def in_attributes_of_a_function() -> tuple[Net, Callable[[], Any]]:
    def step() -> None:
        step.calls = getattr(step, "calls", 0) + 1  # type: ignore[attr-defined]

    return numbered(step, lambda: vars(step).copy())


def in_a_default() -> tuple[Net, Callable[[], Any]]:
    def step(trace: list[int] = [], *, table: dict[int, int] = {}) -> None:  # noqa: B006
        trace.append(1)
        table[len(trace)] = 1

    return numbered(step, lambda: f"{step.__defaults__} {step.__kwdefaults__}")


def of_a_class() -> tuple[Net, Callable[[], Any]]:
    def remember(self: Any) -> None:
        type(self).calls += 1
        Base.calls += 1
        self.table["a"] = 1
        self.mean += 1

    net = Derived()
    net.remember = remember
    return net, lambda: f"{Base.calls} {Derived.calls} {vars(Derived).get('calls')} {Base.table} {Base.mean}"


def of_a_class_that_is_called() -> tuple[Net, Callable[[], Any]]:
    return numbered(Register.enter, lambda: f"{Register.entries} {getattr(Register, 'last', None)}")


def of_an_enumeration() -> tuple[Net, Callable[[], Any]]:
    return numbered(lambda: setattr(Mode.ONLY, "seen", 1), lambda: vars(Mode.ONLY).copy())


def count_globally() -> None:
    global CALLS
    CALLS += 1
    SEEN["a"] += 1


def counted_globally() -> str:
    return f"{CALLS} {SEEN}"


def in_weak(kind: type) -> Callable[[], tuple[Net, Callable[[], Any]]]:
    def build() -> tuple[Net, Callable[[], Any]]:
        keys = [Key(), Key()]
        net = Net()
        net.memory = kind([keys[0]] if kind is WeakSet else {keys[0]: 0} if kind is WeakKeyDictionary else {0: keys[0]})
        net.keys = keys

        def remember(self: Any) -> None:
            if kind is WeakSet:
                self.memory.add(self.keys[1])
            elif kind is WeakKeyDictionary:
                self.memory[self.keys[0]] += 1
                self.memory[self.keys[1]] = 1
            else:
                self.memory[1] = self.keys[1]

        net.remember = remember
        return net, lambda: [dict(net.memory) if kind is not WeakSet else set(net.memory)]

    return build


def hyperparameters() -> tuple[Any, Callable[[], Any]]:
    class Tempered(pl.LightningModule):
        def __init__(self, tau: float = 1.0, table: Any = None) -> None:
            super().__init__()
            self.save_hyperparameters()

        def forward(self, x: Tensor) -> Tensor:
            self.hparams.tau *= 0.99
            self.hparams.table.a.append(1)
            return x * self.hparams.tau

    module = Tempered(table=argparse.Namespace(a=[1]))
    return module, lambda: f"{module.hparams} {module.hparams.table}"
