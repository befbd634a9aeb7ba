"""The history on disk: what is appended is what is read, and what cannot be used is refused."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from example_records import STEPS, example_record, steps_of
from same_records import assert_same

from lightning_gw.cli import main
from lightning_gw.records.history import History, load_history
from lightning_gw.records.record import Record, SchemaError

# What is written is what is read


def test_appended_records_are_read_back_to_the_last_bit(folder: Path, records: list[Record]) -> None:
    for history in (load_history(folder), History.open(folder)):
        assert history.problems == ()
        assert_same(list(history), records)


@pytest.mark.parametrize("below", ["..", ".", "history.jsonl"], ids=["run", "gw", "file"])
def test_a_run_its_gw_folder_and_the_file_itself_are_all_found(folder: Path, below: str) -> None:
    history = load_history(folder / below)
    assert steps_of(history) == list(STEPS)
    assert history.path is not None
    assert history.path.resolve() == folder.resolve()


def test_a_callback_with_a_name_is_found_by_the_folder_of_its_run_while_it_is_the_only_one(folder: Path) -> None:
    run = folder.parent
    folder.rename(run / "gw-words")
    for given in (run, run / "gw-words", run / "gw-words" / "history.jsonl"):
        assert load_history(given).path == run / "gw-words"
    shutil.copytree(run / "gw-words", run / "gw-images")
    with pytest.raises(ValueError, match=r"several callbacks found: give one of \S+gw-images and \S+gw-words\."):
        load_history(run)
    assert steps_of(load_history(run / "gw-images")) == list(STEPS)
    shutil.copytree(run / "gw-words", folder)
    assert load_history(run).path == folder, "that of the callback without a name"


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
    assert steps_of(history[1:3]) == list(STEPS[1:3])
    assert steps_of(history[::-1]) == list(STEPS[::-1])
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
    assert (steps_of(history), history.metrics, history.path) == ([0], (), None)
    assert list(tmp_path.iterdir()) == []


# Continuing


def test_a_reopened_history_continues(folder: Path) -> None:
    History.open(folder).append(example_record(640))
    assert steps_of(load_history(folder)) == [*STEPS, 640]


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
    assert steps_of(history) == list(STEPS)


def test_an_artifact_of_wandb_is_downloaded_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    history = History.open(tmp_path / "gw")
    history.append(example_record(10))

    class Artifact:
        type = "gw-history"

        def download(self) -> str:
            assert self.type == "gw-history", "anything else is not to be downloaded"
            return str(tmp_path / "gw")

    class Api:
        def artifact(self, name: str) -> Artifact:
            if name != "team/nets/gw-history-abc:v3":
                raise ValueError("no such artifact")
            return Artifact()

    monkeypatch.setattr(wandb, "Api", Api)
    assert [record.step for record in load_history("team/nets/gw-history-abc:v3")] == [10]
    with pytest.raises(FileNotFoundError, match=r"W&B gave no artifact 'team/nets/other:v1' \(ValueError: no such"):
        load_history("team/nets/other:v1")
    assert main(["report", "team/nets/gw-history-abc:v3"]) == 0
    assert (tmp_path / "gw/report.html").is_file()
    assert main(["report", "team/nets/other:v1"]) == 2
    monkeypatch.setattr(Artifact, "type", "model")
    with pytest.raises(ValueError, match="is of type 'model'"):
        load_history("team/nets/gw-history-abc:v3")
