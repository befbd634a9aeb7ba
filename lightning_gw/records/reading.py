"""A history's folder read: what is whole, and in words what is not.

What is wrong with a line, or with the array file that it names, costs that line. Files may come from anybody: each is
read only where it is regular and no larger than its kind is, and every value is checked before it is used.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from lightning_gw.records.checks import check_record
from lightning_gw.records.record import Record, SchemaError, check_schema
from lightning_gw.utilities.errors import reason_of
from lightning_gw.utilities.output import printable, quoted
from lightning_gw.utilities.storage.files import LARGEST_ARRAYS, append_raw, read_regular, write_whole
from lightning_gw.utilities.storage.json_values import from_json
from lightning_gw.utilities.text import listed

RECORDS_FILE = "history.jsonl"
METRICS_FILE = "metrics.jsonl"
#: What the network loses without each layer (see `interventions.skip_test`).
SKIP_TEST_FILE = "skip-test.json"
#: Where lines go that could not be read, byte for byte.
DAMAGED_FILE = "damaged.jsonl"
#: Damaged lines of one file that are told one by one.
MOST_DAMAGED = 1000
#: Characters of a reason.
_LONGEST_REASON = 300
#: What every record of every version begins with.
_BEGIN = b'{"schema":'


def folder_name(name: str | None) -> str:
    """What the folder of a history is called in its run's, given the name of the callback that writes it."""
    return "gw" if name is None else f"gw-{name}"


def address_of(folder: Path) -> Path:
    """By which path commands find a history: its run's folder, or its own where the callback has a name."""
    return folder.parent if folder.name == folder_name(None) else folder


def find_file(path: Path, name: str) -> Path | None:
    """A file of a history: in the folder itself, in ``gw`` inside it, or in that of the only callback with a name.

    Raises:
        ValueError: If several callbacks with names have one, and ``gw`` does not.
    """
    own = (path / name, path / folder_name(None) / name)
    named = sorted(path.glob(f"{folder_name('*')}/{name}"))
    found = next((file for file in own if file.is_file()), None)
    if found is None and len(named) > 1:
        folders = listed([str(file.parent) for file in named])
        raise ValueError(f"{path} holds what several callbacks found: give one of {folders}.")
    return found or next(iter(named), None)


class _Lines(NamedTuple):
    """The lines of a file that could be read, with what they hold, and those that could not, with the reason."""

    good: list[tuple[bytes, Any]]
    damaged: list[bytes]
    problems: list[str]
    ended: bool  # the last line has its line end


def read_folder(folder: Path, heal: bool) -> tuple[list[Record], list[dict[str, Any]], list[str]]:
    """Records in the order of their steps, rows of metrics, and what could not be read; `heal` moves that aside."""
    seen: set[int] = set()

    def parse_record(line: dict[str, Any]) -> Record:
        check_schema(line)
        record = Record.from_json(line, _read_arrays(folder, line))
        check_record(record)
        if record.step in seen:
            raise ValueError("its step was already read from an earlier line")
        seen.add(record.step)
        return record

    problems: list[str] = []
    found: list[list[Any]] = []
    for name, parse in ((RECORDS_FILE, parse_record), (METRICS_FILE, parse_metrics)):
        try:
            lines = _read_lines(folder / name, parse)
        except OSError as error:
            if heal or name == RECORDS_FILE:
                raise
            problems.append(f"{name} was not read: {error.strerror or error}.")
            lines = _Lines([], [], [], ended=True)
        problems += [f"{problem}{_MOVED if heal else ''}" for problem in lines.problems]
        if heal and (lines.damaged or not lines.ended):
            if lines.damaged:
                append_raw(folder / DAMAGED_FILE, b"".join(line + b"\n" for line in lines.damaged))
            write_whole(folder / name, b"".join(line + b"\n" for line, _ in lines.good))
        found.append([item for _, item in lines.good])
    records, metrics = found
    return sorted(records, key=lambda record: record.step), metrics, problems


_MOVED = f" The line was moved to {DAMAGED_FILE}."


def _read_lines(file: Path, parse: Callable[[dict[str, Any]], Any]) -> _Lines:
    content = read_regular(file) if file.exists() else b""
    lines = _Lines([], [], [], ended=content.endswith(b"\n") or not content)
    last = content.count(b"\n") + 1
    stream = io.BytesIO(content)
    for number, raw in enumerate(stream, start=1):
        raw = raw.rstrip(b"\n")
        if not raw.strip():
            continue
        if len(lines.damaged) >= MOST_DAMAGED:  # another kind of file
            lines.problems.append(f"{file.name} from line {number} on was not read: too much of it is damaged.")
            lines.damaged.append(raw + b"\n" + stream.read())
            break
        start = _start_of_record(raw)
        where = f"{file.name} line {number}"
        try:
            line = json.loads(raw[start:])
            if not isinstance(line, dict):
                raise ValueError("it holds no JSON object")
            if "step" in line:
                where += f" (step {quoted(line['step'])})"
            lines.good.append((raw[start:], parse(line)))
        except SchemaError as error:
            raise SchemaError(f"{file}, line {number}: {error}.") from error
        except Exception as error:  # whatever is wrong with a line costs this line
            lines.damaged.append(raw)
            lines.problems.append(f"{where} was left out: {_reason(error, last=number == last)}.")
            continue
        if start:
            lines.damaged.append(raw[:start])
            lines.problems.append(f"{where} begins with something else, which was left out.")
    return lines


def _start_of_record(raw: bytes) -> int:
    """Where a record begins that was written behind something else, such as the half of a line; 0 if it does not."""
    start = raw.rfind(_BEGIN)
    if start <= 0:
        return 0
    try:
        json.loads(raw)
    except Exception:
        return start
    return 0


def _reason(error: Exception, last: bool) -> str:
    if isinstance(error, json.JSONDecodeError):
        return "it breaks off, as when its writer was stopped or is still writing" if last else f"no JSON ({error})"
    said = f"it lacks {error}" if isinstance(error, KeyError) else str(error) or reason_of(error)
    return " ".join(printable(said).split())[:_LONGEST_REASON]


def _read_arrays(folder: Path, line: Mapping[str, Any]) -> dict[str, Any]:
    reference, step = line["arrays"], from_json(line["step"], int)
    name = array_file(step)
    if not isinstance(reference, dict):
        raise ValueError("it refers to no array file")
    if reference["file"] != name:
        raise ValueError(f"it refers to the array file {quoted(reference['file'])}, where {name!r} was expected")
    try:
        content = read_regular(folder / name, LARGEST_ARRAYS)
    except FileNotFoundError as error:
        raise ValueError(f"its array file {name} is missing") from error
    except OSError as error:
        raise ValueError(f"its array file {name} cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != reference["sha256"]:
        raise ValueError(f"its array file {name} is damaged: {len(content)} bytes with another SHA-256 than noted")
    try:
        return dict(load_arrays(content))
    except SafetensorError as error:
        raise ValueError(f"its array file {name} is no safetensors file ({error})") from error


def parse_metrics(line: Mapping[str, Any]) -> dict[str, Any]:
    values = from_json({name: value for name, value in line.items() if name not in ("step", "epoch")}, dict[str, float])
    return {"step": from_json(line["step"], int), "epoch": from_json(line["epoch"], int), **values}


def array_file(step: int) -> str:
    """Name of the file that holds the matrices of a step's record."""
    return f"step-{step:08d}.safetensors"
