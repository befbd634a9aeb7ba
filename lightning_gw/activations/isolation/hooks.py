"""Forward hooks that others put on a network, to watch or to mend it while it trains: they are no part of a look."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

#: Packages whose hooks are how a network runs: PyTorch's parametrisations, weight norm, FSDP and quantisation, what
#: gathers weights that are spread over processes, and what collects the outputs that a network of theirs returns.
_PART_OF_THE_NETWORK = frozenset({"torch", "torchao", "accelerate", "deepspeed", "fairscale", "transformers"})
_KINDS = ("_forward_pre_hooks", "_forward_hooks")


@contextmanager
def foreign_hooks_off(modules: Iterable[nn.Module]) -> Iterator[list[str]]:
    """Take the forward hooks off that are no part of the network, and put them back in their order.

    Also those that are registered for every module there is. What is registered while this lasts is left alone until
    the end, and then gone where its dictionary had hooks of others.

    Args:
        modules: The modules of the network.

    Yields:
        What was taken off, in plain words: the functions by their names.
    """
    dictionaries = _hooks_on(modules)
    before: list[tuple[Any, dict[int, Callable[..., Any]]]] = []
    taken: dict[str, None] = {}
    for hooks in dictionaries:
        if foreign := [key for key, hook in hooks.items() if _is_foreign(hook)]:
            before.append((hooks, dict(hooks)))
            for key in foreign:
                hook = hooks.pop(key)
                taken[f"{_origin(hook)}.{getattr(hook, '__qualname__', type(hook).__name__)}"] = None
    try:
        yield list(taken)
    finally:
        for hooks, entries in before:
            hooks.clear()
            hooks.update(entries)


def foreign_hooks(modules: Iterable[nn.Module]) -> bool:
    """Whether there are forward hooks on a network that are no part of it."""
    return any(_is_foreign(hook) for hooks in _hooks_on(modules) for hook in hooks.values())


def _hooks_on(modules: Iterable[nn.Module]) -> list[Any]:
    """The dictionaries of forward hooks of modules, and those for every module there is."""
    own = [vars(module)[kind] for module in modules for kind in _KINDS if vars(module).get(kind)]
    return own + [hooks for kind in _KINDS if (hooks := getattr(nn.modules.module, f"_global{kind}"))]


def _is_foreign(hook: Callable[..., Any]) -> bool:
    return _origin(hook).partition(".")[0] not in _PART_OF_THE_NETWORK


def _origin(hook: Callable[..., Any]) -> str:
    """The module in which the function was written that does the work."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    return getattr(hook, "__module__", None) or type(hook).__module__
