"""What modules remember besides their weights, so that a look can be undone: attributes, containers, generators.

A module's memory is followed through containers, plain objects, classes and functions, also to modules that are kept
out of the registered ones in a list or an object. What is found is put back in place, or noticed where that cannot be;
see `state`, `containers` and `code`, and `kinds` for what is followed.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from types import FunctionType, GeneratorType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, nn

from lightning_gw.activations.isolation.code import (
    ITERATORS,
    Cell,
    ClassAttributes,
    GlobalNames,
    Iterated,
    Noticed,
    Slots,
    held_in_slots,
    names_used,
)
from lightning_gw.activations.isolation.containers import BUFFERS, CONTAINERS, BufferContent, Container, entries_of
from lightning_gw.activations.isolation.kinds import (
    WRAPPED_AS,
    WRAPPERS,
    has_own_class,
    is_foreign,
    is_plain_object,
    shared_value,
)
from lightning_gw.activations.isolation.state import (
    ArrayContent,
    Attributes,
    GeneratorState,
    SavedState,
    TensorContent,
    Weight,
    path_to,
    state_of,
)

#: How far memory is followed from a module: ``module.cache.layers[0]["key"]`` is four steps away.
_DEEPEST = 8
#: Containers of more entries are put back, but what lies inside them is not looked at.
_WIDEST = 10_000
#: Bytes of tensors and arrays inside containers and objects that are copied; of more, changes are only noticed. What
#: functions hold, which may be the data that they make batches of, has less.
_COPIED, _COPIED_OF_CODE = 256 * 2**20, 16 * 2**20
_BUILTIN = frozenset({list, dict, set, tuple, OrderedDict, deque})
_MAPPINGS = (dict, WeakKeyDictionary, WeakValueDictionary)
_IN_CLASSES = ("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__slots__")
_LEFT = "that is not put back, since it works with a lock, a thread or a file"


class ModuleSnapshot:
    """Everything that a module and all it holds remember, as it is when this is made.

    Args:
        module: The network, or any other object or function that holds something.
        exact: Keep a copy of the weights too, so that `changes` sees every bit of them. Without it a change of theirs
            is noticed by their version counter, which assignments through ``.data`` do not move.

    Attributes:
        modules: Name → module, those first that are registered, then those that plain containers and objects hold.
    """

    def __init__(self, module: Any, exact: bool = False) -> None:
        self.modules: dict[str, nn.Module] = {}
        self._exact = exact
        self._kept: list[SavedState] = []
        self._seen: dict[int, Any] = {}  # holds what it has seen, so that no id is given out twice
        self._room, self._in_code = [_COPIED, _COPIED_OF_CODE], False
        if not isinstance(module, nn.Module):
            self._keep("", module, 1)
            return
        for name, child in module.named_modules():
            self._seen[id(child)] = child
            self.modules[name] = child
        for name, child in list(self.modules.items()):
            self._keep_module(name, child)

    def changes(self) -> list[str]:
        """What is different now, in plain words."""
        return [said for kept in self._kept for said in kept.changes()]

    def restore(self) -> tuple[list[str], list[str]]:
        """Put everything back, each thing whatever becomes of the others, and then see that it is.

        Returns:
            What was known beforehand not to be put back, and what failed to be, in plain words.
        """
        lost: list[str] = []
        known: set[int] = set()
        failed: dict[int, str] = {}

        def fail(kept: SavedState, reason: str) -> None:
            failed.setdefault(id(kept), f"{kept.name or 'the network itself'} ({reason})")

        with torch.no_grad():
            for kept in self._kept:
                try:
                    if said := kept.put_back():
                        lost += said
                        known.add(id(kept))
                except Exception as error:
                    fail(kept, f"{type(error).__name__}: {error}")
            # What was put back first may have been changed by what was put back later.
            for kept in self._kept:
                if id(kept) not in known:
                    try:
                        if said := kept.changes():
                            fail(kept, said[0])
                    except Exception as error:
                        fail(kept, f"{type(error).__name__}: {error}")
        return lost, list(failed.values())

    def _keep_module(self, name: str, module: nn.Module) -> None:
        attributes = vars(module)
        self._kept.append(Attributes(name, attributes))
        # A sharded module exchanges its parameters while it runs, and keeps book of that elsewhere.
        structure = ("_buffers",) if is_sharded(module) else ("_parameters", "_buffers", "_modules")
        for key, value in list(attributes.items()):
            if key in ("_parameters", "_buffers", "_modules"):
                if key in structure and isinstance(value, CONTAINERS):
                    self._kept.append(Container(path_to(name, key), value))
                for held_as, held in value.items():
                    self._keep(path_to(name, held_as), held, 1)
            else:
                self._keep(path_to(name, key), value, 1)
        self._keep_class(type(module), 1)

    def _keep(self, name: str, value: Any, depth: int) -> None:
        if value is None or isinstance(value, bool | int | float | str | bytes | ModuleType) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if type(value) in _BUILTIN:  # first, since there are most of them
            self._keep_container(name, value, depth)
        elif isinstance(value, nn.Parameter):
            if not nn.parameter.is_lazy(value) and not value.is_meta:
                self._kept.append(Weight(name, value, self._exact))
        elif isinstance(value, Tensor):
            if not nn.parameter.is_lazy(value) and not value.is_meta:
                self._kept.append(TensorContent(name, value, self._fits(value.numel() * value.element_size(), depth)))
        elif isinstance(value, nn.Module):
            self.modules[name] = value
            for inner, child in value.named_modules():
                self._seen[id(child)] = child
                self.modules[path_to(name, inner) if inner else name] = child
                self._keep_module(path_to(name, inner) if inner else name, child)
        elif (state := state_of(value)) is not None:
            self._kept.append(GeneratorState(name, *state))
        elif isinstance(value, np.ndarray):
            self._keep_array(name, value, depth)
        elif isinstance(value, BUFFERS):
            if self._fits(memoryview(value).nbytes, depth):
                self._kept.append(BufferContent(name, value))
        elif isinstance(value, (*CONTAINERS, tuple, frozenset)):
            self._keep_container(name, value, depth)
        elif isinstance(value, ITERATORS):
            self._kept.append(Iterated(name, value))
            if isinstance(value, GeneratorType) and value.gi_frame is not None:
                self._follow(name, value.gi_frame.f_locals.items(), depth)
        elif isinstance(value, type):
            self._keep_class(value, depth)
        elif isinstance(value, FunctionType):
            self._keep_function(name, value, depth)
        elif isinstance(value, WRAPPERS):
            self._follow(name, [(key, getattr(value, key, None)) for key in WRAPPED_AS], depth)
        elif (shared := shared_value(value)) is not None:
            self._keep(name, shared, depth)
        elif is_plain_object(value):
            self._keep_attributes(name, value, depth)
            self._keep_class(type(value), depth)
        elif has_own_class(value):
            self._kept.append(Noticed(Attributes(name, vars(value)), _LEFT))

    def _keep_array(self, name: str, array: np.ndarray[Any, Any], depth: int) -> None:
        if self._fits(array.nbytes, depth):
            self._kept.append(ArrayContent(name, array, array.copy()))
        if array.dtype == object and array.size <= _WIDEST:
            self._follow(name, enumerate(array.reshape(-1).tolist()), depth, braced=True)
        if type(array) is not np.ndarray:
            self._keep_attributes(name, array, depth)

    def _keep_container(self, name: str, container: Any, depth: int) -> None:
        if isinstance(container, CONTAINERS):
            self._kept.append(Container(name, container))
        if len(container) > _WIDEST:
            return
        if container:
            pairs: Any = enumerate(entries_of(container))
            if isinstance(container, _MAPPINGS):
                pairs = entries_of(container)
                for key, _ in pairs:
                    self._follow(name, [("a key", key)], depth, braced=True)
            self._follow(name, pairs, depth, braced=True)
        if type(container) not in _BUILTIN and not is_foreign(type(container)):
            self._keep_attributes(name, container, depth)
            self._keep_class(type(container), depth)

    def _keep_attributes(self, name: str, value: Any, depth: int) -> None:
        """What an object has as attributes, in its dictionary and in slots."""
        if attributes := getattr(value, "__dict__", None):
            self._follow(name, list(attributes.items()), depth)
        if type(attributes) is dict:
            self._kept.append(Attributes(name, attributes))
        if slots := held_in_slots(value):
            self._kept.append(Slots(name, value))
            self._follow(name, slots.items(), depth)

    def _keep_class(self, kind: type, depth: int) -> None:
        """What a class holds, and those that it is derived from."""
        for part in kind.__mro__:
            if not is_foreign(part) and -id(part) not in self._seen:
                self._seen[-id(part)] = part
                self._kept.append(ClassAttributes(part.__name__, part))
                self._follow(part.__name__, [pair for pair in vars(part).items() if pair[0] not in _IN_CLASSES], depth)

    def _keep_function(self, name: str, function: FunctionType, depth: int) -> None:
        """What a function holds: variables of functions around it, defaults, attributes, and names of its script."""
        if is_foreign(function):
            return
        before, self._in_code = self._in_code, True
        self._kept.append(Attributes(name, vars(function)))
        self._follow(name, list(vars(function).items()), depth)
        for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if id(cell) not in self._seen:
                self._seen[id(cell)] = cell
                saved = Cell(path_to(name, key), cell)
                self._kept.append(saved)
                self._follow(name, [(key, held) for held in saved.before.values()], depth)
        self._follow(name, enumerate(function.__defaults__ or ()), depth, braced=True)
        self._follow(name, (function.__kwdefaults__ or {}).items(), depth)
        if used := names_used(function):
            named = GlobalNames(str(function.__module__), function.__globals__, used)
            self._kept.append(named)
            self._follow(named.name, named.before.items(), depth)
        self._in_code = before

    def _follow(self, name: str, pairs: Iterable[tuple[Any, Any]], depth: int, braced: bool = False) -> None:
        if depth < _DEEPEST:
            for key, held in pairs:
                self._keep(f"{name}[{_key_text(key)}]" if braced else path_to(name, key), held, depth + 1)

    def _fits(self, size: int, depth: int) -> bool:
        """Whether there is room for a copy; what a module itself holds is always copied."""
        if depth > 1:
            self._room[self._in_code] -= size
        return depth == 1 or self._room[self._in_code] >= 0


def is_sharded(module: nn.Module) -> bool:
    """Whether the weights of a module are spread over processes, as FSDP and DeepSpeed do it."""
    kinds = {kind.__name__ for kind in type(module).__mro__}
    return bool(kinds & {"FSDPModule", "FullyShardedDataParallel"}) or any(
        type(weight).__name__ in ("DTensor", "FlatParameter") or hasattr(weight, "ds_id")
        for weight in module._parameters.values()
        if weight is not None
    )


def _key_text(key: Any) -> str:
    plain = isinstance(key, str | bytes | int | float | None)
    return repr(key) if plain and len(repr(key)) < 60 else f"a {type(key).__name__}"
