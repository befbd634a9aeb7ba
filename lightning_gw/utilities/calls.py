"""Names of layers: a module, or one of several calls of it."""

from __future__ import annotations


def call_key(name: str, time: int) -> str:
    """What one call of a module is known by: its name, from the second call on with the number of the call.

    Where the name of the module itself holds a ``#``, its first call has its number too.
    """
    return name if time == 1 and "#" not in name else f"{name}#{time}"


def module_of(key: str) -> str:
    """The name of the module that is called; the reverse of `call_key`."""
    return key.rsplit("#", 1)[0]
