"""Which objects are followed: those that hold what they like, and not what manages something of its own."""

from __future__ import annotations

import argparse
import collections
import functools
import io
import queue
import socket
import sys
import threading
from types import MethodType, SimpleNamespace
from typing import Any

import torch

#: Packages whose objects manage something of their own that is not to be turned back.
_FOREIGN = frozenset(
    {"torch", "pytorch_lightning", "lightning", "lightning_fabric", "numpy", "wandb", "lightning_gw", "builtins"}
) | (sys.stdlib_module_names - {"__main__"})
#: Those of Python's own that only hold what they are given.
_HOLDERS = (
    SimpleNamespace,
    argparse.Namespace,
    collections.UserDict,
    collections.UserList,
    collections.ChainMap,
    threading.local,
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
#: What wraps code, and where it holds it.
WRAPPERS = (
    MethodType,
    functools.partial,
    functools.partialmethod,
    property,
    functools.cached_property,
    staticmethod,
    classmethod,
    type(functools.lru_cache(print)),
)
WRAPPED_AS = ("__wrapped__", "__func__", "__self__", "func", "fget", "fset", "args", "keywords")


def is_foreign(kind: Any) -> bool:
    """Whether a class or function belongs to a package that is left alone."""
    return _is_foreign(str(getattr(kind, "__module__", None) or "builtins"))


@functools.cache
def _is_foreign(module: str) -> bool:
    return module.partition(".")[0] in _FOREIGN


def has_own_class(value: Any) -> bool:
    """Whether the class of an object is somebody's own, and neither data nor a part of this package."""
    kind = type(value)
    return (
        type(getattr(value, "__dict__", {})) is dict
        and not is_foreign(kind)
        and not isinstance(value, (type, *_DATA))
        and not any(part.__module__.partition(".")[0] == "lightning_gw" for part in kind.__mro__)
    )


def is_plain_object(value: Any) -> bool:
    """Whether an object is followed and put back: one that holds what it likes, and nothing of the world outside."""
    if isinstance(value, _HOLDERS):
        return True
    return has_own_class(value) and not any(isinstance(held, _OUTSIDE) for held in _attributes(value).values())


def shared_value(value: Any) -> Any:
    """What lies in a value that processes share (`multiprocessing.Value`, ``Array``); None for anything else."""
    shared = type(value).__module__ == "multiprocessing.sharedctypes" and hasattr(value, "get_obj")
    return value.get_obj() if shared else None


def _attributes(value: Any) -> dict[str, Any]:
    return getattr(value, "__dict__", {})
