"""Loggers of all other kinds, loggers that fail, and what cannot be logged."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from example_records import example_history_records, example_record
from expected_logs import CONFIG, PACKAGES, expected_scalars
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_gw.loggers import dispatch as gw_loggers
from lightning_gw.records.history import History


class Recorder:
    """A logger that offers Lightning's `log_metrics` and nothing else."""

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))


class MLflowLike(Recorder):
    """As much of Lightning's MLFlowLogger as tells it apart; MLflow itself is no dependency of the tests."""

    class experiment:
        def log_batch(self) -> None: ...


class Failing(Recorder):
    @property
    def experiment(self) -> Any:
        raise ConnectionError("the server does not answer")


def test_any_logger_gets_the_scalars() -> None:
    logger, record = Recorder(), example_record(10)
    gw_loggers.log_record([logger], record, [])
    assert logger.rows == [(10, pytest.approx(expected_scalars(record), rel=1e-15))]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # its own, about NumPy and protobuf
def test_tensorboardx_gets_numbers_pictures_and_sentences_without_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = pytest.importorskip("tensorboardX")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # importing it fails, as where it is missing
    history = History(example_history_records())
    logger = SimpleNamespace(experiment=writers.SummaryWriter(str(tmp_path)), name="tensorboardX")
    problems = gw_loggers.log_config([logger], CONFIG)
    for place, record in enumerate(history):
        problems += gw_loggers.log_record([logger], record, history[: place + 1])
    problems += gw_loggers.log_summary([logger], history)
    logger.experiment.close()
    assert problems == []
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    for record in history:
        for key, value in expected_scalars(record).items():
            found = {event.step: event.value for event in events.Scalars(key)}
            assert found[record.step] == pytest.approx(value, rel=1e-6), key
    for key in ("gw/similarity", "gw/timeline"):
        images = events.Images(key)
        assert [image.step for image in images] == [record.step for record in history]
        assert all(image.encoded_image_string.startswith(b"\x89PNG") for image in images)
    assert [text.step for text in events.Tensors("gw/sentence/text_summary")] == [record.step for record in history]


def test_no_logger_is_no_problem() -> None:
    history = History(example_history_records(degenerate=0))
    assert gw_loggers.log_config([], CONFIG) == []
    assert gw_loggers.log_record([], history[-1], history) == []
    assert gw_loggers.log_summary([], history) == []


def test_a_logger_that_fails_is_named_and_the_others_go_on() -> None:
    first, last, record = Recorder(), Recorder(), example_record(10, growth=np.ones(4))
    problems = gw_loggers.log_record([first, Failing(), last], record, [])
    assert first.rows == last.rows != []
    assert problems[-1] == ("Failing did not take the record of step 10 (ConnectionError: the server does not answer).")
    assert "Failing" in gw_loggers.log_config([Failing()], CONFIG)[0]
    assert "Failing" in gw_loggers.log_summary([Failing()], History([record]))[0]


def test_a_config_that_json_cannot_hold_is_named() -> None:
    (problem,) = gw_loggers.log_config([Recorder()], {"probe": object()})
    assert "config['probe'] is a object" in problem


@pytest.mark.parametrize("package", PACKAGES)
def test_lightnings_stand_in_loggers_cost_nothing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dummy = importlib.import_module(f"{package}.loggers.logger").DummyLogger()
    monkeypatch.setattr("lightning_gw.figures.png.to_rgb", lambda _: pytest.fail("a picture was drawn for nobody"))
    history = History(example_history_records())
    gw_loggers.log_record([dummy], history[-1], history)
    assert gw_loggers.log_summary([dummy], history) == []


def test_mlflow_keys_hold_only_what_mlflow_allows() -> None:
    logger, record = MLflowLike(), example_record(10, layers=("body[0]", "body(0)", "naïve", "head"))
    problems = gw_loggers.log_record([logger], record, [])
    ((_, row),) = logger.rows
    assert row["gw/adjacent/body_0_"] == pytest.approx(record.groups.adjacent[0])
    assert row["gw/adjacent/na_ve"] == pytest.approx(record.groups.adjacent[2])
    assert [problem for problem in problems if "gw/adjacent/body(0)" in problem]


def test_a_picture_that_cannot_be_drawn_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytorch_lightning.loggers import TensorBoardLogger

    def broken(_: object) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr("lightning_gw.figures.draw_matrix", broken)
    logger = TensorBoardLogger(tmp_path, name="", version="")
    problems = gw_loggers.log_record([logger], example_record(10), [])
    logger.finalize("success")
    assert "gw/similarity was not drawn: no font" in problems
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["images"] == ["gw/timeline"]
    assert events.Scalars("gw/groups/count")[0].value == 3


def test_a_geometry_without_similarities_logs_distances_and_says_so() -> None:
    record = example_record(10)
    record = replace(record, gw=replace(record.gw, geometry="euclidean", unit_scale=None, variation=None))
    logger = Recorder()
    problems = gw_loggers.log_record([logger], record, [])
    ((_, row),) = logger.rows
    assert "gw/paired/similarity" not in row
    assert row["gw/adjacent/embedding"] == record.groups.adjacent[0]
    assert any("geometry 'euclidean' has none" in problem for problem in problems)


@pytest.mark.usefixtures("finish_wandb")
def test_a_history_in_memory_says_that_there_is_no_artifact(tmp_path: Path) -> None:
    from pytorch_lightning.loggers import WandbLogger

    (problem,) = gw_loggers.log_summary([WandbLogger(mode="disabled", save_dir=tmp_path)], History([example_record(0)]))
    assert "no artifact" in problem
