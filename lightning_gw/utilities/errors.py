"""What a user did wrong, in words: the one error the command line prints without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Characters of another's message that are passed on.
_LONGEST = 600


class UsageError(Exception):
    """A command, config or folder cannot be used as given; the message says which, why, and what to do."""


def near_names(word: str, known: Iterable[str], count: int = 4, dotted: bool = True) -> str:
    """A half-sentence that offers the known names nearest to `word`.

    Args:
        word: What the user wrote.
        known: Names that would have been right.
        count: Most names to offer.
        dotted: Whether a dot sets off parts, of which the last alone may be what was misspelt.

    Returns:
        ``"Near names: a, b."``, or all names where there are at most six and none is near, or ``""``.
    """
    names = sorted(set(known))
    # Dotted keys that share a long prefix all look alike, so the last parts are compared as well.
    by_tail = {name.rsplit(".", 1)[-1]: name for name in names} if dotted else {}
    tails = difflib.get_close_matches(word.rsplit(".", 1)[-1], by_tail, n=count, cutoff=0.6)
    near = [by_tail[tail] for tail in tails] + difflib.get_close_matches(word, names, n=count, cutoff=0.6)
    if near:
        return f"Near names: {', '.join(list(dict.fromkeys(near))[:count])}."
    if 0 < len(names) <= 6:
        return f"There {'is' if len(names) == 1 else 'are'}: {', '.join(names)}."
    return ""


def reason_of(error: BaseException) -> str:
    """The kind of an error and what it says, in one line without torch's signatures; also of one that cannot say it.

    Example:
        >>> reason_of(TypeError("conv2d() received no tensor, but expected one of:\\n * (Tensor input, ...)\\n"))
        'TypeError: conv2d() received no tensor'
    """
    try:
        message = " ".join(str(error).split("but expected one of:")[0].split()).rstrip(",;")
    except Exception:
        message = ""
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST].rstrip()} …"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def sentence(*parts: str) -> str:
    """Join the parts that are not empty with one space."""
    return " ".join(part for part in parts if part)


class ArgumentError(ValueError):
    """What the user wrote cannot be used; it is an error at the start, whatever becomes of other errors."""


class LookError(RuntimeError):
    """The probe could not go through the network; the message says where and why."""


class RestoreError(LookError):
    """Something that a look changed could not be put back as it was; the message names it."""
