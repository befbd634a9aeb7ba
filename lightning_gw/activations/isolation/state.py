"""Things that can be put back: one of each, as it was when it was remembered, with what has changed since.

Attributes and containers get the same objects again; tensors, arrays and random generators get their content.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

#: What is not there.
MISSING = object()


class SavedState(Protocol):
    """One thing as it was when this was made.

    Attributes:
        name: Where it is, such as ``cache.layers[0]``.
    """

    name: str

    def changes(self) -> list[str]:
        """What is different now, in plain words."""

    def put_back(self) -> list[str]:
        """Undo it.

        Returns:
            What is known beforehand not to be undone, in plain words.

        Raises:
            Exception: If undoing it failed, or did not make it what it was.
        """


class Attributes:
    """The attributes of a module or a plain object; what else has names and values is derived from it."""

    kind = "attribute"

    def __init__(self, name: str, live: Any) -> None:
        self.name = name
        self.live: Any = live
        self.before = dict(self.now())

    def now(self) -> Mapping[str, Any]:
        """Names and values as they are now."""
        return self.live

    def assign(self, key: str, value: Any) -> None:
        """Give a name a value."""
        self.live[key] = value

    def remove(self, key: str) -> None:
        """Take a name out."""
        del self.live[key]

    def changes(self) -> list[str]:
        now = self.now()
        return [
            f"{self.kind} {path_to(self.name, key)} {said}"
            for key in dict.fromkeys([*self.before, *now])
            if (said := difference(self.before.get(key, MISSING), now.get(key, MISSING)))
        ]

    def put_back(self) -> list[str]:
        now = dict(self.now())
        for key in now.keys() - self.before.keys():
            self.remove(key)
        for key, value in self.before.items():
            if now.get(key, MISSING) is not value:
                self.assign(key, value)
        confirm(not self.changes())
        return []


class TensorContent:
    """The content of a tensor that is no parameter; of one too large to be copied, whether it was written to."""

    def __init__(self, name: str, live: Tensor, copied: bool) -> None:
        self.name = name
        self.live = live
        self.version = version_of(live)
        self.form = live.shape, live.dtype, live.device
        # An expanded tensor cannot be written to as a whole; the memory it is a view of can.
        self.flat = copied and _has_bits(live) and _may_overlap(live)
        self.stride = live.stride() if self.flat else ()
        self.before = (_memory(live) if self.flat else live).detach().clone() if copied else None

    def _same(self) -> bool:
        if self.before is None or not _has_bits(self.before):
            return version_of(self.live) == self.version
        if (self.live.shape, self.live.dtype, self.live.device) != self.form:
            return False
        return _same_bits(_memory(self.live) if self.flat else self.live, self.before)

    def changes(self) -> list[str]:
        return [] if self._same() else [f"tensor {self.name} changed"]

    def put_back(self) -> list[str]:
        if self._same():
            return []
        if self.before is None:
            return [f"tensor {self.name}, too large to be copied beforehand, was changed in place"]
        # What was made in inference mode can be written to only there.
        with torch.inference_mode(self.live.is_inference()):
            if (self.live.shape, self.live.dtype, self.live.device) != self.form:
                self.live.data = self.before.as_strided(self.form[0], self.stride) if self.flat else self.before
            else:
                (_memory(self.live) if self.flat else self.live).copy_(self.before)
        confirm(not _has_bits(self.before) or self._same())
        return []


class Weight:
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
class ArrayContent:
    """The content of an array."""

    name: str
    live: np.ndarray[Any, Any]
    before: np.ndarray[Any, Any]

    def changes(self) -> list[str]:
        return [] if self.live.tobytes() == self.before.tobytes() else [f"array {self.name} changed"]

    def put_back(self) -> list[str]:
        if self.changes():
            self.live[...] = self.before
            confirm(not self.changes())
        return []


@dataclass
class GeneratorState:
    """The state of a random generator; `get` and `set` are what `state_of` gives."""

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], None]

    def __post_init__(self) -> None:
        self.before = copy.deepcopy(self.get())

    def changes(self) -> list[str]:
        return [] if same_state(self.get(), self.before) else [f"random generator {self.name} moved on"]

    def put_back(self) -> list[str]:
        self.set(self.before)
        confirm(not self.changes())
        return []


def state_of(value: Any) -> tuple[Callable[[], Any], Callable[[Any], None]] | None:
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


def path_to(name: str, key: Any) -> str:
    """The name of what `name` holds as its attribute `key`."""
    return f"{name}.{key}" if name and key else name or str(key)


def confirm(same: bool) -> None:
    """Refuse to go on where something is not what it was after it was put back.

    Raises:
        RuntimeError: Then.
    """
    if not same:
        raise RuntimeError("it was written to, and still is not what it was")


def difference(before: Any, now: Any) -> str:
    """How a value differs from what it was, in words after its name; empty where it does not."""
    if before is now or (type(before) is type(now) and isinstance(now, bool | int | float | str) and before == now):
        return ""
    if before is MISSING:
        return "is new"
    if now is MISSING:
        return "is gone"
    if isinstance(now, bool | int | float) and isinstance(before, bool | int | float):
        return f"is {now!r} now, and was {before!r}"
    return f"is another {type(now).__name__} than before"


def _has_bits(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested


def _may_overlap(tensor: Tensor) -> bool:
    """Whether two entries may share one place in memory, as those of an expanded tensor do."""
    if tensor.numel() == 0:
        return False
    reach = 0
    for stride, size in sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
    return False


def _memory(tensor: Tensor) -> Tensor:
    """The memory from the first entry of a tensor to its last, ``(m,)``."""
    reach = sum(stride * (size - 1) for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
    return tensor.as_strided((reach + 1,), (1,), tensor.storage_offset())


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Equality of every bit, so that NaN equals itself and zero differs from minus zero."""
    if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
        return False
    return torch.equal(_bits(one), _bits(other))


def _bits(tensor: Tensor) -> Tensor:
    plain = tensor.detach().resolve_conj().resolve_neg()
    return (torch.view_as_real(plain) if plain.is_complex() else plain).contiguous().reshape(-1).view(torch.uint8)
