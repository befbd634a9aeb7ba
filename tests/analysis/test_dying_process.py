"""A solving process that dies, or cannot be started, costs the look it had and never the training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from callback_nets import Net, loader, plain_net, steps, trainer, watcher
from example_records import example_record
from forked_solver import ForkedProcess
from pytorch_lightning.callbacks import ModelCheckpoint

import lightning_gw as lgw
from lightning_gw.analysis import background, worker
from lightning_gw.callback.delivery import RecordDelivery
from lightning_gw.callback.error_policy import ErrorPolicy


@pytest.fixture(autouse=True)
def no_niceness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "NICENESS", 0)


class Dying(ForkedProcess):
    """A solving process whose first `fatal` looks kill it, as running out of memory does."""

    fatal = 1

    def __init__(self) -> None:
        super().__init__()
        if Dying.fatal > 0:
            Dying.fatal -= 1
            self.kill()


@pytest.mark.parametrize("nulls", [0, 2])
@pytest.mark.representatives("0")
def test_a_process_that_dies_in_its_first_look_costs_that_look_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nulls: int
) -> None:
    """And what the looks after it are held against, which came with it, is not lost."""
    monkeypatch.setattr(background, "start_process", Dying)
    monkeypatch.setattr(Dying, "fatal", 1)
    callback = watcher(tmp_path, when=[2, 4, 6], solve="background", on_error="warn", null_samples=nulls)
    saver = ModelCheckpoint(tmp_path / "checkpoints", filename="{step}", save_top_k=-1, every_n_train_steps=6)
    with pytest.warns(UserWarning, match="could not look at step 0, and training goes on without: SolvingError"):
        trainer(tmp_path, saver, callback).fit(Net(plain_net()), loader(), loader(32))
    assert steps(callback) == [2, 4, 6, 8]
    missing = [note for record in callback.history for note in record.notes if "There is no record of step 0" in note]
    assert len(missing) == 1
    assert "ended with signal 9" in missing[0]
    said = "2 networks with fresh weights are too few" if nulls else "no null was asked for"
    assert all(said in record.null for record in callback.history)
    held = "2 re-initialised networks" if nulls else "none: its first look (step 0) failed"
    assert all(record.reference.startswith(held) for record in callback.history), "one passes for that before training"
    assert len(lgw.load_history(tmp_path)) == 4
    # A checkpoint holds what came with the lost look, too.
    state = torch.load(tmp_path / "checkpoints/step=6.ckpt", weights_only=True)["callbacks"][callback.state_key]
    nulls_kept = [state["analysis"]["null"], *(job["null"] for job in state["pending"] if job["null"] is not None)]
    assert any("reason" not in null for null in nulls_kept) == (nulls > 0)


@pytest.mark.parametrize("problem", ["dies", "cannot be started"])
def test_processes_that_never_live_cost_every_look_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    def none() -> Any:
        raise OSError("no more processes")

    monkeypatch.setattr(background, "start_process", Dying if problem == "dies" else none)
    monkeypatch.setattr(Dying, "fatal", 100)
    callback = watcher(tmp_path, when=[4], solve="background", on_error="warn")
    module = Net(plain_net())
    with pytest.warns(UserWarning, match="could not look at step 0"):
        trainer(tmp_path, callback).fit(module, loader(), loader(32))
    assert module.trainer.state.finished
    assert steps(callback) == []


@pytest.mark.slow
def test_with_on_error_raise_a_process_that_dies_in_its_first_look_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "start_process", Dying)
    monkeypatch.setattr(Dying, "fatal", 1)
    callback = watcher(tmp_path, when=[4], solve="background", on_error="raise")
    with pytest.raises(background.SolvingError, match="ended with signal 9"):
        trainer(tmp_path, callback).fit(Net(plain_net()), loader(), loader(32))


def test_a_look_that_failed_after_the_last_one_was_made_is_named_by_the_next_record() -> None:
    """What was solved is handed on whenever it is ready: the failure by itself, and the looks that waited later."""
    failed = SimpleNamespace(step=0, carried=()), None, ValueError("the process is gone")
    found = SimpleNamespace(step=10, carried=()), example_record(10), None
    turns = [
        [SimpleNamespace(job=job, record=record, error=error, aside=True, pictures=None)]
        for job, record, error in (failed, found)
    ]
    solver: Any = SimpleNamespace(collect=lambda patience: turns.pop(0))
    delivery = RecordDelivery("gw/", ErrorPolicy("warn"), verbose=False)
    delivery.open(None, looked=None, resumed=0, origin=None)
    with pytest.warns(UserWarning, match="could not look at step 0"):
        delivery.deliver(solver, [], print)
    delivery.deliver(solver, [], print)
    assert delivery.history is not None
    assert any("There is no record of step 0" in note for note in delivery.history[-1].notes)
