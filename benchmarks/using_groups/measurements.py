"""The study's file: one line of JSON for each finished measurement, whole or not there at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_gw.compare.executors.locks import LockedError, hold
from lightning_gw.utilities.errors import UsageError
from lightning_gw.utilities.storage.files import append_line, write_whole
from lightning_gw.utilities.storage.json_values import to_json

FILE = "measurements.jsonl"
LOCK = "study.lock"

#: One measurement: ``network``, ``seed``, ``case`` and ``settings`` say which, the rest is what was found.
Row = Mapping[str, Any]


def read_rows(folder: Path) -> list[Row]:
    """The measurements of a folder, in the order that they were made in; half a line at the end is passed over."""
    file = folder / FILE
    if not file.is_file():
        return []
    return [json.loads(line) for line in _whole_lines(file.read_bytes())]


@contextmanager
def appending(folder: Path) -> Iterator[Measurements]:
    """Hold a folder for writing; what a killed process left of a line is cut off first.

    Raises:
        UsageError: If another process is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = hold(folder / LOCK)
    except LockedError as error:
        raise UsageError(f"Another process is at work on the study in {folder}: wait for it, or stop it.") from error
    try:
        file = folder / FILE
        if file.is_file():
            content = file.read_bytes()
            whole = b"".join(_whole_lines(content))
            if whole != content:
                write_whole(file, whole)
        yield Measurements(file)
    finally:
        if lock is not None:
            lock.close()


class Measurements:
    """Appends to the study's file.

    Args:
        file: The file, which ends in a whole line.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, row: Row) -> None:
        """Write one measurement."""
        append_line(self._file, to_json(dict(row)))


def _whole_lines(content: bytes) -> list[bytes]:
    lines = content.splitlines(keepends=True)
    return lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]
