"""Functions compiled by Numba, and what was compiled kept in a folder of the user's own.

Numba reads what it kept by unpickling, which runs whatever a file says. So the folder is used only where nobody but the
user can write to it; and what cannot be read or written there is compiled anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, NullCache

from lightning_gw.utilities.storage.files import user_cache


def compiled(**options: Any) -> Callable[[Any], Any]:
    """``numba.njit`` with these options, and a cache that cannot do any harm."""

    def decorate(function: Any) -> Any:
        dispatcher = numba.njit(**options)(function)
        dispatcher._cache = _cache_of(function)  # as its own `enable_caching` does
        return dispatcher

    return decorate


class _ForgivingCache(FunctionCache):
    """Compiles anew what cannot be read, and goes on without what cannot be written."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a damaged pickle raises almost anything
            with suppress(Exception):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(Exception):
            super().save_overload(sig, data)


def _cache_of(function: Any) -> Any:
    folder = cache_folder()
    if folder is None:
        return NullCache()
    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)  # asked only while the cache is made
    try:
        return _ForgivingCache(function)
    except Exception:
        return NullCache()
    finally:
        config.CACHE_DIR = before


def cache_folder() -> Path | None:
    """Where compiled code is kept: ``$NUMBA_CACHE_DIR``, or ``lightning-gw/numba`` in the user's cache.

    None where it cannot be written, or where somebody else could write to it.
    """
    config: Any = numba.config
    folder = Path(config.CACHE_DIR) if config.CACHE_DIR else user_cache("numba")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
    except OSError:
        return None
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return None
    return folder if os.access(folder, os.W_OK) else None
