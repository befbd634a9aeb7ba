"""What goes wrong during training costs what it hit, is said once, and is noted in the record."""

from __future__ import annotations

import errno
import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from callback_nets import (
    CLASSES,
    Block,
    Net,
    loader,
    module_class,
    steps,
    trainer,
    watcher,
)
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn

import lightning_gw as lgw
from lightning_gw.analysis.job import LookJob
from lightning_gw.callback import delivery as outbox
from lightning_gw.records.history import History


class Breaking(nn.Module):
    """Works at first; later breaks in evaluation mode, or puts out what cannot be compared."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net = nn.ModuleList([nn.Linear(8, 12), Block(), Block(), nn.Linear(12, CLASSES)])
        self.how = how
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        h = self.net[1](self.net[0](x))
        if not self.training and self.steps >= 2:
            if self.how == "raise":
                raise RuntimeError("out of memory, says the test")
            h = h * float("nan") if self.how == "nan" else h * 0 + 1
        return self.net[3](self.net[2](h))


def test_an_error_in_a_look_costs_the_look_only(tmp_path: Path) -> None:
    module = Net(Breaking("raise"))
    callback = watcher(tmp_path, when=[1, 3, 5], on_error="warn", layers=["net.net.1", "net.net.2"])
    with pytest.warns(UserWarning, match=r"could not look at step 3, and training goes on.*says the test") as caught:
        trainer(tmp_path, callback).fit(module, loader())
    assert steps(callback) == [0, 1]
    assert sum("says the test" in str(warning.message) for warning in caught) == 1
    with pytest.raises(RuntimeError, match="says the test"):
        trainer(tmp_path, watcher(tmp_path / "2", when=[3])).fit(Net(Breaking("raise")), loader())


@pytest.mark.representatives("nan")
@pytest.mark.parametrize("how", ["nan", "constant"])
def test_a_layer_that_cannot_be_compared_is_named_and_the_rest_stands(tmp_path: Path, how: str) -> None:
    callback = watcher(tmp_path, when=[1, 3, 5], layers=["net.net.0", "net.net.1", "net.net.2"])
    module = Net(Breaking(how))

    class Spoiling(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            output = super().forward(x)
            fill = float("nan") if how == "nan" else 1.0
            return torch.full_like(output, fill) if not self.training and module.net.steps >= 2 else output

    module.net.net[1] = Spoiling()
    module.net.how = "fine" if how == "constant" else how
    trainer(tmp_path, callback).fit(module, loader())
    assert steps(callback) == [0, 1, 3, 5, 8]
    record = lgw.load_history(tmp_path)[3]
    assert "net.net.1" in record.gw.degenerate
    assert any("net.net.1" in note for note in record.notes)
    assert np.isnan(record.gw.distortion[1]).all()
    if how == "constant":
        assert np.isfinite(record.gw.distortion[0, [0]]).all()


def test_ctrl_c_during_a_look_passes_through(tmp_path: Path) -> None:
    def probe_step(module: Any, batch: Any) -> None:
        if module.trainer.global_step == 2:
            raise KeyboardInterrupt
        module(batch[0])

    callback = watcher(tmp_path, when=[2, 3], on_error="warn", probe_step=probe_step)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(tmp_path, callback).fit(Net(), loader())
    assert steps(callback) == [0]


@pytest.mark.parametrize("solve", ["inline", pytest.param("background", marks=pytest.mark.slow)])
def test_the_next_record_names_the_looks_that_are_missing_and_why(tmp_path: Path, solve: str) -> None:
    """As when a curriculum changes for a while what the network takes, so that the probe no longer fits it."""

    class Curriculum(Net):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            if not self.training and self.trainer.global_step in (3, 4):
                x = x[:, :5]
            return super().forward(x)

    callback = watcher(tmp_path, when=[1, 3, 4, 6], on_error="warn", solve=solve)
    with pytest.warns(UserWarning, match="could not look at step 3, and training goes on"):
        trainer(tmp_path, callback).fit(Curriculum(), loader())
    assert steps(callback) == [0, 1, 6, 8]
    said = [[note for note in record.notes if "There is no record" in note] for record in callback.history]
    assert [len(notes) for notes in said] == [0, 0, 2, 0]
    assert "no record of step 3, because the look failed" in said[2][0]
    assert "12x5" in said[2][0] or "shape" in said[2][0]
    assert lgw.load_history(tmp_path)[2].notes == callback.history[2].notes


@pytest.mark.slow
def test_what_a_failed_look_was_to_say_is_said_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step 3 fails in the network, step 4 in the solver: its record was to say that 3 is missing."""
    solve = LookJob.solve

    def failing(job: LookJob, analysis: Any, shared: bool) -> Any:
        if job.step == 4:
            raise ArithmeticError("no solution")
        return solve(job, analysis, shared)

    def probe_step(module: Any, batch: Any) -> None:
        if module.trainer.global_step == 3:
            raise RuntimeError("not now")
        module(batch[0])

    monkeypatch.setattr(LookJob, "solve", failing)
    callback = watcher(tmp_path, when=[1, 3, 4, 6], on_error="warn", probe_step=probe_step)
    with pytest.warns(UserWarning, match="could not look at step 3"):
        trainer(tmp_path, callback).fit(Net(), loader())
    assert steps(callback) == [0, 1, 6, 8]
    assert [note[:28] for note in callback.history[2].notes if "no record" in note] == [
        "There is no record of step 3",
        "There is no record of step 4",
    ]


def full(monkeypatch: pytest.MonkeyPatch, module: Any, at: range) -> None:
    """The disk takes nothing while training stands at these steps."""
    append = History._write

    def write(folder: Path, record: Any) -> None:
        if module.trainer.global_step in at:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(folder, record)

    monkeypatch.setattr(History, "_write", staticmethod(write))


class Rows(CSVLogger):
    """Remembers the steps of our rows, in the order in which they came."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ours: list[int | None] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "gw/groups/count" in metrics:
            self.ours.append(step)


def test_a_disk_that_is_full_for_a_while_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callback, module, logger = watcher(tmp_path, when=[1, 3, 5], on_error="warn"), Net(), Rows(tmp_path)
    full(monkeypatch, module, range(1, 5))
    with pytest.warns(UserWarning, match="could not write a record, keeps it in memory and goes on") as caught:
        trainer(tmp_path, callback, logger=logger).fit(module, loader())
    assert sum("No space left" in str(warning.message) for warning in caught) == 1
    assert steps(callback) == [record.step for record in lgw.load_history(tmp_path)] == [0, 1, 3, 5, 8]
    assert logger.ours == [0, 1, 3, 5, 8], "what the disk does not take is logged all the same, and once"
    late = [any("Written late" in note for note in record.notes) for record in lgw.load_history(tmp_path)]
    assert late == [False, True, True, False, False]


@pytest.mark.slow
def test_a_disk_that_stays_full_is_named_with_what_it_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callback, module = watcher(tmp_path, when=[1, 3], on_error="warn"), Net()
    full(monkeypatch, module, range(2, 100))
    with pytest.warns(UserWarning, match=r"could not write the records of these steps to .*gw: 3, 8\."):
        trainer(tmp_path, callback).fit(module, loader())
    assert module.trainer.global_step == 8
    assert [record.step for record in lgw.load_history(tmp_path)] == [0, 1]

    module = Net()
    full(monkeypatch, module, range(2, 100))
    with pytest.raises(OSError, match="No space left on device"):
        trainer(tmp_path, watcher(tmp_path / "strict", when=[1, 3], on_error="raise")).fit(module, loader())


@pytest.mark.slow
def test_no_more_than_so_many_records_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_UNWRITTEN", 1)
    callback, module = watcher(tmp_path, when=[1, 3, 5], on_error="warn"), Net()
    full(monkeypatch, module, range(1, 5))
    with pytest.warns(UserWarning, match="could not write a record"):
        trainer(tmp_path, callback).fit(module, loader())
    assert steps(callback) == [0, 3, 5, 8]
    assert any("no record of step 1 on disk" in note for note in callback.history[2].notes)


@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
def test_lightnings_own_exceptions_pass_through(tmp_path: Path, package: str) -> None:
    pl = pytest.importorskip(package)
    own = importlib.import_module(f"{package}.utilities.exceptions").MisconfigurationException

    def probe_step(module: Any, batch: Any) -> None:
        if module.trainer.global_step == 2:
            raise own("stop here, says Lightning")
        module(batch[0])

    callback = watcher(tmp_path, when=[2, 3], on_error="warn", probe_step=probe_step)
    with pytest.raises(own, match="says Lightning"):
        trainer(tmp_path, callback, pl=pl).fit(module_class(pl)(), loader())


@pytest.mark.slow
def test_a_logger_that_fails_slowly_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a server that does not answer: the wait is bounded by one attempt, however many looks there are."""
    monkeypatch.setattr("lightning_gw.loggers.content.PATIENCE", 0.05)
    asked: list[int | None] = []

    class Unreachable(CSVLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            if any(key.startswith("gw/") for key in metrics):
                asked.append(step)
                time.sleep(0.1)
                raise ConnectionError("no answer")

    callback, other = watcher(tmp_path, when=[1, 3, 5], on_error="warn"), Rows(tmp_path)
    with pytest.warns(UserWarning, match=r"did not take the record of step 0 .*no answer.*is not asked again"):
        trainer(tmp_path, callback, logger=[Unreachable(tmp_path), other]).fit(Net(), loader())
    assert asked == [0]
    assert other.ours == steps(callback) == [0, 1, 3, 5, 8]
