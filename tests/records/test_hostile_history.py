"""Values that a stranger may have written into a history: each costs its record, and is named in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_gw import History, load_history
from lightning_gw.records.record import Record

#: Changes of a line, and what is said of it.
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "label": (lambda line: line["groups"].update(labels=[10**9] * len(line["layers"])), "groups.labels holds"),
    "boundary": (lambda line: line["groups"].update(boundaries=[10**9]), "groups.boundaries holds"),
    "step of 1e999": (lambda line: line.update(step=float("inf")), "inf was found where a whole number was expected"),
    "epoch of text": (lambda line: line.update(epoch="seven"), "'seven' was found where a whole number was expected"),
    "no factors": (lambda line: line["events"].append(event("growth", factors=[])), "0 factors for 1 layers"),
    "moved from nowhere": (lambda line: line["events"].append(event("boundary_moved")), "not from where to where"),
    "unknown kind": (lambda line: line["events"].append(event("explosion")), "explosion"),
    "unknown layer": (lambda line: line.update(degenerate={"nobody": "?"}), "'nobody', which is no layer of it"),
    "infinite distance": (lambda line: line["groups"]["adjacent"].__setitem__(0, "inf"), "holds what is no distance"),
    "layers of a word": (lambda line: line.update(layers="abc"), "a str was found where a list was expected"),
    "a number without end": (lambda line: line.update(seconds=10**400), "a number is too large"),
    "flags of numbers": (lambda line: line.update(unit_scale=3), "a int was found where a bool was expected"),
    "arrays of nothing": (lambda line: line.update(arrays=[1]), "refers to no array file"),
}


def event(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "step": 1, "group": 0, "layers": [0], "others": [], **more}


def change(folder: Path, number: int, how: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "history.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    how(lines[number])
    file.write_text("".join(json.dumps(line).replace("Infinity", "1e999") + "\n" for line in lines))


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_wrong_costs_its_record(folder: Path, records: list[Record], name: str) -> None:
    how, said = CHANGES[name]
    change(folder, 1, how)
    history = load_history(folder)
    assert [record.step for record in history] == [record.step for record in records if record.step != records[1].step]
    (problem,) = history.problems
    assert said in problem
    assert problem.startswith("history.jsonl line 2")
    assert len(problem.splitlines()) == 1


def test_what_would_act_on_a_terminal_is_written_out(folder: Path) -> None:
    change(folder, 1, lambda line: line.update(step="\x1b[2J\nNote: all is well"))
    (problem,) = load_history(folder).problems
    assert problem.isprintable()
    assert r"\x1b[2J" in problem


@pytest.mark.parametrize("kind", ["pipe", "device", "hole"])
def test_array_files_that_are_none_are_not_read(folder: Path, records: list[Record], kind: str) -> None:
    file = folder / f"step-{records[1].step:08d}.safetensors"
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        with file.open("wb") as stream:
            stream.truncate(2**40)
    history = load_history(folder)
    assert len(history) == len(records) - 1
    assert "no regular file" in history.problems[0] or "more than the 1024 MiB" in history.problems[0]


@pytest.mark.parametrize("garbage", [b"garbage", b'{"schema":1,"step":3,"laye', b"\0\0"])
def test_a_record_behind_garbage_is_read(folder: Path, records: list[Record], garbage: bytes) -> None:
    file = folder / "history.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = garbage + lines[1]
    file.write_bytes(b"".join(lines))
    assert len(load_history(folder)) == len(records)
    history = History.open(folder)
    assert [record.step for record in history] == [record.step for record in records]
    assert history.problems[0].startswith("history.jsonl line 2 (step 10) begins with something else")
    assert garbage in (folder / "damaged.jsonl").read_bytes()
    assert load_history(folder).problems == ()


def test_a_history_that_is_a_link_is_not_written_to(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    (folder / "history.jsonl").unlink()
    (folder / "history.jsonl").symlink_to(victim)
    with pytest.raises(OSError, match="cannot be written"):
        History.open(folder)
    assert victim.read_text() == ""
