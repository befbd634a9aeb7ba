"""A short trial of a run: what its start, a step, a look and a validation cost, and how many of each it will make."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gw.callback.trainer import total_steps
from lightning_gw.compare.executors.base import Order
from lightning_gw.compare.executors.process import RunProcess
from lightning_gw.compare.plan import Plan, PlannedRun
from lightning_gw.compare.run_callback import history_so_far, planned_steps, watchers
from lightning_gw.compare.run_command import prepare, thread_variables

#: Optimizer steps of a trial: enough that the first, in which much is set up, can be left out.
STEPS = 10


class TrialError(Exception):
    """A trial came to no end; the message says why."""


@dataclass(frozen=True)
class Trial:
    """What a trial found; all times in seconds.

    Attributes:
        task: The run's task.
        steps: Optimizer steps that were made.
        total: Those of a whole run, or None where they cannot be told.
        overhead: From the start of the process to the first step, the first look included, and from the last to the
            end.
        step: A step.
        look: A look.
        looks: Looks of a whole run after the first; None where checkpoints bring them.
        share: The most that looks may take of the training time, or None.
        validation: A validation.
        validations: Validations that come with a step, on average.
        logged: Names of the metrics that were logged; None where no validation was made that could have logged more.
    """

    task: str
    steps: int
    total: int | None
    overhead: float
    step: float
    look: float
    looks: int | None
    share: float | None
    validation: float
    validations: float
    logged: tuple[str, ...] | None = None

    def seconds(self, total: int | None = None, done: int = 0) -> float | None:
        """How long a run will take.

        Args:
            total: Its optimizer steps; those of the run that was tried when None.
            done: Steps that it has behind it.

        Returns:
            Seconds, or None where the steps are not known.
        """
        total = self.total if total is None else total
        if total is None:
            return None
        left = max(0, total - done)
        training = left * (self.step + self.validations * self.validation)
        return self.overhead + training + self._looking(training, left / total if total else 0.0)

    def _looking(self, training: float, part: float) -> float:
        planned = self.look if self.looks is None else self.looks * self.look * part
        if self.share is None:
            return planned
        allowed = max(self.look, self.share * training)  # the last look is made at any price
        return allowed if self.looks is None else min(planned, allowed)

    def sentence(self) -> str:
        """What the estimate rests on, in words."""
        parts = [f"{self.overhead:.1f} s to start and end", f"{self.step:.3g} s a step"]
        if self.validations:
            parts.append(f"{self.validation:.2g} s a validation")
        if self.look:
            count = "at checkpoints, whose number is not counted" if self.looks is None else f"{self.looks} of them"
            parts.append(f"{self.look:.2g} s a look ({count})")
        return f"{', '.join(parts)}; from a trial of {self.steps} steps"


def try_run(plan: Plan, run: PlannedRun) -> Trial:
    """Train a run for a few steps in a folder that is removed again.

    Raises:
        TrialError: If it failed.
    """
    with tempfile.TemporaryDirectory(prefix="lightning-gw-trial-", ignore_cleanup_errors=True) as folder:
        elsewhere = replace(plan, out=Path(folder))
        place = Path(folder, run.path)
        file = place / "trial.json"
        watch = {"class_path": "lightning_gw.compare.trial.Stopwatch", "init_args": {"file": str(file), "steps": STEPS}}
        order = Order(
            key=run.path,
            command=prepare(elsewhere, run, "disabled", None, watch),
            directory=Path.cwd(),
            variables={**thread_variables(plan), "WANDB_MODE": "disabled"},
            log=place / "log.txt",
            lock=place / "lock",
            plan=place / "run.yaml",
            plan_hash="",
        )
        began = time.time()
        code = RunProcess(order).wait()
        ended = time.time()
        if code or not file.exists():
            from lightning_gw.compare.showing.summary import failure

            raise TrialError(failure(code, order.log))
        found = json.loads(file.read_text(encoding="utf-8"))
        overhead = found.pop("ready") - began + ended - found.pop("ended")
        logged = found.pop("logged")
        return Trial(task=run.task, overhead=overhead, logged=None if logged is None else tuple(logged), **found)


#: Batches of a validation that are enough to tell what the whole costs.
_VALIDATION_BATCHES = 5


class _Mark(NamedTuple):
    """A moment of training: after how many steps, when, and what was there by then."""

    step: int
    seconds: float
    looks: int
    validations: int


class Stopwatch(Callback):
    """Stops training after some steps and writes what they took into a JSON file.

    The file holds ``ready`` and ``ended`` (time of day before the first step and after the last look), and the
    attributes of `Trial` but ``task`` and ``overhead``. In ``step``, looks and validations are not counted; ``look`` is
    that of the last look, ``validation`` that of a whole validation.

    Args:
        file: Where to write.
        steps: Optimizer steps to make.
    """

    def __init__(self, file: str, steps: int) -> None:
        self.file = Path(file)
        self.steps = steps
        self._ready = 0.0
        self._first = self._last = _Mark(0, 0.0, 0, 0)
        self._validations: list[float] = []
        self._validating = 0.0
        self._limit: float = 1.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let validations be short; what a whole one takes is told from that."""
        self._limit = trainer.limit_val_batches
        if (isinstance(self._limit, float) and self._limit > 0) or self._limit > _VALIDATION_BATCHES:
            trainer.limit_val_batches = _VALIDATION_BATCHES

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All others are ready, the first look included."""
        self._ready = time.time()
        self._first = self._last = self._mark(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the time of every step; the first, in which much is set up, counts only where no other follows."""
        if trainer.global_step == self._last.step:  # gradients are being accumulated
            return
        self._last = self._mark(trainer)
        if self._first.step == 0 and self._last.step < self.steps:
            self._first = self._last
        trainer.should_stop = trainer.should_stop or self._last.step >= self.steps

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to time it."""
        self._validating = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what it took."""
        if not trainer.sanity_checking:
            self._validations.append(time.perf_counter() - self._validating)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it all down."""
        history, watcher = history_so_far(trainer), next(iter(watchers(trainer)), None)
        content = {
            "ready": self._ready,
            "ended": time.time(),
            "steps": self._last.step,
            "total": planned_steps(trainer),
            "step": self._step_seconds([record.seconds for record in history]),
            "look": history[-1].seconds if len(history) else 0.0,
            "looks": 0 if watcher is None else watcher.planned_looks(total_steps(trainer)),
            "share": None if watcher is None else watcher.max_overhead,
            "validation": self._validation_seconds(trainer),
            "validations": _validations_per_step(trainer),
            "logged": sorted(trainer.callback_metrics) if self._validations or not trainer.enable_validation else None,
        }
        self.file.write_text(json.dumps(content), encoding="utf-8")

    def _mark(self, trainer: Trainer) -> _Mark:
        return _Mark(trainer.global_step, time.perf_counter(), len(history_so_far(trainer)), len(self._validations))

    def _step_seconds(self, looks: Sequence[float]) -> float:
        first, last = self._first, self._last
        if last.step == first.step:
            return 0.0
        apart = sum(looks[first.looks : last.looks]) + sum(self._validations[first.validations : last.validations])
        return max(0.0, last.seconds - first.seconds - apart) / (last.step - first.step)

    def _validation_seconds(self, trainer: Trainer) -> float:
        """Seconds of a whole validation, judged by the batches it was allowed."""
        if not self._validations:
            return 0.0
        given: Any = trainer.val_dataloaders
        loaders = given.values() if isinstance(given, Mapping) else given if isinstance(given, Sequence) else [given]
        whole, made = 0.0, 0.0
        for loader in loaders:
            try:
                length = len(loader)
            except TypeError:  # a stream, which does not know its end
                length = _VALIDATION_BATCHES
            whole += int(length * self._limit) if isinstance(self._limit, float) else min(length, self._limit)
            made += min(length, trainer.limit_val_batches)
        return sum(self._validations) / len(self._validations) * (whole / made if made else 1.0)


def _validations_per_step(trainer: Trainer) -> float:
    """How many validations come with an optimizer step, on average over a whole run."""
    interval, batches = trainer.val_check_batch, trainer.num_training_batches
    if not trainer.enable_validation or not interval:
        return 0.0
    if trainer.check_val_every_n_epoch is None:
        return trainer.accumulate_grad_batches / interval
    if not math.isfinite(batches) or not batches:
        return 0.0
    an_epoch = max(1, batches // interval) if math.isfinite(interval) else 1
    steps = math.ceil(batches / trainer.accumulate_grad_batches)
    return an_epoch / trainer.check_val_every_n_epoch / steps
