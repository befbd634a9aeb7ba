"""A run is called by the name that its user gave it in W&B, wherever that is on record."""

from __future__ import annotations

import json
import struct
import time
import zlib
from pathlib import Path

import pytest
from pytorch_lightning.loggers import WandbLogger
from report_folders import save
from synthetic_runs import DRIFT, make_run

from lightning_gw.report.run.loading import load_runs
from lightning_gw.report.run.titles import run_title


def field(number: int, value: bytes) -> bytes:
    """A field of a protocol-buffer message that is text or a message."""
    length, digits = len(value), bytearray()
    while length > 127:
        digits.append(length & 127 | 128)
        length >>= 7
    key = number << 3 | 2
    return bytes([key] if key < 128 else [key & 127 | 128, key >> 7]) + bytes([*digits, length]) + value


def wandb_file(*names: str, config: bytes = b"") -> bytes:
    """A ``.wandb`` file whose run has these names one after the other, each behind other fields of every kind."""
    content = b":W&B\xe1\xbe\x00"
    number, fixed = b"\x08\x96\x01", b"\x11" + bytes(8) + b"\x1d" + bytes(4)
    for name in names:
        run = field(1, b"abc") + field(4, config) + field(8, name.encode()) + number
        record = number + fixed + field(17, run)
        kind = 1
        while record or kind == 1:
            room = 32768 - len(content) % 32768 - 7
            if room < 0:
                content += bytes(room + 7)
                continue
            chunk, record = record[:room], record[room:]
            kind = (1 if kind == 1 else 4) if not record else (2 if kind == 1 else 3)
            content += struct.pack("<IHB", zlib.crc32(bytes([kind]) + chunk), len(chunk), kind) + chunk
            kind = 3 if record else 0
    return content


def in_wandb(folder: Path, content: bytes, started: str = "20260101_000000") -> Path:
    """A run's folder ``project/abc`` with W&B's file on it beside."""
    of_wandb = folder / f"wandb/offline-run-{started}-abc"
    of_wandb.mkdir(parents=True)
    (of_wandb / "run-abc.wandb").write_bytes(content)
    run = folder / "project/abc"
    run.mkdir(parents=True, exist_ok=True)
    return run


@pytest.mark.parametrize(
    ("content", "title"),
    [
        (wandb_file("my run"), "my run"),
        (wandb_file("my run", config=b"c" * 70_000), "my run"),  # over three blocks
        (wandb_file("my run", "my  better\nrun"), "my better run"),
        (wandb_file("é" * 200), "é" * 120 + "…"),
        (wandb_file(""), "project, run abc"),
        (wandb_file("my run")[:-5], "project, run abc"),
        (b"my run", "project, run abc"),
        (b"", "project, run abc"),
    ],
    ids=["named", "large", "renamed", "long", "nameless", "cut", "other", "empty"],
)
def test_a_run_is_called_as_in_wandb(tmp_path, content, title):
    run = in_wandb(tmp_path, content)
    assert run_title(run) == title
    assert run_title(run / "gw") == title


def test_of_several_callbacks_each_has_its_name_behind_and_the_latest_start_says_what_the_run_is_called(tmp_path):
    in_wandb(tmp_path, wandb_file("first"))
    run = in_wandb(tmp_path, wandb_file("again"), started="20260102_000000")
    assert run_title(run / "gw-words") == "again, gw-words"


def test_every_beginning_of_a_file_of_wandb_is_survived(tmp_path):
    run = in_wandb(tmp_path, b"")
    (file,) = tmp_path.glob("wandb/*/run-abc.wandb")
    whole = wandb_file("my run")
    assert run_title(run) == "project, run abc"
    for end in range(len(whole)):
        file.write_bytes(whole[:end] + bytes([255]) * 3)
        assert run_title(run) in ("project, run abc", "my run"), end


@pytest.mark.parametrize("several", [True, False])
def test_a_run_is_called_as_its_config_says(tmp_path, several):
    logger = {"class_path": "pytorch_lightning.loggers.WandbLogger", "init_args": {"name": "my run", "project": "p"}}
    other = {"class_path": "CSVLogger", "init_args": {"name": "csv"}}
    config = json.dumps({"trainer": {"logger": [other, logger] if several else logger}})
    (tmp_path / "live").mkdir()
    (tmp_path / "live/config.yaml").write_text(config)
    assert run_title(tmp_path / "live") == "my run"
    (tmp_path / "live/run.yaml").write_text("{}")  # of a comparison, which calls its runs by strategy and seed
    assert run_title(tmp_path / "live") == "live"


@pytest.mark.parametrize(
    "logger", ["null", "true", "[3, {class_path: a.WandbLogger}]", "{class_path: WandbLogger}", "["]
)
def test_a_config_that_names_nothing_leaves_the_folders_name(tmp_path, logger):
    (tmp_path / "live").mkdir()
    (tmp_path / "live/config.yaml").write_text(f"trainer: {{logger: {logger}}}")
    assert run_title(tmp_path / "live") == "live"


def test_runs_of_one_name_are_told_apart_by_where_they_are(tmp_path):
    runs = [in_wandb(tmp_path / place, wandb_file("my run")) for place in ("one", "two")]
    for run in runs:
        save(make_run(DRIFT[:1]), run)
    assert [run.name for run in load_runs(runs).runs] == [str(run) for run in runs]


@pytest.mark.slow
def test_what_wandb_really_writes_is_read(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    logger = WandbLogger(name="my run", project="project", save_dir=tmp_path, mode="offline")
    logger.experiment.config.update({"width": 3})
    logger.log_metrics({"loss": 1.0})
    run = tmp_path / "project" / logger.version / "gw"
    wandb.finish()
    end = time.monotonic() + 20
    while run_title(run) != "my run" and time.monotonic() < end:
        time.sleep(0.1)  # the file may not be whole yet
    assert run_title(run) == "my run"
