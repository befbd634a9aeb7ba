"""Nobody waits without end for a solving process that no longer answers: it is ended, and its look is named."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from callback_nets import Net, loader, plain_net, steps, trainer, watcher
from forked_solver import ForkedProcess
from pytorch_lightning import Callback

from lightning_gw.analysis import background, solver, watchdog, worker

pytestmark = pytest.mark.usefixtures("few_draws")


class Stopping(ForkedProcess):
    """The first of these stands still from the start."""

    stopped = 0

    def __init__(self) -> None:
        super().__init__()
        if Stopping.stopped == 0:
            os.kill(self.pid, signal.SIGSTOP)
        Stopping.stopped += 1


@pytest.fixture(autouse=True)
def a_process_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "NICENESS", 0)
    monkeypatch.setattr(background, "start_process", Stopping)
    monkeypatch.setattr(Stopping, "stopped", 0)
    monkeypatch.setattr(watchdog, "ASKED_EVERY", 0.1)


@pytest.mark.slow
def test_a_solver_that_is_stopped_for_good_is_ended_and_its_look_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many looks waiting as may, and one more due at the end of training."""
    monkeypatch.setattr(watchdog, "STANDSTILL", 1.0)
    callback = watcher(tmp_path, when=[1, 2, 3, 4, 5, 6], solve="background", on_error="warn", max_overhead=None)
    module = Net(plain_net())
    with pytest.warns(UserWarning, match="could not look at step 0.*the solving process was stopped, and ended after"):
        trainer(tmp_path, callback).fit(module, loader(), loader(32))
    assert module.trainer.state.finished
    assert steps(callback) == [1, 2, 3, 4, 5, 6, 8]
    assert sum("There is no record of step 0" in note for record in callback.history for note in record.notes) == 1


@pytest.mark.slow
def test_one_that_only_takes_a_rest_is_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "STANDSTILL", 30.0)

    class Wake(Callback):
        def on_train_end(self, fitting: Any, module: Any) -> None:
            feeder = callback._solver.worker._thread
            os.kill(feeder._process.pid, signal.SIGCONT)

    callback = watcher(tmp_path, when=[4], solve="background", on_error="raise")
    trainer(tmp_path, Wake(), callback).fit(Net(plain_net()), loader(), loader(32))
    assert steps(callback) == [0, 4, 8]


@pytest.mark.slow
def test_training_waits_so_long_for_room_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the system does not say that the process stands still."""
    monkeypatch.setattr(watchdog, "_is_stopped", lambda process: False)
    monkeypatch.setattr(solver, "LONGEST_WAIT", 3.0)
    callback = watcher(tmp_path, when=[1, 2, 3, 4, 5, 6], solve="background", on_error="warn", max_overhead=None)
    started = time.monotonic()
    with pytest.warns(UserWarning, match="the solving process did not answer for 3 s, and was ended"):
        trainer(tmp_path, callback).fit(Net(plain_net()), loader(), loader(32))
    assert time.monotonic() - started < 120
    missing = {0, 1, 2, 3, 4, 5, 6, 8} - set(steps(callback))
    assert 0 in missing  # on a busy machine others may take longer too
    notes = [note for record in callback.history for note in record.notes]
    assert all(sum(f"no record of step {step}," in note for note in notes) == 1 for step in missing)
