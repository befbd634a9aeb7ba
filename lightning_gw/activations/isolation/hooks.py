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
    dictionaries = [vars(module)[kind] for module in modules for kind in _KINDS if vars(module).get(kind)]
    dictionaries += [hooks for kind in _KINDS if (hooks := getattr(nn.modules.module, f"_global{kind}"))]
    before: list[tuple[Any, dict[int, Callable[..., Any]]]] = []
    taken: dict[str, None] = {}
    for hooks in dictionaries:
        foreign = [key for key, hook in hooks.items() if _origin(hook).partition(".")[0] not in _PART_OF_THE_NETWORK]
        if foreign:
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


def _origin(hook: Callable[..., Any]) -> str:
    """The module in which the function was written that does the work."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    return getattr(hook, "__module__", None) or type(hook).__module__
