"""What modules remember besides their weights, so that a look can be undone: attributes, containers, generators.

A module's memory is followed through plain containers and plain objects, also to modules that are kept out of the
registered ones in a list or an object. What is found is put back in place: containers get the same objects again, and
tensors, arrays and generators their content.
"""

from __future__ import annotations

import copy
import io
import queue
import random
import socket
import sys
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

#: Plain containers whose content is put back when it was changed in place.
_CONTAINERS = (list, dict, set, deque, OrderedDict, defaultdict)
#: How far memory is followed from a module: ``module.cache.layers[0]["key"]`` is four steps away.
_DEEPEST = 8
#: Containers of more entries are put back, but what lies inside them is not looked at.
_WIDEST = 10_000
#: Bytes of tensors and arrays inside containers and objects that are copied; of more, changes are only noticed.
_COPIED = 256 * 2**20
#: Packages whose objects manage something of their own that is not to be turned back.
_FOREIGN = frozenset({"torch", "pytorch_lightning", "lightning", "lightning_fabric", "numpy", "wandb"}) | (
    sys.stdlib_module_names - {"__main__", "types"}
)
#: Who holds one of these works with other threads or the world outside, and is left alone.
_OUTSIDE = (
    type(threading.Lock()),
    type(threading.RLock()),
    threading.Thread,
    threading.Condition,
    threading.Event,
    queue.Queue,
    socket.socket,
    io.IOBase,
)
_DATA = (torch.utils.data.Dataset, torch.utils.data.DataLoader, torch.utils.data.Sampler, torch.optim.Optimizer)
_MISSING = object()


class _Kept(Protocol):
    name: str

    def changes(self) -> list[str]:
        """What is different now, in plain words."""

    def put_back(self) -> list[str]:
        """Undo it; what cannot be undone, in plain words."""


class Memory:
    """Everything that a module and all it holds remember, as it is when this is made.

    Args:
        module: The network.
        exact: Keep a copy of the weights too, so that `changes` sees every bit of them. Without it a change of theirs
            is noticed by their version counter, which assignments through ``.data`` do not move.

    Attributes:
        modules: Name → module, those first that are registered, then those that plain containers and objects hold.
    """

    def __init__(self, module: nn.Module, exact: bool = False) -> None:
        self.modules: dict[str, nn.Module] = {}
        self._exact = exact
        self._kept: list[_Kept] = []
        self._seen: dict[int, Any] = {}  # holds what it has seen, so that no id is given out twice
        self._room = _COPIED
        for name, child in module.named_modules():
            self._seen[id(child)] = child
            self.modules[name] = child
        for name, child in list(self.modules.items()):
            self._keep_module(name, child)

    def changes(self) -> list[str]:
        """What is different now, in plain words."""
        return [said for kept in self._kept for said in kept.changes()]

    def restore(self) -> list[str]:
        """Put everything back.

        Returns:
            What could not be put back, in plain words.
        """
        with torch.no_grad():
            return [said for kept in self._kept for said in kept.put_back()]

    def _keep_module(self, name: str, module: nn.Module) -> None:
        attributes = vars(module)
        self._kept.append(_Attributes(name, attributes))
        # A sharded module exchanges its parameters while it runs, and keeps book of that elsewhere.
        structure = ("_buffers",) if is_sharded(module) else ("_parameters", "_buffers", "_modules")
        for key, value in list(attributes.items()):
            if key in ("_parameters", "_buffers", "_modules"):
                if key in structure and type(value) in _CONTAINERS:
                    self._kept.append(_Container(_path(name, key), value))
                for held_as, held in value.items():
                    self._keep(_path(name, held_as), held, 1)
            else:
                self._keep(_path(name, key), value, 1)

    def _keep(self, name: str, value: Any, depth: int) -> None:
        if value is None or isinstance(value, bool | int | float | str | bytes) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, nn.Parameter):
            if not nn.parameter.is_lazy(value) and not value.is_meta:
                self._kept.append(_Weight(name, value, self._exact))
        elif isinstance(value, Tensor):
            if not nn.parameter.is_lazy(value) and not value.is_meta:
                self._kept.append(_TensorContent(name, value, self._fits(value.numel() * value.element_size(), depth)))
        elif isinstance(value, np.ndarray):
            if self._fits(value.nbytes, depth) and not value.dtype.hasobject:
                self._kept.append(_ArrayContent(name, value, value.copy()))
        elif isinstance(value, nn.Module):
            self.modules[name] = value
            for inner, child in value.named_modules():
                self._seen[id(child)] = child
                self.modules[_path(name, inner) if inner else name] = child
                self._keep_module(_path(name, inner) if inner else name, child)
        elif (state := _state_of(value)) is not None:
            self._kept.append(_GeneratorState(name, *state))
        elif type(value) in _CONTAINERS or type(value) is tuple:
            if type(value) is not tuple:
                self._kept.append(_Container(name, value))
            if depth < _DEEPEST and len(value) <= _WIDEST:
                for key, held in value.items() if isinstance(value, dict) else enumerate(value):
                    self._keep(f"{name}[{key!r}]", held, depth + 1)
        elif _is_plain_object(value):
            self._kept.append(_Attributes(name, vars(value)))
            if depth < _DEEPEST:
                for key, held in list(vars(value).items()):
                    self._keep(_path(name, key), held, depth + 1)

    def _fits(self, size: int, depth: int) -> bool:
        """Whether there is room for a copy; what a module itself holds is always copied."""
        if depth > 1:
            self._room -= size
        return depth == 1 or self._room >= 0


@contextmanager
def kept_generators(*roots: Any) -> Iterator[None]:
    """Put back every random generator that data sets, loaders, samplers and transforms keep to themselves.

    Args:
        roots: What to look for generators in, through attributes and containers, of whatever class.
    """
    found: list[_GeneratorState] = []
    seen: dict[int, Any] = {}
    # The nearest first, so that what can be reached in several ways is not given up for being far in one of them.
    todo = deque((root, 0) for root in roots)
    while todo and len(seen) < _WIDEST:
        value, depth = todo.popleft()
        if id(value) in seen or isinstance(value, bool | int | float | str | bytes | Tensor | np.ndarray | type):
            continue
        seen[id(value)] = value
        if (state := _state_of(value)) is not None:
            found.append(_GeneratorState("", *state))
        elif depth <= _DEEPEST:
            inside: list[Any] = []
            if isinstance(value, list | tuple | set | dict) and len(value) <= _WIDEST:
                inside = list(value.values()) if isinstance(value, dict) else list(value)
            elif type(value).__module__.partition(".")[0] not in ("pytorch_lightning", "lightning", "builtins"):
                inside = list(getattr(value, "__dict__", {}).values())
            todo += [(held, depth + 1) for held in inside]
    try:
        yield
    finally:
        for generator in found:
            generator.put_back()


def is_sharded(module: nn.Module) -> bool:
    """Whether the weights of a module are spread over processes, as FSDP and DeepSpeed do it."""
    kinds = {kind.__name__ for kind in type(module).__mro__}
    return bool(kinds & {"FSDPModule", "FullyShardedDataParallel"}) or any(
        type(weight).__name__ in ("DTensor", "FlatParameter") or hasattr(weight, "ds_id")
        for weight in module._parameters.values()
        if weight is not None
    )


@dataclass
class _Attributes:
    """The attributes of a module or a plain object."""

    name: str
    live: dict[str, Any]

    def __post_init__(self) -> None:
        self.before = dict(self.live)

    def changes(self) -> list[str]:
        keys = list(dict.fromkeys([*self.before, *self.live]))
        return [
            f"attribute {_path(self.name, key)} {said}"
            for key in keys
            if (said := _difference(self.before.get(key, _MISSING), self.live.get(key, _MISSING)))
        ]

    def put_back(self) -> list[str]:
        for key in [key for key in self.live if key not in self.before]:
            del self.live[key]
        for key, value in self.before.items():
            if self.live.get(key, _MISSING) is not value:
                self.live[key] = value
        return []


class _Container:
    """The entries of a plain container."""

    def __init__(self, name: str, live: Any) -> None:
        self.name = name
        self.live = live
        self.before = copy.copy(live)

    def _same(self) -> bool:
        """Whether it holds the same objects in the same order; equal ones are not enough."""
        if len(self.live) != len(self.before):
            return False
        if isinstance(self.live, set):
            return bool(self.live == self.before)
        pairs: Any = zip(self.live, self.before, strict=True)
        if isinstance(self.live, dict):
            values = zip(self.live.values(), self.before.values(), strict=True)
            return all(a is b or a == b for a, b in pairs) and all(a is b for a, b in values)
        return all(a is b for a, b in pairs)

    def changes(self) -> list[str]:
        if self._same():
            return []
        sizes = len(self.before), len(self.live)
        how = "has other entries" if sizes[0] == sizes[1] else f"has {sizes[1]} entries, and had {sizes[0]}"
        return [f"{type(self.live).__name__} {self.name} {how}"]

    def put_back(self) -> list[str]:
        if not self._same():
            self.live.clear()
            (self.live.update if isinstance(self.live, dict | set) else self.live.extend)(self.before)
        return []


class _TensorContent:
    """The content of a tensor that is no parameter; of one too large to be copied, whether it was written to."""

    def __init__(self, name: str, live: Tensor, copied: bool) -> None:
        self.name = name
        self.live = live
        self.version = version_of(live)
        self.before = live.detach().clone() if copied else None

    def _same(self) -> bool:
        if self.before is None or not _has_bits(self.before):
            return version_of(self.live) == self.version
        return _same_bits(self.live, self.before)

    def changes(self) -> list[str]:
        return [] if self._same() else [f"tensor {self.name} changed"]

    def put_back(self) -> list[str]:
        if self._same():
            return []
        if self.before is None:
            return [f"tensor {self.name}, too large to be copied beforehand, was changed in place"]
        if self.live.shape != self.before.shape or self.live.dtype != self.before.dtype:
            self.live.data = self.before
        else:
            self.live.copy_(self.before)
        return []


class _Weight:
    """A parameter: whether it was written to, and its gradient and ``requires_grad``, which are put back."""

    def __init__(self, name: str, live: nn.Parameter, exact: bool) -> None:
        self.name = name
        self.live = live
        self.grad = live.grad
        self.requires_grad = live.requires_grad
        self.versions = version_of(live), -1 if self.grad is None else version_of(self.grad)
        self.before = live.detach().clone() if exact and _has_bits(live) else None

    def changes(self) -> list[str]:
        found = []
        if self._written():
            found.append(f"parameter {self.name} changed")
        if self.live.requires_grad != self.requires_grad:
            found.append(f"parameter {self.name} has requires_grad={self.live.requires_grad} now")
        if self.live.grad is not self.grad or self._gradient_written():
            found.append(f"the gradient of parameter {self.name} changed")
        return found

    def put_back(self) -> list[str]:
        if self.live.requires_grad != self.requires_grad:
            self.live.requires_grad_(self.requires_grad)
        if self.live.grad is not self.grad:
            self.live.grad = self.grad
        found = [f"parameter {self.name} was changed by the forward pass itself"] if self._written() else []
        if self._gradient_written():
            found.append(f"the gradient of parameter {self.name} was changed in place")
        return found

    def _written(self) -> bool:
        if self.before is not None:
            return not _same_bits(self.live.detach(), self.before)
        return version_of(self.live) != self.versions[0]

    def _gradient_written(self) -> bool:
        return self.grad is not None and version_of(self.grad) != self.versions[1]


@dataclass
class _ArrayContent:
    name: str
    live: np.ndarray[Any, Any]
    before: np.ndarray[Any, Any]

    def changes(self) -> list[str]:
        return [] if self.live.tobytes() == self.before.tobytes() else [f"array {self.name} changed"]

    def put_back(self) -> list[str]:
        if self.changes():
            self.live[...] = self.before
        return []


@dataclass
class _GeneratorState:
    name: str
    get: Callable[[], Any]
    set: Callable[[Any], None]

    def __post_init__(self) -> None:
        self.before = copy.deepcopy(self.get())

    def changes(self) -> list[str]:
        return [] if same_state(self.get(), self.before) else [f"random generator {self.name} moved on"]

    def put_back(self) -> list[str]:
        self.set(self.before)
        return []


def same_state(one: Any, other: Any) -> bool:
    """Whether two random states, of tensors, arrays and plain values, are the same."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(same_state(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def version_of(tensor: Tensor) -> int:
    """How often a tensor was written to; -1 where autograd does not count."""
    return -1 if tensor.is_inference() else tensor._version


def _path(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _difference(before: Any, now: Any) -> str:
    if before is now or (type(before) is type(now) and isinstance(now, bool | int | float | str) and before == now):
        return ""
    if before is _MISSING:
        return "is new"
    if now is _MISSING:
        return "is gone"
    if isinstance(now, bool | int | float) and isinstance(before, bool | int | float):
        return f"is {now!r} now, and was {before!r}"
    return f"is another {type(now).__name__} than before"


def _state_of(value: Any) -> tuple[Callable[[], Any], Callable[[Any], None]] | None:
    """How to read and to set the state of a random generator; None for anything else."""
    if isinstance(value, torch.Generator):
        return value.get_state, lambda state: value.set_state(state) and None
    if isinstance(value, np.random.Generator):
        value = value.bit_generator
    if isinstance(value, np.random.BitGenerator):
        return lambda: value.state, lambda state: setattr(value, "state", state)
    if isinstance(value, np.random.RandomState):
        return value.get_state, value.set_state
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return value.getstate, value.setstate
    return None


def _is_plain_object(value: Any) -> bool:
    kind = type(value)
    if kind is SimpleNamespace:
        return True
    attributes = getattr(value, "__dict__", None)
    return (
        type(attributes) is dict
        and kind.__module__.partition(".")[0] not in _FOREIGN | {"types"}
        and not isinstance(value, (type, *_DATA))
        and not any(isinstance(held, _OUTSIDE) for held in attributes.values())
    )


def _has_bits(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Equality of every bit, so that NaN equals itself and zero differs from minus zero."""
    if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
        return False
    return torch.equal(_bits(one), _bits(other))


def _bits(tensor: Tensor) -> Tensor:
    plain = tensor.detach().resolve_conj().resolve_neg()
    return (torch.view_as_real(plain) if plain.is_complex() else plain).contiguous().reshape(-1).view(torch.uint8)
