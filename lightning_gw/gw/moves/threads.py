"""Compiled work spread over threads, whole pairs at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def over_threads(threads: int, work: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
    """``work(*arguments of one pair)`` of all pairs in order, like `map`, on at most so many threads.

    Threads take whole pairs, and each product of matrices stays on one of them, so that no result depends on their
    number. `work` gains from them where it lets go of the interpreter, as compiled functions do.
    """
    with _blas().limit(limits=1, user_api="blas"):
        if threads <= 1:
            return list(map(work, *arguments))
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, *arguments))


@functools.cache
def _blas() -> Any:
    """The process's BLAS libraries, looked up once: that takes longer than searching a small pair."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
