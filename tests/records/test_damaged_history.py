"""A crash, a full disk or damage costs at most the record it hit."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from example_records import STEPS, example_record, steps_of
from same_records import assert_same

from lightning_gw.records.history import History, load_history
from lightning_gw.records.record import Record
from lightning_gw.utilities.storage import files as disk


@pytest.mark.slow
def test_a_line_cut_anywhere_costs_that_record_only_and_is_healed(folder: Path, records: list[Record]) -> None:
    file = folder / "history.jsonl"
    whole = file.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    # Reading costs little, so every byte is tried; reopening and appending flush to the disk, so every 29th.
    for cut in range(start, len(whole)):
        file.write_bytes(whole[:cut])
        history = load_history(folder)
        complete = cut == len(whole) - 1  # only the line end is missing
        assert len(history) == len(records) - (not complete), cut
        assert len(history.problems) == (not complete and cut > start), cut
        assert all("line 4" in problem for problem in history.problems)
        assert file.read_bytes() == whole[:cut], "reading changed the file"
        if (cut - start) % 29 == 0 or complete:
            healed = History.open(folder)
            assert len(healed.problems) == (not complete and cut > start)
            assert all("damaged.jsonl" in problem for problem in healed.problems)
            healed.append(example_record(640))
            again = load_history(folder)
            assert_same(list(again), [*records[: 4 if complete else 3], example_record(640)])
            assert again.problems == ()
            if not complete and cut > start:
                assert (folder / "damaged.jsonl").read_bytes() == whole[start:cut] + b"\n"
                (folder / "damaged.jsonl").unlink()
            file.write_bytes(whole)


def test_a_metrics_line_cut_anywhere_is_healed(folder: Path) -> None:
    file = folder / "metrics.jsonl"
    whole = file.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for cut in range(start + 1, len(whole) - 1):
        file.write_bytes(whole[:cut])
        history = load_history(folder)
        assert len(history.metrics) == len(STEPS) - 1
        assert len(history.problems) == 1
        assert "metrics.jsonl line 4" in history.problems[0]
    History.open(folder).append_metrics(640, 9, {"val_acc": 1.0})
    assert [row["step"] for row in load_history(folder).metrics] == [0, 10, 40, 640]


@pytest.mark.parametrize("damage", ["truncated", "emptied", "missing", "flipped", "a folder", "another's"])
def test_a_damaged_array_file_costs_that_record_only(folder: Path, damage: str) -> None:
    file = folder / "step-00000010.safetensors"
    content = file.read_bytes()
    match damage:
        case "truncated":
            file.write_bytes(content[: len(content) // 2])
        case "emptied":
            file.write_bytes(b"")
        case "missing":
            file.unlink()
        case "flipped":
            file.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
        case "a folder":
            file.unlink()
            file.mkdir()
        case "another's":
            shutil.copy(folder / "step-00000040.safetensors", file)
    history = load_history(folder)
    assert steps_of(history) == [0, 40, 160]
    assert len(history.problems) == 1
    assert "line 2 (step 10)" in history.problems[0]
    assert file.name in history.problems[0]


def test_every_flipped_byte_of_an_array_file_is_noticed(tmp_path: Path) -> None:
    History.open(tmp_path).append(example_record(layers=("a", "b"), inputs=2))
    file = tmp_path / "step-00000000.safetensors"
    content = file.read_bytes()
    for position in range(0, len(content), 7):
        file.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        history = load_history(tmp_path)
        assert len(history) == 0
        assert "is damaged" in history.problems[0]


@pytest.mark.parametrize(
    "line",
    [b"\x00" * 40, b"not json", b'"text"', b"[1]", b"\xff\xfe", b"{}", b'{"schema": 1, "step": 5}', b"[" * 10**5],
)
def test_foreign_lines_are_named_and_skipped(folder: Path, line: bytes) -> None:
    file = folder / "history.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], line + b"\n", *lines[1:]]))
    history = load_history(folder)
    assert steps_of(history) == list(STEPS)
    assert len(history.problems) == 1
    assert "history.jsonl line 2" in history.problems[0]
    assert History.open(folder).problems[0].endswith("The line was moved to damaged.jsonl.")
    assert (folder / "damaged.jsonl").read_bytes() == line + b"\n"
    assert load_history(folder).problems == ()


def test_a_line_cannot_point_outside_its_folder(folder: Path) -> None:
    file = folder / "history.jsonl"
    file.write_text(file.read_text().replace("step-00000010.safetensors", "../gw/step-00000010.safetensors"))
    assert "'../gw/step-00000010.safetensors'" in load_history(folder).problems[0]


def test_a_step_that_stands_twice_is_read_once_and_named(folder: Path) -> None:
    file = folder / "history.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines, lines[1]]))
    history = load_history(folder)
    assert steps_of(history) == list(STEPS)
    assert "line 5 (step 10)" in history.problems[0]


def test_a_crash_between_arrays_and_line_leaves_no_trace_of_the_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    history = History.open(folder)
    with monkeypatch.context() as patch:
        patch.setattr("lightning_gw.records.history.append_line", killed)
        with pytest.raises(KeyboardInterrupt):
            history.append(example_record(640))
    assert (folder / "step-00000640.safetensors").exists()
    assert steps_of(load_history(folder)) == list(STEPS)
    resumed = History.open(folder)
    resumed.append(example_record(640, seed=1))
    assert_same(load_history(folder)[-1], example_record(640, seed=1))


def test_a_crash_while_arrays_are_written_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "whole"
    disk.write_whole(file, b"old")

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        disk.write_whole(file, b"new and longer")
    assert file.read_bytes() == b"old"


def test_a_full_disk_leaves_the_history_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History.open(folder)
    before = (folder / "history.jsonl").read_bytes()
    real_fsync = os.fsync

    def full(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), (folder / "history.jsonl").stat()):
            raise OSError(errno.ENOSPC, "No space left on device")
        real_fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"cannot be written in .*gw \(No space left on device\)"):
            history.append(example_record(640))
    assert (folder / "history.jsonl").read_bytes() == before
    assert steps_of(history) == list(STEPS)
    history.append(example_record(640))
    assert steps_of(load_history(folder)) == [*STEPS, 640]
