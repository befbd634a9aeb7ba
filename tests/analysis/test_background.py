"""Looks that are solved in another process give the records of those solved at once, and hold nobody up."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from callback_nets import Net, StopAt, assert_same_history, loader, plain_net, steps, trainer, watcher
from forked_solver import ForkedProcess
from PIL import Image
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

import lightning_gw as lgw
from lightning_gw.analysis import background
from lightning_gw.analysis import worker as solving_process
from lightning_gw.analysis.background import ProcessWorker
from lightning_gw.analysis.config import AnalysisConfig
from lightning_gw.analysis.job import LookJob
from lightning_gw.analysis.solver import Solver
from lightning_gw.callback.look import look_loop as looks
from lightning_gw.loggers import content as sinks
from lightning_gw.records.context import LookContext
from lightning_gw.records.history import History

CONFIG = AnalysisConfig(effort="fast")


def background_solver() -> Solver:
    return Solver(CONFIG, ProcessWorker(CONFIG))


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test but the one of the real thing saves the seconds in which a process imports torch."""
    monkeypatch.setattr(background, "start_process", ForkedProcess)
    monkeypatch.setattr(solving_process, "NICENESS", 0)


def job(step: int, layers: int = 3, inputs: int = 12, spoilt: bool = False) -> LookJob:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(inputs, 6, generator=generator)
    representations = {f"layer{k}": x + k * torch.randn(inputs, 6, generator=generator) / 2 for k in range(layers)}
    if spoilt:
        representations = {name: x[:2] for name, x in representations.items()}
    return LookJob(
        LookContext(step=step, epoch=0, probe={"hash": "0f"}, metrics={"loss": 0.1}, notes=("a note",)), representations
    )


def drain(solver: Solver) -> list[Any]:
    outcomes = solver.collect(patience=60)
    solver.close()
    return outcomes


def comparable(outcome: Any) -> Any:
    line = {key: value for key, value in outcome.record.to_json().items() if "seconds" not in key}
    return line, {name: values.tobytes() for name, values in outcome.record.arrays().items()}


@pytest.mark.slow
@pytest.mark.parametrize("real", [True, False])
@pytest.mark.representatives("False")
def test_both_solvers_give_the_same_records_and_remember_the_same(real: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if real:
        monkeypatch.undo()
    here, there = Solver(CONFIG), background_solver()
    for step in (0, 5, 9):
        here.submit(job(step))
        there.submit(job(step))
    ours, theirs = drain(here), drain(there)
    assert [comparable(outcome) for outcome in ours] == [comparable(outcome) for outcome in theirs]
    assert torch.equal(here.state_dict()["analysis"]["couplings"], there.state_dict()["analysis"]["couplings"])
    assert here.state_dict()["analysis"].keys() == there.state_dict()["analysis"].keys()
    assert here.layers == there.layers == ("layer0", "layer1", "layer2")


@pytest.mark.slow
def test_a_state_holds_what_is_not_collected_yet_and_another_solver_takes_it_up(tmp_path: Path) -> None:
    whole = Solver(CONFIG)
    for step in (0, 5, 9):
        whole.submit(job(step))
    expected = [comparable(outcome) for outcome in drain(whole)]

    broken = background_solver()
    broken.submit(job(0))
    assert comparable(broken.collect(patience=60)[0]) == expected[0]
    broken.submit(job(5))
    broken.submit(job(9))
    torch.save(broken.state_dict(), tmp_path / "state")
    broken.close()
    assert broken.pending == (5, 9)
    for other in (Solver(CONFIG), background_solver()):
        other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
        other.resume()
        assert [comparable(outcome) for outcome in drain(other)] == expected[1:]


@pytest.mark.slow
def test_a_failed_look_leaves_no_trace() -> None:
    solvers = Solver(CONFIG), background_solver()
    for solver in solvers:
        for step in (0, 5, 9):
            solver.submit(job(step, spoilt=step == 5))
    ours, theirs = (drain(solver) for solver in solvers)
    for outcomes in (ours, theirs):
        assert [outcome.record is None for outcome in outcomes] == [False, True, False]
        assert "ValueError" in str(outcomes[1].error) or isinstance(outcomes[1].error, ValueError)
    assert comparable(ours[2]) == comparable(theirs[2])


def test_a_solving_process_that_is_killed_takes_only_its_look_with_it() -> None:
    solver = background_solver()
    solver.submit(job(0))
    solver.collect(patience=60)
    assert solver.worker._thread is not None
    os.kill(solver.worker._thread._process.pid, signal.SIGSTOP)  # so that it cannot be done before it is killed
    solver.submit(job(5))
    time.sleep(0.2)
    os.kill(solver.worker._thread._process.pid, signal.SIGKILL)
    solver.submit(job(9))
    lost, found = drain(solver)
    assert "ended with signal 9; the system ends processes so when memory runs out" in str(lost.error)
    assert found.record.step == 9


def test_nobody_waits_for_a_look_that_nobody_has_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    solver = background_solver()
    with monkeypatch.context() as patch:
        patch.setattr(ProcessWorker, "submit", lambda *args: (_ for _ in ()).throw(RuntimeError("not handed over")))
        with pytest.raises(RuntimeError, match="not handed over"):
            solver.submit(job(1))
    assert solver.pending == ()
    started = time.monotonic()
    monkeypatch.setattr(background._Feeder, "_solve", lambda *args: 1 / 0)
    monkeypatch.setattr(background, "failed", lambda *args, **options: 1 / 0)  # which ends the thread
    monkeypatch.setattr("threading.excepthook", lambda *args: None)
    solver.submit(job(2))
    assert solver.collect(60.0) == []
    assert solver.abandon() == (2,)
    assert time.monotonic() - started < 10


@pytest.mark.slow
def test_no_more_looks_wait_than_there_is_room_for() -> None:
    solver = background_solver()
    solver.submit(job(0))
    assert solver.worker._thread is not None
    os.kill(solver.worker._thread._process.pid, signal.SIGSTOP)
    for step in range(1, solver.worker.capacity):
        assert solver.backlog == 0
        solver.submit(job(step))
    assert solver.backlog > 0
    os.kill(solver.worker._thread._process.pid, signal.SIGCONT)
    solver.submit(job(solver.worker.capacity))  # waits for room
    assert len(solver.pending) == solver.worker.capacity + 1
    assert solver.ready
    assert [outcome.job.step for outcome in drain(solver)] == list(range(solver.worker.capacity + 1))
    assert solver.worker._thread is None


def test_the_solving_process_gives_way_to_training_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes a place in the same session: Linux may share the cores out by session, however nice the processes."""
    monkeypatch.undo()
    process = solving_process.start_process()
    try:
        assert (
            os.getpriority(os.PRIO_PROCESS, process.pid)
            == os.getpriority(os.PRIO_PROCESS, 0) + solving_process.NICENESS
        )
        assert os.getsid(process.pid) == os.getsid(0)
        assert os.getpgid(process.pid) == process.pid  # out of reach of Ctrl-C
    finally:
        process.kill()
        solving_process.end_process(process)


@pytest.mark.slow
def test_the_last_look_is_solved_with_the_threads_that_training_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def sent(stream: Any, message: Any) -> None:
        asked.append((message["job"]["step"], message["threads"]))
        solving_process.send(stream, message)

    monkeypatch.setattr(background, "send", sent)
    hurry = ProcessWorker.set_threads
    monkeypatch.setattr(ProcessWorker, "set_threads", lambda self, threads: hurry(self, threads + 6))
    fit(tmp_path, "background")
    assert [step for step, _ in asked] == [0, 2, 4, 6, 8]
    # Looks that still wait when training ends may have them too.
    assert (asked[0], asked[-1]) == ((0, 1), (8, torch.get_num_threads() + 6))


@pytest.mark.slow
def test_a_look_is_solved_alike_with_one_thread_and_with_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    one, two = background_solver(), background_solver()
    two.worker.set_threads(2)
    for solver in (one, two):
        solver.submit(job(0))
    assert [comparable(outcome) for outcome in drain(one)] == [comparable(outcome) for outcome in drain(two)]


def test_nothing_is_started_before_there_is_a_look_to_solve() -> None:
    solver = background_solver()
    solver.worker.warm_up(torch.device("cpu"))
    solver.worker.render_in_worker(History([], []))
    assert solver.worker._thread is None
    solver.submit(job(0))
    (outcome,) = drain(solver)
    assert outcome.pictures.keys() == {"similarity", "timeline"}


@pytest.mark.slow
def test_what_the_end_will_wait_for_is_told_from_the_processor_time_of_the_look_before() -> None:
    solver = background_solver()
    assert solver.closing == Solver(CONFIG).closing == 0
    solver.submit(job(0))
    (outcome,) = solver.collect(patience=60)
    assert solver.closing == outcome.alone > 0
    solver.submit(job(5, spoilt=True))
    solver.collect(patience=60)
    assert solver.closing == outcome.alone
    solver.close()


def test_a_geometry_of_ones_own_is_refused_at_once() -> None:
    own = lgw.Geometry("manhattan", lambda rows: torch.cdist(rows, rows, p=1), "offdiagonal", "rms")
    with pytest.raises(ValueError, match=r"takes a geometry by its name.*solve='inline'"):
        lgw.GWSimilarity(geometry=own, solve="background")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="solve='thread' must be 'inline' or 'background'"):
        lgw.GWSimilarity(solve="thread")  # type: ignore[arg-type]


# ---- in a Trainer ---------------------------------------------------------------------------------------------------


def fit(
    root: Path,
    solve: str,
    *callbacks: Callback,
    ckpt: Path | None = None,
    when: Sequence[int] = (2, 4, 6),
    **options: Any,
) -> Any:
    """Train the same network, with a checkpoint every other step and looks at two of them."""
    saver = ModelCheckpoint(root / "checkpoints", filename="{step}", save_top_k=-1, every_n_train_steps=2)
    callback = watcher(root, when=list(when), solve=solve)
    with pytest.raises(RuntimeError, match="power cut") if callbacks else nullcontext():
        fitting = trainer(root, *callbacks, saver, callback, **options)
        fitting.fit(Net(plain_net()), loader(), loader(32), ckpt_path=ckpt)
    return callback


def test_a_training_solved_in_the_background_ends_with_the_same_history(tmp_path: Path) -> None:
    inline, background = fit(tmp_path / "inline", "inline"), fit(tmp_path / "background", "background")
    assert steps(background) == [0, 2, 4, 6, 8]
    assert_same_history(background.history, inline.history)
    assert_same_history(lgw.load_history(tmp_path / "background"), inline.history)
    assert all(record.seconds < record.gw.seconds + 60 for record in background.history)


@pytest.mark.parametrize("solve", ["inline", "background"])
@pytest.mark.slow
def test_pictures_are_the_same_wherever_they_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solve: str
) -> None:
    """Drawn by the solving process in the background, and there only; of them TensorBoard gets the same pixels."""
    from pytorch_lightning.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    here = os.getpid()
    drawn_here: list[int] = []
    draw = sinks.draw_pictures

    def counted(record: Any, looks: Any) -> Any:
        if os.getpid() == here:
            drawn_here.append(record.step)
        return draw(record, looks)

    monkeypatch.setattr(sinks, "draw_pictures", counted)
    callback = watcher(tmp_path, when=[2, 4], solve=solve)
    logger = TensorBoardLogger(tmp_path / "board", name="", version="")
    trainer(tmp_path, callback, logger=logger).fit(Net(plain_net()), loader())
    assert drawn_here == ([0, 2, 4, 8] if solve == "inline" else [])
    events = EventAccumulator(str(tmp_path / "board"), size_guidance={"images": 0})
    events.Reload()
    for name in ("similarity", "timeline"):
        images = events.Images(f"gw/{name}")
        assert [image.step for image in images] == [0, 2, 4, 8]
        for k, image in enumerate(images):
            pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
            np.testing.assert_array_equal(pixels, draw(callback.history[k], callback.history[: k + 1])[name].pixels())


@pytest.mark.slow
@pytest.mark.parametrize("solved_since", [False, True])
@pytest.mark.representatives("False")
def test_a_training_broken_off_with_looks_unsolved_resumes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solved_since: bool
) -> None:
    """Also where they were solved and written after the checkpoint that training goes back to."""
    whole = fit(tmp_path / "whole", "inline")
    monkeypatch.setattr(looks, "SHORT_PATIENCE", 0.001)
    broken = fit(tmp_path / "broken", "background", *([] if solved_since else [StopAt(5)]))
    state = torch.load(tmp_path / "broken/checkpoints/step=4.ckpt", weights_only=True)["callbacks"][broken.state_key]
    assert state["step"] == 4
    assert [waiting["step"] for waiting in state["pending"]], "everything was solved before the checkpoint was saved"
    resumed = fit(tmp_path / "broken", "background", ckpt=tmp_path / "broken/checkpoints/step=4.ckpt")
    assert_same_history(resumed.history, whole.history)
    assert_same_history(lgw.load_history(tmp_path / "broken"), whole.history)


@pytest.mark.parametrize("written", [2, 3, 4, 5])
@pytest.mark.representatives("4")
@pytest.mark.slow
def test_a_training_killed_at_its_very_end_is_concluded_with_the_looks_that_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Whatever was written since its last checkpoint, each look is solved from what the one before it found."""
    take = background.ProcessWorker.take
    monkeypatch.setattr(background.ProcessWorker, "take", lambda self, wait: take(self, wait) if wait else [])
    every: dict[str, Any] = {"when": [2, 4, 6, 8], "max_epochs": -1, "max_steps": 8}
    whole = fit(tmp_path / "whole", "inline", **every)
    killed = fit(tmp_path / "killed", "background", **every)
    last = tmp_path / "killed/checkpoints/step=8.ckpt"
    state = torch.load(last, weights_only=True)["callbacks"][killed.state_key]
    waiting = [look["step"] for look in state["pending"]]
    assert waiting[-2:] == [6, 8]
    lines = tmp_path / "killed/gw/history.jsonl"
    lines.write_text("".join(line + "\n" for line in lines.read_text().splitlines()[:written]))
    resumed = fit(tmp_path / "killed", "background", ckpt=last, **every)
    assert_same_history(resumed.history, whole.history)
    assert_same_history(lgw.load_history(tmp_path / "killed"), whole.history)
