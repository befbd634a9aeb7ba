"""The callback with which a run tells the comparison it belongs to how far it is."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gw.callback.gw_similarity import GWSimilarity
from lightning_gw.callback.trainer import total_steps
from lightning_gw.compare.executors.process import PARENT_VARIABLE
from lightning_gw.records.history import History
from lightning_gw.records.record import Record
from lightning_gw.records.run_folder import metric_values
from lightning_gw.records.words.misnamed import planted_beyond
from lightning_gw.utilities.errors import UsageError, reason_of
from lightning_gw.utilities.output import say, warn
from lightning_gw.utilities.storage.files import read_text, write_whole


class RunProgress(Callback):
    """Writes how far training is into a small JSON file, at most twice a second, whole or not at all.

    The file holds ``step``, ``steps`` (planned, or None), ``pace`` (seconds per step since this process began to train,
    or None), ``accuracy``, ``metrics`` (names of all that was logged), ``looks``, ``groups`` and ``seconds`` (over all
    attempts). It reads what the trainer already has.

    Every GWSimilarity of the run keeps the representations of its last look, with which a comparison relates the layers
    of one strategy to those of another.

    A run that belongs to a comparison ends at once when the comparison's process is gone, so that the same command can
    go on from the last checkpoint without two processes writing to one folder. The process that started it may be on
    another machine than the comparison (a Ray worker); Ray ends that one when the comparison is gone.

    Args:
        file: Where to write.
        accuracy: Name of the logged metric to report, or None.
        planted: Boundaries that the comparison planted (0-based, "after layer k"), or None.
        every: Seconds between writes.

    Raises:
        UsageError: At the start of training, if a planted boundary lies beyond the layers that are looked at.
    """

    def __init__(
        self, file: str, accuracy: str | None = None, planted: list[int] | None = None, every: float = 0.5
    ) -> None:
        self.file = Path(file)
        self.accuracy = accuracy
        self.planted = planted
        self.every = every
        self._parent = int(os.environ.get(PARENT_VARIABLE, "0"))
        self._process = os.getpid()  # processes that a strategy such as DDP adds have other parents, rightly
        self._started = time.monotonic()
        self._started_training = self._started
        self._earlier = 0.0  # seconds of earlier attempts
        self._first_step = 0
        self._written = -math.inf
        self._failed = False
        self._value: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note when the run was ready to train."""
        self._leave_if_orphaned()
        for callback in watchers(trainer):
            callback.keep_representations = True  # runs of a comparison are compared layer by layer
        self._started = time.monotonic()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note how long earlier attempts took, where this one goes on from them."""
        with suppress(OSError, ValueError, KeyError, TypeError):  # what cannot be read counts as nothing
            self._earlier = float(json.loads(read_text(self.file))["seconds"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check what was planted against the layers, which are known by now, and report the first step."""
        history = history_so_far(trainer)
        if history and (beyond := planted_beyond(self.planted, len(history[-1].layers))):
            raise UsageError(f"{beyond} The layers are: {', '.join(history[-1].layers)}.")
        self._started_training, self._first_step = time.monotonic(), trainer.global_step
        self._write(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report, when it is time to."""
        self._leave_if_orphaned()
        self._write_if_due(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop here too: a validation may be long."""
        self._leave_if_orphaned()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the metric where it is fresh; the sanity check before training gives none."""
        if not trainer.sanity_checking:
            self._write_if_due(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the end, after all other callbacks' last looks."""
        self._write(trainer)

    def _write_if_due(self, trainer: Trainer) -> None:
        if time.monotonic() - self._written >= self.every:
            self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        """Report, or do without: how far a run is, is worth no run."""
        if not trainer.is_global_zero:
            return
        self._written = time.monotonic()
        try:
            self._report(trainer)
        except Exception as error:
            if not self._failed:
                warn(f"The comparison is not told how far this run is: {reason_of(error)}")
            self._failed = True

    def _report(self, trainer: Trainer) -> None:
        history = history_so_far(trainer)
        # A run that was over when it was resumed logs nothing any more; its history knows what it logged.
        logged: dict[str, Any] = {**_logged_before(history), **trainer.callback_metrics}
        if self.accuracy in logged:
            self._value = float(logged[self.accuracy])
        now, done = time.monotonic(), trainer.global_step - self._first_step
        content = {
            "step": trainer.global_step,
            "steps": planned_steps(trainer),
            "pace": (now - self._started_training) / done if done > 0 else None,
            "accuracy": self._value if self._value is not None and math.isfinite(self._value) else None,
            "metrics": sorted(logged),
            "looks": len(history),
            "groups": history[-1].summary() if len(history) else None,
            "seconds": round(self._earlier + now - self._started, 2),
        }
        write_whole(self.file, json.dumps(content).encode(), lasting=False)

    def _leave_if_orphaned(self) -> None:
        if self._parent and os.getpid() == self._process and os.getppid() != self._parent:
            say("The comparison this run belongs to is gone; the run stops here and can go on later.")
            with suppress(OSError):
                sys.stderr.flush()
            # Not an exception: that would let other callbacks take this step for the end of training.
            os._exit(3)


def history_so_far(trainer: Trainer) -> Sequence[Record]:
    """What the run's GWSimilarity has found so far."""
    return next((callback.history for callback in watchers(trainer) if callback.history is not None), ())


def _logged_before(history: Sequence[Record]) -> dict[str, Any]:
    """The run's own metrics, as its history knows them."""
    rows = history.metrics if isinstance(history, History) else ()
    return {name: value for row in rows for name, value in metric_values(row).items()}


def watchers(trainer: Trainer) -> list[GWSimilarity]:
    callbacks: Sequence[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, GWSimilarity)]


def planned_steps(trainer: Trainer) -> int | None:
    """Optimizer steps of the whole run, or None where that is not known."""
    total = total_steps(trainer)
    return int(total) if math.isfinite(total) else None
