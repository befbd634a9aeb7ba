"""A run's records, and the folder that its history was written to."""

from __future__ import annotations

from pathlib import Path

import pytest
from example_records import example_history_records

from lightning_gw.records.history import History
from lightning_gw.records.record import Record


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
