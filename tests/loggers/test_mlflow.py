"""What MLflow's file store holds after a run is what the history holds."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from example_records import STEPS, example_history_records
from expected_logs import CONFIG, PACKAGES, expected_scalars

from lightning_gw.loggers import dispatch as gw_loggers
from lightning_gw.records.history import History

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed; pip install mlflow-skinny to test its logger")


@pytest.fixture(autouse=True)
def file_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # which newer versions ask for
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")


def logger_of(package: str, root: Path) -> Any:
    return importlib.import_module(f"{package}.loggers").MLFlowLogger("gw", tracking_uri=f"file:{root / 'mlruns'}")


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.representatives("pytorch_lightning")
def test_every_number_in_mlflow_is_that_of_the_history(package: str, tmp_path: Path) -> None:
    logger = logger_of(package, tmp_path)
    records = example_history_records()
    history = History(records)
    problems = gw_loggers.log_config([logger], CONFIG)
    for record in records:
        problems += gw_loggers.log_record([logger], record, history)
    problems += gw_loggers.log_summary([logger], history)
    assert problems == []
    client = mlflow.tracking.MlflowClient(f"file:{tmp_path / 'mlruns'}")
    run = client.get_run(logger.run_id)
    assert run.data.params["gw/geometry"] == "standardized"
    found: dict[int, dict[str, float]] = {step: {} for step in STEPS}
    for key in run.data.metrics:
        for metric in client.get_metric_history(logger.run_id, key):
            found[metric.step][key] = metric.value
    for record in records:
        assert found[record.step] == pytest.approx(expected_scalars(record), rel=1e-15, abs=0)
