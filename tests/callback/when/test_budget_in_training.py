"""What looking may cost: real trainings that are held to it."""

from __future__ import annotations

import logging
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from callback_nets import Net, loader, steps, trainer, watcher
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint

import lightning_gw as lgw
from lightning_gw.callback.when import budget as budget_module
from lightning_gw.callback.when.budget import FREE_SECONDS


def slow_probe(module: Any, batch: Any) -> None:
    time.sleep(0.05)
    module(batch[0])


@pytest.fixture
def every_training_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a training of a second is held to its share."""
    monkeypatch.setattr(budget_module, "SHORTEST_TRAINING", 0.0)


@pytest.mark.usefixtures("every_training_is_long")
def test_looks_are_put_off_and_the_log_and_the_record_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    callback = watcher(
        tmp_path, when="every_n_steps", every_n_steps=2, max_overhead=1e-6, probe_step=slow_probe, verbose=True
    )
    with caplog.at_level(logging.INFO):
        trainer(tmp_path, callback).fit(Net(), loader(), loader(32))
    assert steps(callback) == [0, 8]
    (said,) = [message for message in caplog.messages if "puts off" in message]
    assert "its look at step 2 until about step" in said
    assert "max_overhead=1e-06" in said
    assert any("more than max_overhead=1e-06, because the first look" in message for message in caplog.messages)
    note = "3 looks were put off before this one to keep to max_overhead=1e-06."
    assert note in lgw.load_history(tmp_path)[-1].notes


def test_a_trainer_spreads_the_looks_that_fit_and_trains_as_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [0.0]

    class Ticking(Callback):
        """A second for every batch."""

        def on_train_batch_start(self, *_: Any) -> None:
            seconds[0] += 1.0

    def dear_probe(module: Any, batch: Any) -> None:
        seconds[0] += 5.0
        module(batch[0])

    callback = watcher(tmp_path, when="every_n_steps", every_n_steps=1, max_overhead=0.02, probe_step=dear_probe)
    monkeypatch.setattr(callback._pace, "_clock", lambda: seconds[0])
    watched, alone = Net(), Net()
    trainer(tmp_path, Ticking(), callback, max_epochs=4).fit(watched, loader(), loader(32))
    made = steps(callback)
    assert made[:2] == [0, 1]
    assert made[-1] == 16
    assert len(made) < 10, "not all of them fit"
    assert max(later - step for step, later in pairwise(made)) <= 4
    assert callback._pace.budget.spent <= FREE_SECONDS
    trainer(tmp_path, max_epochs=4).fit(alone, loader(), loader(32))
    torch.testing.assert_close(watched.state_dict(), alone.state_dict(), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.usefixtures("every_training_is_long")
def test_checkpoints_are_saved_whether_or_not_a_look_fits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saver = ModelCheckpoint(tmp_path / "c", save_top_k=-1, every_n_train_steps=2)
    callback = watcher(tmp_path, max_overhead=1e-6, probe_step=slow_probe)
    with caplog.at_level(logging.INFO):
        trainer(tmp_path, saver, callback).fit(Net(), loader(), loader(32))
    assert len(list((tmp_path / "c").iterdir())) == 4
    assert steps(callback) == [0, 8]
    assert any("at step 2 until a later checkpoint" in message for message in caplog.messages)


@pytest.mark.usefixtures("every_training_is_long")
def test_listed_steps_are_looked_at_whatever_they_cost(tmp_path: Path) -> None:
    callback = watcher(tmp_path, when=[1, 3], max_overhead=1e-6)
    trainer(tmp_path, callback).fit(Net(), loader(), loader(32))
    assert steps(callback) == [0, 1, 3, 8]


@pytest.mark.slow
@pytest.mark.usefixtures("every_training_is_long")
def test_a_generous_budget_keeps_the_schedule(tmp_path: Path) -> None:
    callback = watcher(tmp_path, when="every_n_steps", every_n_steps=2, max_overhead=1e6)
    trainer(tmp_path, callback).fit(Net(), loader(), loader(32))
    assert steps(callback) == [0, 2, 4, 6, 8]
