"""The callback of a short trial: times its steps, looks and validations, and ends it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gw.callback.trainer import total_steps
from lightning_gw.compare.run_callback import history_so_far, watchers

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

    The file holds ``ready`` and ``ended`` (time of day before the first step and after the last look), ``steps``
    (made), ``total`` (steps of the whole run, or None), ``step_seconds`` (looks and validations not counted),
    ``look_seconds`` (of the last look), ``looks`` (how many the whole run makes after the first; None where checkpoints
    bring them), ``look_share`` (the most that looks may take of the training time, or None), ``validation_seconds`` (of
    a whole validation) and ``validations_per_step``.

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
        total, history = total_steps(trainer), history_so_far(trainer)
        watcher = next(iter(watchers(trainer)), None)
        content = {
            "ready": self._ready,
            "ended": time.time(),
            "steps": self._last.step,
            "total": int(total) if math.isfinite(total) else None,
            "step_seconds": self._step_seconds([record.seconds for record in history]),
            "look_seconds": history[-1].seconds if len(history) else 0.0,
            "looks": 0 if watcher is None else watcher.planned_looks(total),
            "look_share": None if watcher is None else watcher.max_overhead,
            "validation_seconds": self._validation_seconds(trainer),
            "validations_per_step": _validations_per_step(trainer),
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
