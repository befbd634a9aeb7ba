"""Training that is killed at any moment, and resumed from its last checkpoint, ends with the history it would have had.

Every training is a process of its own, forked from the test, and ended by SIGKILL: nothing gets to tidy up.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from callback_nets import Net, Resumable, assert_same_history, loader, plain_net, task, trainer, watcher
from forked_solver import ForkedProcess
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from safetensors.numpy import load as load_arrays

import lightning_gw as lgw
from lightning_gw.analysis import background
from lightning_gw.analysis import worker as solving_process

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that were forked")
STEPS = 16
#: Kills of every setting, 200 in all.
MANY = {
    "inline": 40,
    "background": 40,
    "accumulation": 30,
    "within accumulation": 20,
    "two checkpoints": 20,
    "two checkpoints in the background": 20,
    "averaged weights": 30,
}


class Unhurried(Net):  # type: ignore[misc]
    """Long enough in each step for a kill to hit it."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        time.sleep(0.005)
        return super().training_step(batch, batch_idx)


#: How the trainings differ; see `train`.
SETTINGS: dict[str, dict[str, Any]] = {
    "inline": {},
    "background": {"solve": "background"},
    "accumulation": {"batches": 3},
    "within accumulation": {"batches": 3, "saved_after": "validation"},
    "two checkpoints": {"other": 3},
    "two checkpoints in the background": {"other": 3, "solve": "background"},
    "averaged weights": {"averaged": True},
}


def train(
    root: Path,
    solve: str = "inline",
    batches: int = 1,
    saved_after: str = "steps",
    other: int | None = None,
    averaged: bool = False,
) -> None:
    """Train to the end, from the last checkpoint that is whole, with looks at checkpoints and in between.

    Listed steps are always looked at; others would be put off while looks wait to be solved.

    Args:
        root: Where everything goes.
        solve: See `GWSimilarity`.
        batches: How many are accumulated to a step.
        saved_after: ``"steps"``: every four; ``"validation"``: whenever that was, also between two steps.
        other: Steps between those of another checkpoint.
        averaged: Whether weights are averaged.
    """
    pl.seed_everything(0, verbose=False)
    options: dict[str, Any] = {"dirpath": root / "checkpoints", "save_top_k": -1}
    often: dict[str, Any] = {"every_n_train_steps": 4} if saved_after == "steps" else {"every_n_epochs": 1}
    callbacks: list[Any] = [ModelCheckpoint(filename="{step}", **often, **options)]
    if other is not None:
        callbacks.append(ModelCheckpoint(filename="other-{step}", every_n_train_steps=other, **options))
    if averaged:
        callbacks.append(EMAWeightAveraging(decay=0.9))
    when = {"every_n_steps": 3} if solve == "inline" else {"when": [3, 4, 6, 8, 9, 12, 15, STEPS]}
    callback = watcher(root, solve=solve, max_overhead=None, bootstrap_samples=3, **when)
    fit = trainer(
        root,
        *callbacks,
        callback,
        max_epochs=-1,
        max_steps=STEPS,
        accumulate_grad_batches=batches,
        val_check_interval=None if saved_after == "steps" else 2,
        check_val_every_n_epoch=1 if saved_after == "steps" else None,
        logger=CSVLogger(root, name="log", version="one"),
    )
    module = Unhurried(plain_net())
    data = Resumable(task(32 * batches), batch_size=16)
    fit.fit(module, data, loader(32), ckpt_path=last_checkpoint(root))
    torch.save(module.state_dict(), root / "weights.pt")


def last_checkpoint(root: Path) -> Path | None:
    files = sorted((root / "checkpoints").glob("*.ckpt"), key=lambda file: -file.stat().st_mtime_ns)
    for file in files:
        try:
            torch.load(file, weights_only=True)
        except Exception:  # Lightning was killed while it wrote it
            file.unlink()
        else:
            return file
    return None


def in_a_process(work: Callable[[], None], log: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        background.start_process = ForkedProcess  # type: ignore[assignment]
        solving_process.NICENESS = 0
        work()
        code = 0
    except BaseException:
        log.write_text(traceback.format_exc())
    finally:
        os._exit(code)


def finished_within(pid: int, seconds: float) -> bool:
    """Whether the process ended by itself; kills it where it did not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, "the training failed by itself"
            return True
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def assert_nothing_is_half_written(folder: Path) -> None:
    """Every array file loads whole, and every line but a last one that breaks off refers to one with its own hash."""
    for file in folder.glob("step-*.safetensors"):
        load_arrays(file.read_bytes())
    history = folder / "history.jsonl"
    if not history.exists():
        return
    lines = history.read_bytes().split(b"\n")
    for line in lines[:-1]:
        arrays = json.loads(line)["arrays"]
        assert hashlib.sha256((folder / arrays["file"]).read_bytes()).hexdigest() == arrays["sha256"]


def assert_as_if_never_killed(found: lgw.History, whole: lgw.History, saved: set[int]) -> None:
    """Equal record by record and bit by bit.

    A validation that a kill hits just after a checkpoint, at one of the steps `saved`, is one that Lightning never
    makes up for: of its metrics the run knows less.
    """
    lost = {row["step"] for row in whole.metrics} - {row["step"] for row in found.metrics}
    assert lost <= saved, "metrics were lost that no checkpoint stood before"
    # Nor does it always count the epoch that such a checkpoint ended, so the Trainer's own count may lag behind.
    found, whole = (
        lgw.History([replace(look, epoch=0, metrics={} if lost else look.metrics) for look in looks])
        for looks in (found, whole)
    )
    assert_same_history(found, whole)


def kill_until(count: int, root: Path, setting: str, seed: int) -> None:
    chance = random.Random(seed)
    options = SETTINGS[setting]
    duration = 120.0
    for name in ("cold", "whole"):  # the second finds what the first has compiled, as all others will
        started = time.monotonic()
        work = partial(train, root / name, **options)
        assert finished_within(in_a_process(work, root / f"{name}.log"), 120)
        duration = time.monotonic() - started
    whole = lgw.load_history(root / "whole")
    weights = torch.load(root / "whole/weights.pt", weights_only=True)
    assert {0, 3, 6, 9, 12, 15, STEPS} <= {record.step for record in whole}

    kills = runs = resumed = 0
    while kills < count:
        runs += 1
        run = root / f"run{runs}"
        (root / f"run{runs}.log").touch()
        while True:
            saved_last = last_checkpoint(run)
            fresh, over = saved_last is None, saved_last is not None and f"step={STEPS}" in saved_last.stem
            resumed += not fresh
            started = time.monotonic()
            pid = in_a_process(partial(train, run, **options), root / f"run{runs}.log")
            if finished_within(pid, chance.uniform(0, duration) if kills < count else 120):
                if fresh:  # machines have moods
                    duration = min(duration, time.monotonic() - started)
                break
            kills += 1
            assert_nothing_is_half_written(run / "gw")
        found = lgw.load_history(run)
        assert found.problems == ()
        assert all(np.isfinite(record.gw.distortion).all() for record in found)
        # Lightning forgets what was accumulated (`test_accumulation.py`), and a training that is resumed at a step
        # saves that step's checkpoint over again once it has accumulated more: weights differ without looks too.
        if "batches" in options:
            assert [record.step for record in found] == [record.step for record in whole]
            continue
        saved = {step for often in (4, options.get("other", 4)) for step in range(often, STEPS + 1, often)}
        assert_as_if_never_killed(found, whole, saved)
        assert [record.group_ids for record in found] == [record.group_ids for record in whole]
        # Lightning puts averaged weights in place when training ends, not when it was over before it was resumed.
        if not (over and "averaged" in options):
            ended = torch.load(run / "weights.pt", weights_only=True)
            assert all(torch.equal(ended[name], weight) for name, weight in weights.items())
    assert resumed >= count // 3, "hardly a training was resumed: the kills came too early to test anything"


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "kills"), [("inline", 3), ("background", 2)])
def test_a_few_kills_leave_no_trace(tmp_path: Path, setting: str, kills: int) -> None:
    kill_until(kills, tmp_path, setting, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("setting", SETTINGS)
def test_two_hundred_kills_leave_no_trace(tmp_path: Path, setting: str) -> None:
    kill_until(MANY[setting], tmp_path, setting, seed=2)
