"""Writes that survive a crash: whole files by renaming, lines by one flushed append."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append_line(file: Path, line: Mapping[str, Any]) -> None:
    """Append `line` as one line of strict JSON.

    Raises:
        ValueError: If it holds a NaN or an infinity, which JSON has not.
        OSError: If it cannot be written; the file is then as it was before.
    """
    append_raw(file, json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n")


def append_raw(file: Path, content: bytes) -> None:
    """One write, flushed to the disk; where it fails half way (a full disk), the file is cut back to what it was."""
    with file.open("ab", buffering=0) as stream:
        before = stream.tell()
        try:
            written = stream.write(content)
            if written != len(content):
                raise OSError(f"only {written} of {len(content)} bytes could be written to {file.name}")
            os.fsync(stream.fileno())
        except OSError:
            os.ftruncate(stream.fileno(), before)
            raise


def write_whole(file: Path, content: bytes) -> None:
    """Write aside, flush, rename: a reader finds the old file or the new one, never a part."""
    aside = file.with_name(f".{file.name}.tmp")
    with aside.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(file)
    sync_folder(file.parent)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """`write_whole` of strict JSON, indented."""
    write_whole(file, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n")


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; Windows cannot open folders and keeps its own journal."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
