"""Weights & Biases over HTTP: what its own client sends of real trainings to a server on this machine."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from callback_nets import Net, assert_same_history, loader, plain_net, trainer, watcher
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from wandb_file import OfflineRun, rows_of_records
from wandb_server import API_KEY, ServerRun, WandbServer

from lightning_gw import GWSimilarity, load_history
from lightning_gw.loggers.scalars import record_scalars
from lightning_gw.records.record import Record
from lightning_gw.records.words.description import describe

#: So that nothing but what is logged takes the client's time.
_QUICK = {
    "console": "off",
    "disable_git": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_file_stream_transmit_interval": 0.1,
    "init_timeout": 120,
}
_TABLES = ("gw/events", "gw/matrix", "gw/layers", "gw/adjacent_table", "gw/growth_table")
_PICTURES = ("gw/similarity", "gw/timeline")


def wandb_logger(url: str, folder: Path, run: str, *, resume: str = "allow", **settings: Any) -> WandbLogger:
    chosen = wandb.Settings(**(_QUICK | {"mode": "online", "base_url": url, "api_key": API_KEY} | settings))
    folder.mkdir(parents=True, exist_ok=True)
    return WandbLogger(save_dir=folder, project="some-project", id=run, resume=resume, settings=chosen)


def train(
    root: Path, logger: Any, *callbacks: Callback, checkpoint: Path | None = None, **options: Any
) -> tuple[Any, GWSimilarity]:
    """Eight steps, watched; the network that came out of them and its watcher."""
    module, callback = Net(plain_net()), watcher(root, **({"when": [4, 8]} | options))
    fit = trainer(root, callback, *callbacks, logger=logger, max_epochs=2)
    fit.fit(module, loader(), loader(32), ckpt_path=checkpoint)
    return module, callback


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as started:
        monkeypatch.setenv("WANDB_BASE_URL", started.url)
        monkeypatch.setenv("WANDB_API_KEY", API_KEY)
        monkeypatch.setattr("lightning_gw.loggers.content.PATIENCE", 600.0)  # a busy machine is no broken server
        yield started
        wandb.finish()


def gw_rows(run: ServerRun, prefix: str = "gw/") -> list[dict[str, Any]]:
    """The rows of looks; whatever else is ours holds the run's page."""
    ours = [row for row in run.rows if any(key.startswith(prefix) for key in row)]
    looks = [row for row in ours if f"{prefix}groups/count" in row]
    for row in ours:
        assert row in looks or [key for key in row if key.startswith(prefix)] == [f"{prefix}page"]
    return looks


def finite_scalars(record: Record, prefix: str = "gw/") -> dict[str, Any]:
    """What W&B gets of a record's numbers, with strength as a word."""
    scalars: dict[str, Any] = {key: value for key, value in record_scalars(record).items() if math.isfinite(value)}
    scalars["groups/strength"] = record.groups.strength
    if record.changed is not None:
        scalars["changed/strength"] = record.changed.strength
    return {prefix + key: value for key, value in scalars.items()}


def assert_rows_are_records(run: ServerRun, callback: GWSimilarity, prefix: str = "gw/") -> None:
    """Every number of every record arrived, in one row at its own step, and beside them only the page."""
    assert callback.history is not None
    rows = gw_rows(run, prefix)
    assert [row["trainer/global_step"] for row in rows] == [record.step for record in callback.history]
    for row, record in zip(rows, callback.history, strict=True):
        numbers = {key: value for key, value in row.items() if key.startswith(prefix) and not isinstance(value, dict)}
        assert numbers == finite_scalars(record, prefix)


@pytest.mark.slow
def test_an_online_run_holds_what_the_history_holds(server: WandbServer, tmp_path: Path) -> None:
    unwatched = Net(plain_net())
    trainer(tmp_path / "unwatched", max_epochs=2).fit(unwatched, loader(), loader(32))
    module, callback = train(tmp_path, wandb_logger(server.url, tmp_path, "one"))
    wandb.finish()

    assert server.unknown == []
    run, history = server.runs["one"], callback.history
    assert history is not None
    assert run.exit_codes == [0]
    assert_rows_are_records(run, callback)
    assert [row["trainer/global_step"] for row in run.rows if "val_loss" in row] == [3, 7]
    metrics = run.config["_wandb"]["value"]["m"]
    axes = {metric["2"]: metrics[metric["5"] - 1]["1"] for metric in metrics if "2" in metric}
    assert axes["gw/*"] == "trainer/global_step"

    for row in gw_rows(run):
        for key in (*_PICTURES, *_TABLES):
            content = run.files[row[key]["path"]]
            assert hashlib.sha256(content).hexdigest() == row[key]["sha256"]
            assert content.startswith(b"\x89PNG") == (key in _PICTURES)
    tables = [artifact for artifact in server.artifacts if artifact.type == "run_table"]
    assert len(tables) == len(_TABLES) * len(history)
    assert run.config["gw"]["value"]["geometry"] == "standardized"
    assert run.summary["gw/answer"] == describe(history)
    assert run.summary["gw/final/step"] == 8

    (artifact,) = [artifact for artifact in server.artifacts if artifact.type == "gw-history"]
    assert all(each.committed for each in server.artifacts)
    assert artifact.files.keys() == artifact.manifest["contents"].keys()
    (tmp_path / "downloaded").mkdir()
    for name, content in artifact.files.items():
        (tmp_path / "downloaded" / name).write_bytes(content)
    assert_same_history(load_history(tmp_path / "downloaded"), history)

    for name, weight in unwatched.state_dict().items():
        assert torch.equal(weight, module.state_dict()[name]), name


class StopAt(Callback):
    """Dies before a step, as machines do."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("power cut")


@pytest.mark.slow
def test_a_resumed_run_goes_on_where_its_rows_ended(server: WandbServer, tmp_path: Path) -> None:
    def saver() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path / "saved", filename="{step}", save_top_k=-1, every_n_train_steps=4)

    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, wandb_logger(server.url, tmp_path, "two"), saver(), StopAt(6), when="checkpoint")
    wandb.finish(exit_code=1)
    run = server.runs["two"]
    before = run.rows
    assert [row["trainer/global_step"] for row in gw_rows(run)] == [0, 4]

    logger = wandb_logger(server.url, tmp_path, "two", resume="must")
    _, callback = train(tmp_path, logger, saver(), checkpoint=tmp_path / "saved/step=4.ckpt", when="checkpoint")
    wandb.finish()
    assert server.unknown == []
    assert run.exit_codes == [1, 0]
    assert run.rows[: len(before)] == before
    assert [row["_step"] for row in run.rows] == list(range(len(run.rows)))
    assert_rows_are_records(run, callback)
    assert [row["trainer/global_step"] for row in gw_rows(run)] == [0, 4, 8]
    assert run.summary["gw/final/step"] == 8
    *_, last = [artifact for artifact in server.artifacts if artifact.type == "gw-history"]
    assert len(last.files["history.jsonl"].splitlines()) == 3


@pytest.mark.slow
def test_two_processes_share_one_run(server: WandbServer, tmp_path: Path) -> None:
    """Each writes under its own prefix; in a shared run W&B takes no step, so that only the rows' own can be right."""
    words = [
        sys.executable,
        str(Path(__file__).parent / "second_process.py"),
        server.url,
        "three",
        str(tmp_path / "second"),
    ]
    second = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        first = wandb_logger(server.url, tmp_path, "three", mode="shared", x_primary=True, x_label="first")
        _, callback = train(tmp_path, first)
        wandb.finish()
        said, _ = second.communicate(timeout=240)
    finally:
        second.kill()
    assert second.returncode == 0, said
    assert server.unknown == []
    run = server.runs["three"]
    assert_rows_are_records(run, callback)
    rows = gw_rows(run, "second/")
    assert [row["trainer/global_step"] for row in rows] == [0, 2, 6, 8]
    for row, record in zip(rows, load_history(tmp_path / "second"), strict=True):
        assert finite_scalars(record, "second/").items() <= row.items()
    writers = {prefix: {run.clients[row["_step"]] for row in gw_rows(run, prefix)} for prefix in ("gw/", "second/")}
    assert [len(found) for found in writers.values()] == [1, 1]
    assert writers["gw/"] != writers["second/"]
    assert run.config["gw"]["value"]["geometry"] == run.config["second"]["value"]["geometry"]
    assert {run.summary[f"{prefix}final/step"] for prefix in ("gw/", "second/")} == {8}
    assert sum(artifact.type == "gw-history" and artifact.committed for artifact in server.artifacts) == 2


class Breaks(Callback):
    """Breaks a server in the middle of training."""

    def __init__(self, server: WandbServer, how: str) -> None:
        self.server, self.how = server, how

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 3:
            self.server.die() if self.how == "dies" else self.server.fall_silent()


@pytest.mark.parametrize("how", ["dies", pytest.param("falls silent", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_server_that_breaks_holds_up_one_look_at_most(
    how: str, server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """W&B asks about every table: one look may wait for the answers, later ones leave tables out and do not."""
    monkeypatch.setattr(wandb.Api, "_HTTP_TIMEOUT", 2)
    monkeypatch.setattr("lightning_gw.loggers.content.PATIENCE", 3.5)
    impatient = {f"x_{what}_retry_max": 1 for what in ("graphql", "file_stream", "file_transfer")}
    impatient |= {f"x_{what}_timeout_seconds": 2 for what in ("graphql", "file_stream", "file_transfer")}
    logger = wandb_logger(server.url, tmp_path, "four", finish_timeout=3, **impatient)
    module, callback = train(tmp_path, logger, Breaks(server, how))
    wandb.finish()

    unwatched = Net(plain_net())
    trainer(tmp_path / "unwatched", max_epochs=2).fit(unwatched, loader(), loader(32))
    for name, weight in unwatched.state_dict().items():
        assert torch.equal(weight, module.state_dict()[name]), name
    assert callback.history is not None
    assert [record.step for record in callback.history] == [0, 4, 8]
    # What the server never got lies in the run's own folder, from where `wandb sync` takes it.
    kept = rows_of_records(OfflineRun.read(tmp_path))
    for row, record in zip(kept, callback.history, strict=True):
        assert finite_scalars(record).items() <= row.items()
        assert row.keys() >= {f"{key}.path" for key in _PICTURES}
    told = [str(warning.message) for warning in recwarn if "W&B" in str(warning.message)]
    with_tables = [row["trainer/global_step"] for row in kept if "gw/matrix.path" in row]
    assert with_tables == [0, 4]
    assert len(told) == 1
    assert "did not answer about the tables of step 4" in told[0]
    assert "scalars and pictures from now on" in told[0]
