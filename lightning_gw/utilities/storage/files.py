"""Files written so that a crash leaves no part of one, and read so that a stranger's cannot do harm.

What is read may come from anybody: a pipe that nobody writes to, a device without end, a file larger than the memory.
So only regular files are read, and none that is larger than the reader says. What is written goes through a file that
was not there before: a link laid in its place is not followed.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

#: Bytes of the largest file of text, and of arrays, that is read.
LARGEST_TEXT = 256 * 2**20
LARGEST_ARRAYS = 2**30
#: What the name of a file ends with that is not whole yet.
_PART = ".tmp"


class UnfitFileError(OSError):
    """A file that is not read or written, because it is no regular one or too large; the message names it."""

    def __init__(self, file: str | os.PathLike[str], reason: str) -> None:
        super().__init__(0, reason, os.fspath(file))

    def __str__(self) -> str:
        return f"{self.filename} is not used: {self.strerror}"


def read_regular(file: str | os.PathLike[str], largest: int = LARGEST_TEXT) -> bytes:
    """The content of a regular file, of at most `largest` bytes.

    Raises:
        UnfitFileError: If it is a pipe, a device, a socket or a folder, or larger than that.
        OSError: If it cannot be read.
    """
    with _opened(file) as stream:
        content = stream.read(largest + 1) if os.fstat(stream.fileno()).st_size <= largest else None
    if content is None or len(content) > largest:
        raise UnfitFileError(file, f"it has more than the {largest >> 20} MiB that are read")
    return content


def read_head(file: str | os.PathLike[str], count: int) -> bytes:
    """The first `count` bytes of a regular file, or all of it where it has fewer; see `read_regular`.

    Raises:
        OSError: If it cannot be read.
    """
    with _opened(file) as stream:
        return stream.read(count)


def _opened(file: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, to be read."""
    # Without waiting for whoever might write to a pipe.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnfitFileError(file, "it is no regular file")
    return os.fdopen(descriptor, "rb")


def read_text(file: str | os.PathLike[str], largest: int = LARGEST_TEXT) -> str:
    """The text of a regular file in UTF-8; see `read_regular`.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no UTF-8.
    """
    return read_regular(file, largest).decode("utf-8")


def inside(folder: Path, path: str) -> Path:
    """The place `path` below `folder`.

    Raises:
        ValueError: If it is absolute, or leaves the folder on its way or by a link.
    """
    place = folder / path
    if Path(path).is_absolute() or ".." in Path(path).parts or not place.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"its path {path!r} leads out of {folder}")
    return place


def user_cache(name: str) -> Path:
    """A folder in the user's cache, ``$XDG_CACHE_HOME`` or ``~/.cache``; it need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning-gw" / name


def append_line(file: Path, line: Mapping[str, Any]) -> None:
    """Append `line` as one line of strict JSON.

    Raises:
        ValueError: If it holds a NaN or an infinity, which JSON has not.
        OSError: If it cannot be written; the file is then as it was before.
    """
    append_raw(file, json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n")


def append_raw(file: Path, content: bytes) -> None:
    """One write, flushed to the disk; where it fails half way (a full disk), the file is cut back to what it was.

    Raises:
        OSError: If it cannot be written, or is a link or no regular file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(file, flags | getattr(os, "O_BINARY", 0), 0o666), "ab", buffering=0) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise UnfitFileError(file, "it is no regular file")
        before = stream.seek(0, os.SEEK_END)
        try:
            written = stream.write(content)
            if written != len(content):
                raise OSError(f"only {written} of {len(content)} bytes could be written to {file.name}")
            os.fsync(stream.fileno())
        except OSError:
            os.ftruncate(stream.fileno(), before)
            raise


def write_whole(file: Path, content: bytes, lasting: bool = True) -> None:
    """Write aside, flush, rename: a reader finds the old file or the new one, never a part.

    Args:
        file: Where to.
        content: What.
        lasting: Whether it is to outlast a power cut, for which the disk has to be waited for.

    Raises:
        OSError: If it cannot be written; nothing is left of the attempt.
    """
    aside = file.with_name(f".{file.name[:80]}.{secrets.token_hex(8)}{_PART}")
    try:
        with aside.open("xb") as stream:  # fails where anything is there, be it a link to elsewhere
            stream.write(content)
            stream.flush()
            if lasting:
                os.fsync(stream.fileno())
        aside.replace(file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if lasting:
        sync_folder(file.parent)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """`write_whole` of strict JSON, indented."""
    write_whole(file, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n")


def remove_parts(folder: Path) -> None:
    """Remove what `write_whole` left in a folder when it was killed; for the only one who writes there."""
    for part in folder.glob(f".*{_PART}"):
        with suppress(OSError):
            part.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; Windows cannot open folders and keeps its own journal."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
