"""Weights & Biases runs that somebody else started, or that are taken up again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from example_records import example_history_records
from expected_logs import CONFIG, expected_in_wandb
from pytorch_lightning.loggers import WandbLogger
from wandb_file import OfflineRun, rows_of_records

from lightning_gw.loggers import dispatch as gw_loggers
from lightning_gw.loggers.wandb import WandbBackend
from lightning_gw.records.history import History
from lightning_gw.records.words.description import describe


@pytest.fixture(autouse=True)
def finish_wandb() -> Iterator[None]:
    yield
    wandb.finish()


@pytest.mark.slow
def test_a_run_of_the_users_own_is_logged_to_beside_their_rows(tmp_path: Path) -> None:
    run = wandb.init(mode="offline", dir=tmp_path, project="mine")
    run.log({"mine": 1.0})
    attached = [WandbLogger(experiment=run)]
    records = example_history_records()
    assert gw_loggers.log_config(attached, CONFIG) == []
    for record in records:
        gw_loggers.log_record(attached, record, records)
        run.log({"mine": 2.0})
    wandb.finish()
    read = OfflineRun.read(tmp_path)
    assert read.step_metrics["gw/*"] == "trainer/global_step"
    assert sum("mine" in row for row in read.rows) == 1 + len(records)
    for row, record in zip(rows_of_records(read), records, strict=True):
        assert expected_in_wandb(record).items() <= row.items()


@pytest.mark.slow
def test_a_resumed_run_goes_on_under_the_same_id(tmp_path: Path) -> None:
    records = example_history_records()
    for part, folder in ((records[:2], tmp_path / "first"), (records[2:], tmp_path / "second")):
        folder.mkdir()
        attached = [WandbLogger(mode="offline", save_dir=folder, id="thesame", resume="allow")]
        gw_loggers.log_config(attached, CONFIG)  # again, with the same values
        for record in part:
            assert gw_loggers.log_record(attached, record, History(records)) == []
        assert attached[0].experiment.id == "thesame"
        wandb.finish()
    steps = [
        row["trainer/global_step"]
        for folder in ("first", "second")
        for row in rows_of_records(OfflineRun.read(tmp_path / folder))
    ]
    assert steps == [record.step for record in records]
    assert len(set(steps)) == len(steps)


@pytest.mark.slow
def test_a_server_that_is_not_there_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the connection cannot be made, the logger fails, is named, and is not waited for a second time."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port, where nobody listens
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("lightning_gw.loggers.content.PATIENCE", 0.5)
    attached = [WandbLogger(mode="online", save_dir=tmp_path, settings=wandb.Settings(init_timeout=2))]
    records = example_history_records()
    first = gw_loggers.log_record(attached, records[0], records)
    assert any("WandbLogger did not take the record of step 0" in problem for problem in first)
    assert any("is not asked again" in problem for problem in first)
    assert not any("WandbLogger" in problem for problem in gw_loggers.log_record(attached, records[1], records))


@pytest.mark.slow
def test_tables_that_fail_cost_a_record_only_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr(wandb.Table, "__init__", broken)
    attached = [WandbLogger(mode="offline", save_dir=tmp_path)]
    records = example_history_records()
    problems = [gw_loggers.log_record(attached, record, records)[-1] for record in records]
    assert problems == [
        f"W&B did not take the tables of step {record.step} (ConnectionError: no answer)." for record in records
    ]
    wandb.finish()
    for row, record in zip(rows_of_records(OfflineRun.read(tmp_path)), records, strict=True):
        assert expected_in_wandb(record).items() <= row.items()
        assert row.keys() >= {"gw/similarity.path", "gw/timeline.path"}
        assert "gw/matrix.path" not in row


@pytest.mark.slow
def test_tables_that_hold_training_up_are_left_out_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = wandb.Table.bind_to_run  # this asks the server, where there is one

    def slow(*args: Any, **options: Any) -> None:
        time.sleep(1.0)
        bind(*args, **options)

    monkeypatch.setattr(wandb.Table, "bind_to_run", slow)
    attached = [WandbLogger(mode="offline", save_dir=tmp_path)]
    records = example_history_records()
    assert not any("W&B" in problem for problem in gw_loggers.log_record(attached, records[0], records))
    monkeypatch.setattr("lightning_gw.loggers.content.PATIENCE", 0.9)
    *_, problem = gw_loggers.log_record(attached, records[1], records)
    assert f"did not answer about the tables of step {records[1].step} in time" in problem
    for record in records[2:]:
        assert not any("W&B" in problem for problem in gw_loggers.log_record(attached, record, records))
    wandb.finish()
    rows = rows_of_records(OfflineRun.read(tmp_path))
    assert ["gw/matrix.path" in row for row in rows] == [True, True, *[False] * (len(records) - 2)]
    for row, record in zip(rows, records, strict=True):
        assert expected_in_wandb(record).items() <= row.items()


@pytest.mark.parametrize(
    ("offline", "disabled", "entity", "offered"),
    [(False, False, "me", "me/p"), (True, False, "me", ""), (False, True, "me", ""), (False, False, "", "")],
)
def test_only_a_run_that_the_server_has_is_offered_a_workspace(
    monkeypatch: pytest.MonkeyPatch, offline: bool, disabled: bool, entity: str, offered: str
) -> None:
    run = SimpleNamespace(entity=entity, project="p", offline=offline, disabled=disabled)
    monkeypatch.setattr(gw_loggers, "backend_of", lambda logger, prefix: WandbBackend(run, prefix))
    assert gw_loggers.online_project([object()]) == offered
    assert gw_loggers.online_project([]) == ""


def test_a_run_that_ended_early_gets_its_answer_and_nothing_that_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, history = SimpleNamespace(summary={}), History(example_history_records())
    monkeypatch.setattr(gw_loggers, "backend_of", lambda logger, prefix: WandbBackend(run, prefix))
    assert gw_loggers.log_answer([object()], history, "gw/words/") == []
    assert run.summary == {"gw/words/answer": describe(history)}


def test_the_page_stands_at_the_step_of_the_last_look_as_loggers_count() -> None:
    rows: list[dict[str, Any]] = []
    run = SimpleNamespace(summary={}, log=rows.append)
    last = replace(example_history_records()[-1], logged_at=5)
    assert last.step != 5
    WandbBackend(run, "gw/").log_summary(History([last]))
    assert [row["trainer/global_step"] for row in rows] == [5]


@pytest.mark.slow
def test_the_attributes_that_an_offer_asks_for_are_those_of_a_run(tmp_path: Path) -> None:
    logger = WandbLogger(project="p", mode="offline", save_dir=tmp_path)
    assert (logger.experiment.offline, logger.experiment.disabled, logger.experiment.project) == (True, False, "p")
    assert gw_loggers.online_project([logger]) == ""
