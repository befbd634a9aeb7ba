"""A bar for what takes longer than one likes to wait unseen, in terminals and in notebooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeVar

T = TypeVar("T")
#: Called with (work done, work in all).
Progress = Callable[[int, int], None]
#: Seconds before a bar is drawn, and between two drawings of it where lines cannot be drawn over.
DELAY, SELDOM = 2.0, 10.0


@contextmanager
def counted(
    what: str, progress: Progress | Literal[False] | None = None, *, delay: float = DELAY, files: bool = False
) -> Iterator[Progress]:
    """What moves the bar on. A terminal that is gone, or no tqdm that works, is no reason to do without the rest.

    Args:
        what: Stands before the bar.
        progress: Called in place of a bar; False for neither.
        delay: Seconds before the bar is drawn.
        files: Whether a line is written now and then where there is no terminal and no notebook; else nothing is.
    """
    if progress is not None:
        yield progress or _nothing
        return
    begun, bars = time.perf_counter(), list[Any]()
    notebook = "ipykernel" in sys.modules
    terminal = sys.stderr is not None and sys.stderr.isatty()

    def move(done: int, total: int) -> None:
        if time.perf_counter() - begun < delay or not (files or notebook or terminal):
            return
        with suppress(Exception):
            if not bars:
                from tqdm.auto import tqdm  # slow to import

                # What was drawn over vanishes when all is done; lines stay, and the last is to say that it is.
                over = notebook or terminal
                pace = 0.1 if over else SELDOM
                bars.append(tqdm(total=total, initial=done, desc=what, leave=not over, mininterval=pace))
            bars[0].update(done - bars[0].n)

    try:
        yield move
    finally:
        with suppress(Exception):
            for bar in bars:
                bar.close()


def counting(items: Sequence[T], what: str) -> Iterator[T]:
    """The items, one after the other, with a bar where they take longer than a second, in a file too."""
    with counted(what, delay=1.0, files=True) as moved:
        for done, item in enumerate(items):
            moved(done, len(items))
            yield item
        moved(len(items), len(items))


def _nothing(done: int, total: int) -> None:
    """Where nobody asks."""
