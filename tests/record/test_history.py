"""The history on disk: what is appended is what is read, and a crash costs at most the record it hit."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from example_records import STEPS, example_history_records, example_record
from same import assert_same

from lightning_gw import disk
from lightning_gw.history import History, load_history
from lightning_gw.record import Record, SchemaError


@pytest.fixture
def records() -> list[Record]:
    return example_history_records(degenerate=0)


@pytest.fixture
def folder(tmp_path: Path, records: list[Record]) -> Path:
    history = History.open(tmp_path / "run" / "gw")
    for record in records:
        history.append(record)
        history.append_metrics(record.step, record.epoch, {"val_acc": record.step / 200, "val_loss": float("nan")})
    return tmp_path / "run" / "gw"


def _steps(history: History) -> list[int]:
    return [record.step for record in history]


# What is written is what is read


def test_appended_records_are_read_back_to_the_last_bit(folder: Path, records: list[Record]) -> None:
    for history in (load_history(folder), History.open(folder)):
        assert history.problems == ()
        assert_same(list(history), records)


@pytest.mark.parametrize("below", ["..", ".", "history.jsonl"], ids=["run", "gw", "file"])
def test_a_run_its_gw_folder_and_the_file_itself_are_all_found(folder: Path, below: str) -> None:
    history = load_history(folder / below)
    assert _steps(history) == list(STEPS)
    assert history.path is not None
    assert history.path.resolve() == folder.resolve()


def test_every_line_is_strict_json_and_names_its_array_file(folder: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["arrays"]["file"] for line in lines] == [f"step-{step:08d}.safetensors" for step in STEPS]
    assert lines[0]["metrics"]["val_loss"] is None
    assert not list(folder.glob(".*")), "temporary files stay behind"


def test_arrays_that_do_not_lie_in_order_in_memory_are_stored_right(tmp_path: Path) -> None:
    record = example_record()
    record.measures["skew"] = np.arange(25.0).reshape(5, 5).T  # type: ignore[index]
    History.open(tmp_path).append(record)
    np.testing.assert_array_equal(load_history(tmp_path)[0].measures["skew"], np.arange(25.0).reshape(5, 5).T)


def test_metrics_rows_are_flat_floats(folder: Path) -> None:
    rows = load_history(folder).metrics
    assert [(row["step"], row["epoch"], row["val_acc"]) for row in rows] == [(s, s // 50, s / 200) for s in STEPS]
    assert all(math.isnan(row["val_loss"]) for row in rows)


def test_metrics_called_step_or_epoch_give_way_to_the_rows_own(tmp_path: Path) -> None:
    History.open(tmp_path).append_metrics(7, 1, {"step": 3.5, "epoch": 9.0, "loss": 0.5})
    assert load_history(tmp_path).metrics == ({"step": 7, "epoch": 1, "loss": 0.5},)


def test_it_is_a_sequence_and_slices_are_histories(folder: Path) -> None:
    history = load_history(folder)
    assert len(history) == len(STEPS)
    assert history[-1].step == STEPS[-1]
    assert isinstance(history[1:3], History)
    assert _steps(history[1:3]) == list(STEPS[1:3])
    assert _steps(history[::-1]) == list(STEPS[::-1])
    assert [record.step for record in reversed(history)] == list(STEPS[::-1])
    with pytest.raises(IndexError):
        history[len(STEPS)]
    assert history[-1].gw.similarity.shape == (5, 5)


def test_a_history_in_memory_touches_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    history = History()
    history.append(example_record(0))
    history.append(example_record(10))
    history.append_metrics(10, 0, {"loss": 1.0})
    history.rewind(5)
    assert (_steps(history), history.metrics, history.path) == ([0], (), None)
    assert list(tmp_path.iterdir()) == []


# Continuing


def test_a_reopened_history_continues(folder: Path) -> None:
    History.open(folder).append(example_record(640))
    assert _steps(load_history(folder)) == [*STEPS, 640]


@pytest.mark.parametrize(("step", "why"), [(40, "already in"), (20, "lies before"), (160, "already in")])
def test_steps_must_grow(folder: Path, step: int, why: str) -> None:
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(ValueError, match=rf"Step {step} (is )?{why}.*rewind"):
        History.open(folder).append(example_record(step))
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_rewinding_drops_what_came_after_and_keeps_it_aside(folder: Path, records: list[Record]) -> None:
    history = History.open(folder)
    history.rewind(10)
    again = [example_record(40, seed=1), example_record(80, seed=1)]
    for record in again:
        history.append(record)
    for reader in (history, load_history(folder)):
        assert_same(list(reader), records[:2] + again)
        assert [row["step"] for row in reader.metrics] == [0, 10]
        assert reader.problems == ()
    superseded = [json.loads(line) for line in (folder / "superseded.jsonl").read_text().splitlines()]
    assert [line["step"] for line in superseded] == [40, 160]
    for line, record in zip(superseded, records[2:], strict=True):
        file = folder / "superseded" / f"{line['arrays']['sha256']}.safetensors"
        np.testing.assert_array_equal(disk_arrays(file)["couplings"], record.gw.couplings)
    assert len((folder / "superseded-metrics.jsonl").read_text().splitlines()) == 2


def disk_arrays(file: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(file)


def test_rewinding_to_the_last_step_changes_nothing(folder: Path) -> None:
    before = {file: file.read_bytes() for file in folder.iterdir()}
    History.open(folder).rewind(STEPS[-1])
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_rewinding_twice_keeps_both_pasts(folder: Path) -> None:
    history = History.open(folder)
    for seed in (1, 2):
        history.rewind(40)
        history.append(example_record(160, seed=seed))
    assert len((folder / "superseded.jsonl").read_text().splitlines()) == 2
    assert len(list((folder / "superseded").iterdir())) == 2


# Crashes and damage


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
    assert _steps(history) == [0, 40, 160]
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
    assert _steps(history) == list(STEPS)
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
    assert _steps(history) == list(STEPS)
    assert "line 5 (step 10)" in history.problems[0]


def test_a_crash_between_arrays_and_line_leaves_no_trace_of_the_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    history = History.open(folder)
    with monkeypatch.context() as patch:
        patch.setattr("lightning_gw.history.append_line", killed)
        with pytest.raises(KeyboardInterrupt):
            history.append(example_record(640))
    assert (folder / "step-00000640.safetensors").exists()
    assert _steps(load_history(folder)) == list(STEPS)
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
    assert _steps(history) == list(STEPS)
    history.append(example_record(640))
    assert _steps(load_history(folder)) == [*STEPS, 640]


# Refusals


def test_a_newer_schema_stops_the_reading_and_names_the_line(folder: Path) -> None:
    file = folder / "history.jsonl"
    file.write_text(file.read_text().replace('"schema":1,"step":40', '"schema":2,"step":40'))
    for read in (load_history, History.open):
        with pytest.raises(SchemaError, match=r"history\.jsonl, line 3: .*schema 2.*upgrade"):
            read(folder)


def test_nothing_to_load_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        load_history(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere" / "gw" / "history.jsonl") in str(error.value)
    assert str(tmp_path / "nowhere" / "history.jsonl") in str(error.value)


def test_a_history_that_was_only_opened_is_empty(tmp_path: Path) -> None:
    History.open(tmp_path / "gw")
    assert len(load_history(tmp_path)) == 0


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot be written in .*file/gw.*save_dir"):
        History.open(tmp_path / "file" / "gw")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="cannot be written in"):
            History.open(tmp_path / "gw")
    finally:
        tmp_path.chmod(0o700)


def test_a_loaded_history_refuses_to_be_written(folder: Path) -> None:
    history = load_history(folder)
    for change in (
        lambda: history.append(example_record(640)),
        lambda: history.append_metrics(640, 0, {}),
        lambda: history.rewind(10),
    ):
        with pytest.raises(PermissionError, match=r"loaded for reading; use History\.open"):
            change()
    assert _steps(history) == list(STEPS)
