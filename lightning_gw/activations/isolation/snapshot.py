"""What modules remember besides their weights, so that a look can be undone: attributes, containers, generators.

A module's memory is followed through plain containers and plain objects, also to modules that are kept out of the
registered ones in a list or an object. What is found is put back in place; see `state`.
"""

from __future__ import annotations

import io
import queue
import socket
import sys
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_gw.activations.isolation.state import (
    CONTAINERS,
    ArrayContent,
    Attributes,
    Container,
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
#: Bytes of tensors and arrays inside containers and objects that are copied; of more, changes are only noticed.
_COPIED = 256 * 2**20
#: Packages whose objects manage something of their own that is not to be turned back.
_FOREIGN = frozenset({"torch", "pytorch_lightning", "lightning", "lightning_fabric", "numpy", "wandb"}) | (
    sys.stdlib_module_names - {"__main__"}
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


class ModuleSnapshot:
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
        self._kept: list[SavedState] = []
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

    def restore(self) -> tuple[list[str], list[str]]:
        """Put everything back, each thing whatever becomes of the others.

        Returns:
            What was known beforehand not to be put back, and what failed to be, in plain words.
        """
        lost: list[str] = []
        failed: list[str] = []
        with torch.no_grad():
            for kept in self._kept:
                try:
                    lost += kept.put_back()
                except Exception as error:
                    failed.append(f"{kept.name or 'the network itself'} ({type(error).__name__}: {error})")
        return lost, failed

    def _keep_module(self, name: str, module: nn.Module) -> None:
        attributes = vars(module)
        self._kept.append(Attributes(name, attributes))
        # A sharded module exchanges its parameters while it runs, and keeps book of that elsewhere.
        structure = ("_buffers",) if is_sharded(module) else ("_parameters", "_buffers", "_modules")
        for key, value in list(attributes.items()):
            if key in ("_parameters", "_buffers", "_modules"):
                if key in structure and type(value) in CONTAINERS:
                    self._kept.append(Container(path_to(name, key), value))
                for held_as, held in value.items():
                    self._keep(path_to(name, held_as), held, 1)
            else:
                self._keep(path_to(name, key), value, 1)

    def _keep(self, name: str, value: Any, depth: int) -> None:
        if value is None or isinstance(value, bool | int | float | str | bytes) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, nn.Parameter):
            if not nn.parameter.is_lazy(value) and not value.is_meta:
                self._kept.append(Weight(name, value, self._exact))
        elif isinstance(value, Tensor):
            if not nn.parameter.is_lazy(value) and not value.is_meta:
                self._kept.append(TensorContent(name, value, self._fits(value.numel() * value.element_size(), depth)))
        elif isinstance(value, np.ndarray):
            if self._fits(value.nbytes, depth) and not value.dtype.hasobject:
                self._kept.append(ArrayContent(name, value, value.copy()))
        elif isinstance(value, nn.Module):
            self.modules[name] = value
            for inner, child in value.named_modules():
                self._seen[id(child)] = child
                self.modules[path_to(name, inner) if inner else name] = child
                self._keep_module(path_to(name, inner) if inner else name, child)
        elif (state := state_of(value)) is not None:
            self._kept.append(GeneratorState(name, *state))
        elif type(value) in CONTAINERS or type(value) is tuple:
            if type(value) is not tuple:
                self._kept.append(Container(name, value))
            if depth < _DEEPEST and len(value) <= _WIDEST:
                for key, held in value.items() if isinstance(value, dict) else enumerate(value):
                    self._keep(f"{name}[{_key_text(key)}]", held, depth + 1)
        elif _is_plain_object(value):
            self._kept.append(Attributes(name, vars(value)))
            if depth < _DEEPEST:
                for key, held in list(vars(value).items()):
                    self._keep(path_to(name, key), held, depth + 1)

    def _fits(self, size: int, depth: int) -> bool:
        """Whether there is room for a copy; what a module itself holds is always copied."""
        if depth > 1:
            self._room -= size
        return depth == 1 or self._room >= 0


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


def _is_plain_object(value: Any) -> bool:
    kind = type(value)
    if kind is SimpleNamespace:
        return True
    attributes = getattr(value, "__dict__", None)
    return (
        type(attributes) is dict
        and kind.__module__.partition(".")[0] not in _FOREIGN
        and not isinstance(value, (type, *_DATA))
        and not any(isinstance(held, _OUTSIDE) for held in attributes.values())
    )
