"""The one place from which anything is printed, warned of or logged: whatever becomes of it, the caller goes on.

A terminal may be closed, a pipe broken, a disk full, a bar at fault, warnings turned into errors. What text holds may
come from files that somebody else wrote, so control characters are shown and not sent.
"""

from __future__ import annotations

import sys
import unicodedata
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

#: Most characters of a value from a file that a sentence quotes.
_QUOTED = 80


def printable(text: str) -> str:
    r"""`text` with control characters, and whatever else no terminal is to act on, written as escapes.

    Example:
        >>> print(printable("step \x1b[31m7"))
        step \x1b[31m7
    """
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" or unicodedata.category(sign) == "Zs" else _escape(sign)
        for sign in text
    )


def quoted(value: Any) -> str:
    """A value from a file as a sentence may quote it: on one line, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # a number of more digits than Python writes
        text = f"a {type(value).__name__}"
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"


def say(text: str, show: Callable[[str], object] | None = None, *, end: str = "\n", stream: Any = None) -> None:
    """Print `text`, or do without.

    Args:
        text: Whole lines.
        show: What prints it where something is drawn that must not be torn; if that fails it is printed plainly.
        end: What is printed after it, in one piece with it.
        stream: Where to, in place of the standard output.
    """
    with suppress(Exception):
        lines = printable(text) + end
        if show is not None:
            with suppress(Exception):
                show(lines)
                return
        print(lines, end="", flush=True, file=stream)


def warn(message: str, everywhere: bool = False) -> None:
    """Warn on the first process; where warnings are errors, print it instead.

    Args:
        message: One line.
        everywhere: Whether any other process warns too, which then says which it is.
    """
    from pytorch_lightning.utilities.rank_zero import rank_zero_only, rank_zero_warn  # slow to import

    try:
        if everywhere and (rank := int(getattr(rank_zero_only, "rank", None) or 0)):
            warnings.warn(printable(f"Rank {rank}: {message}"), stacklevel=5)
        else:
            rank_zero_warn(printable(message), stacklevel=5)
    except Exception:
        say(f"Warning: {message}", stream=sys.stderr)


def inform(message: str) -> None:
    """Log `message` on the first process."""
    from pytorch_lightning.utilities.rank_zero import rank_zero_info

    with suppress(Exception):
        rank_zero_info(printable(message))


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
