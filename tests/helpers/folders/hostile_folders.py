"""Folders as strangers may leave them: good ones, of which a fuzzer has changed something."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

#: What a value becomes: other types, numbers without end or sense, names that lead elsewhere, text that acts.
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    7,
    10**9,
    10**40,
    -(10**400),
    1e-300,
    float("inf"),
    "inf",
    "",
    "x" * 5000,
    "../../outside",
    "/etc/passwd",
    "\x1b[2J\x1b]0;owned\x07",
    "two\nlines",
    "\ud800",
    "</script><img src=x onerror=1>",
    [],
    [[]],
    {},
    [1, "a", None],
    {"a": {"b": []}},
    [1e999] * 9,
)
BYTES = (b"", b"\n", b"\0", b"\xff\xfe", b"{", b"}", b"[" * 5000, b'{"schema":1}', b"1e999", b"&a [*a]", b"\x1b[31m")


def copy_of(folder: Path, place: Path) -> Path:
    """A copy of a folder, in place of what is there."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    return place


def damage(folder: Path, random: Random) -> str:
    """Change one to three things of a folder; says what, for whoever has to find out why it mattered."""
    done = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        # Not what was put in the place of a file before: a pipe, a device, a hole of a terabyte.
        files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink()]
        files = [file for file in files if file.stat().st_size < 2**20]
        if files:
            file = random.choice(files)
            how = random.choice((_values, _values, _values, _bytes, _bytes, _lines, _kind))
            done.append(f"{how.__name__} of {file.relative_to(folder)}: {how(file, random)}")
    return "; ".join(done)


def _values(file: Path, random: Random) -> str:
    """Another value somewhere in a file of JSON, or in one of its lines."""
    try:
        text = file.read_text(encoding="utf-8")
        lines = [text] if file.suffix == ".json" else text.split("\n")
        number = random.randrange(len(lines))
        content = json.loads(lines[number])
    except (ValueError, RecursionError):
        return _bytes(file, random)
    at, holder, key = [], None, None
    node = content
    while isinstance(node, dict | list) and node and (holder is None or random.random() < 0.8):
        holder = node
        key = random.choice(list(node)) if isinstance(node, dict) else random.randrange(len(node))
        at.append(str(key))
        node = node[key]
    if holder is None:
        return "nothing in it"
    value = random.choice(VALUES)
    if random.random() < 0.15:
        del holder[key]
    elif random.random() < 0.1 and isinstance(holder, list):
        holder *= 2
    else:
        holder[key] = value
    lines[number] = json.dumps(content)
    if random.random() < 0.3:
        lines[number] = lines[number].replace("Infinity", "1e999")
    file.write_text("\n".join(lines), encoding="utf-8")
    return f"{'.'.join(at)} = {str(value)[:30]!r}"


def _bytes(file: Path, random: Random) -> str:
    content = bytearray(file.read_bytes())
    start = random.randrange(len(content) + 1)
    end = min(len(content), start + random.choice((0, 1, 1, 8, 200)))
    content[start:end] = random.choice((*BYTES, bytes([random.randrange(256)])))
    file.write_bytes(content if random.random() < 0.9 else content[:start])
    return f"from {start}"


def _lines(file: Path, random: Random) -> str:
    lines = file.read_bytes().split(b"\n")
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    what = random.choice(("doubled", "swapped", "joined"))
    if what == "doubled":
        lines.insert(other, lines[one])
    elif what == "swapped":
        lines[one], lines[other] = lines[other], lines[one]
    else:
        lines[one] = lines[one] + lines[other]
    file.write_bytes(b"\n".join(lines))
    return f"{one} and {other} {what}"


def _kind(file: Path, random: Random) -> str:
    """Something else in the place of a file."""
    file.unlink()
    kind = random.choice(("gone", "pipe", "device", "folder", "hole", "loop", "outside"))
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    elif kind == "hole":
        with file.open("wb") as stream:
            stream.truncate(2**40)
    elif kind == "loop":
        file.symlink_to(file)
    elif kind == "outside":
        file.symlink_to("/etc/hostname")
    return kind
