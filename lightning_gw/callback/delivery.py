"""Where finished records go: to the disk first, then to the loggers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_gw.analysis.job import LookJob, LookResult
from lightning_gw.analysis.solver import Solver
from lightning_gw.callback.error_policy import ErrorPolicy
from lightning_gw.callback.messages import (
    abandoned_message,
    end_message,
    interrupted_message,
    look_message,
    overdrawn_message,
)
from lightning_gw.callback.when.budget import Budget
from lightning_gw.interventions.skips import SkipTest
from lightning_gw.records.history import History
from lightning_gw.records.record import Record
from lightning_gw.records.representations import KeptRepresentations, keep_representations
from lightning_gw.records.run_folder import continue_history, metric_values
from lightning_gw.utilities import output

#: Records kept in memory while the disk takes none.
MOST_UNWRITTEN = 16


class RecordDelivery:
    """Hands records on, on the first process. A disk that takes none is asked again with every later record.

    Args:
        prefix: What log keys begin with.
        error_policy: What becomes of errors.
        verbose: Whether to say what was found.
        every_layer: Whether W&B gets two scalars a layer.

    Attributes:
        history: What was found so far; None before `open`.
        last: Step of the last record that is on disk; None before the first.
        known: Metrics that the folder knows and the checkpoint does not, because it was saved just before a validation.
    """

    def __init__(self, prefix: str, error_policy: ErrorPolicy, verbose: bool = True, every_layer: bool = False) -> None:
        self.history: History | None = None
        self.last: int | None = None
        self.known: dict[str, float] = {}
        self._prefix = prefix
        self._error_policy = error_policy
        self._verbose = verbose
        self._every_layer = every_layer
        self._unwritten: list[Record] = []
        # What the next record is to say: it may have been looked for, and wait to be solved, before this is known.
        self._missing: list[str] = []

    def open(self, folder: Path | None, *, looked: int | None, resumed: int, origin: str | None) -> None:
        """Open the history where training stands.

        Args:
            folder: Where it lives; None keeps it in memory.
            looked: Step of the last look that training knows of; None for a new run.
            resumed: Global step at which training stands.
            origin: Folder in which the checkpoint's run kept its history.

        Raises:
            OSError: If it cannot be.
        """
        self._unwritten, self._missing = [], []
        # A look that was not solved when the checkpoint was saved will be: its record, if there is one, gives way.
        written = self.last if self.last is not None or looked is None else -1
        try:
            self.history, warnings = continue_history(
                self.history, folder, looked=written, resumed=resumed, origin=origin
            )
        except Exception as error:
            raise OSError(str(error)) from error
        self.last = self.history[-1].step if self.history else None
        for warning in warnings:
            self._error_policy.warn(warning)
        for row in self.history.metrics:
            if looked is not None and row["step"] >= looked:
                self.known |= metric_values(row)

    def prepare(self, solver: Solver, loggers: Sequence[Any]) -> None:
        """Have pictures drawn beside training where that can be; before the first look, once the history is open."""
        from lightning_gw.loggers.dispatch import wants_pictures  # pictures and wandb are slow to import

        if self.history is not None and wants_pictures(loggers):
            solver.worker.render_in_worker(self.history)

    def deliver(
        self,
        solver: Solver,
        loggers: Sequence[Any],
        say: Callable[[str], None],
        patience: float = 0.0,
        before_training: bool = False,
    ) -> None:
        """Hand on what was solved.

        Args:
            solver: Where it was solved.
            loggers: The Trainer's loggers.
            say: Prints a line.
            patience: Seconds to wait for each look that is still being solved.
            before_training: Whether training waits for this before its first step, so that it can still be refused.

        Raises:
            Exception: Why a look failed, where errors end the training or it has not begun.
        """
        missing = self._missing
        for result in solver.collect(patience):
            if result.error is not None:
                # In the background the first look is solved while training goes on, which it is not to end any more.
                if before_training and not result.aside:
                    raise result.error
                missing += result.job.carried
                missing.append(self._error_policy.cost_a_look(result.error, result.job.step))
            elif self.history is not None:  # solved together, it is the first process that writes
                try:
                    self._hand_on(loggers, say, result, missing)
                except Exception as error:
                    step = result.job.step
                    if step in (self.last, *(record.step for record in self._unwritten)):
                        self._error_policy.tolerate(error, f"hand on all that it found at step {step}")
                    else:
                        missing.append(self._error_policy.cost_a_record(error, step))

    def _hand_on(
        self, loggers: Sequence[Any], say: Callable[[str], None], result: LookResult, missing: list[str]
    ) -> None:
        started = time.perf_counter()
        assert result.record is not None
        notes = (*dict.fromkeys((*result.record.notes, *missing)),)
        missing.clear()
        self.put(loggers, replace(result.record, notes=notes), result.pictures)
        if self._verbose:
            say(look_message(self._prefix, result, time.perf_counter() - started))

    def abandon(self, solver: Solver) -> None:
        """Give up the looks that took too long to solve, and say so."""
        if steps := solver.abandon():
            self._error_policy.warn(abandoned_message(steps))

    def put(self, loggers: Sequence[Any], record: Record, pictures: Mapping[str, Any] | None = None) -> None:
        """Write and log a record. Nothing that fails here costs the record what another takes of it.

        Raises:
            Exception: What the disk raised, where errors end the training.
        """
        from lightning_gw.loggers.dispatch import log_record  # pictures and wandb are slow to import

        assert self.history is not None
        self._unwritten.append(record)
        self._write()
        looks = self.history if not self._unwritten else [*self.history, *self._unwritten]
        self._say(log_record(loggers, record, looks, self._prefix, pictures, self._every_layer))

    def put_metrics(self, step: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Write the run's own scalars, unless those of this step are there.

        Raises:
            Exception: What the disk raised, where errors end the training.
        """
        history = self.history
        # Resumed from a checkpoint saved between this step and its validation, training comes by here twice.
        if history is None or not metrics or (history.metrics and history.metrics[-1]["step"] == step):
            return
        try:
            history.append_metrics(step, epoch, metrics)
        except Exception as error:
            self._error_policy.tolerate(error, "write metrics")

    def keep(self, job: LookJob) -> None:
        """Write what the layers put out in a look, in place of what they did in the one before.

        Raises:
            Exception: What the disk raised, where errors end the training.
        """
        if self.history is None or self.history.path is None:
            return
        try:
            kept = KeptRepresentations(job.representations, job.step, str(job.context.probe["hash"]))
            keep_representations(self.history.path, kept)
        except Exception as error:
            self._error_policy.tolerate(error, "keep representations")

    def put_skip_test(
        self, loggers: Sequence[Any], found: SkipTest, step: int, logged_at: int | None, say: Callable[[str], None]
    ) -> None:
        """Write, log and say what a skip test found.

        Args:
            loggers: The Trainer's loggers.
            found: What.
            step: Step that training is at.
            logged_at: Step at which loggers hold it; None where it is `step`.
            say: Prints a line.

        Raises:
            Exception: What the disk raised, where errors end the training.
        """
        from lightning_gw.callback.skip_test import write_skip_test
        from lightning_gw.loggers.dispatch import log_skip_test

        if self.history is not None and self.history.path is not None:
            try:
                write_skip_test(self.history.path, found, step=step)
            except OSError as error:
                self._error_policy.tolerate(error, "write the skip test")
        self._say(log_skip_test(loggers, found, step if logged_at is None else logged_at, self._prefix))
        if self._verbose:
            where = (
                ""
                if self.history is None or self.history.path is None
                else f"\nThe skip test is in {self.history.path}."
            )
            say("\n".join(found.sentences()) + where)

    def configure(self, loggers: Sequence[Any], config: Mapping[str, Any]) -> None:
        """Log how the layers are looked at."""
        from lightning_gw.loggers.dispatch import log_config

        self._say(log_config(loggers, config, prefix=self._prefix))

    def conclude(self, loggers: Sequence[Any]) -> None:
        """Write what is still unwritten, or say that it is lost, and log how the run ended."""
        assert self.history is not None
        with self._error_policy.tolerating("write what was left"):
            self._write()
        if self._unwritten:
            steps = ", ".join(str(record.step) for record in self._unwritten)
            self._error_policy.warn(
                f"GWSimilarity could not write the records of these steps to {self.history.path}: {steps}."
            )
        from lightning_gw.loggers.dispatch import log_summary

        self._say(log_summary(loggers, self.history, prefix=self._prefix))

    def announce(self, say: Callable[[str], None], layers: str) -> None:
        """Say before the first look what there is to say of the layers, if anything."""
        if self._verbose and layers:
            say(f"{self._prefix.rstrip('/')} {layers}")

    def report(self, loggers: Sequence[Any], say: Callable[[str], None], budget: Budget) -> None:
        """Say how the run ended, what looking cost, and where it can be seen."""
        from lightning_gw.loggers.dispatch import online_project

        assert self.history is not None
        if self._verbose:
            say(end_message(self.history, budget, online_project(loggers), self._prefix))
        if budget.overdrawn:
            output.inform(overdrawn_message(budget))

    def say_interrupted(self, loggers: Sequence[Any], say: Callable[[str], None]) -> None:
        """Say where the history of a training that ended early is, and give loggers the answer so far."""
        from lightning_gw.loggers.dispatch import log_answer

        if self.history and self.history.path is not None and self._verbose:
            say(interrupted_message(self._prefix, self.history))
        if self.history:
            log_answer(loggers, self.history, self._prefix)

    def _write(self) -> None:
        """Write what waits, in order."""
        history = self.history
        assert history is not None
        while self._unwritten:
            record = self._unwritten[0]
            try:
                history.append(record)
            except Exception as error:
                if not isinstance(error, OSError):  # no disk: asked again, it would refuse this record again
                    del self._unwritten[0]
                    self._error_policy.note(self._error_policy.cost_a_record(error, record.step))
                    continue
                self._error_policy.tolerate(error, "write a record, keeps it in memory and goes on")
                late = f"Written late, because at first the disk took nothing ({error})."
                self._unwritten = [
                    record if late in record.notes else replace(record, notes=(*record.notes, late))
                    for record in self._unwritten
                ]
                self._forget_oldest()
                return
            self.last = record.step
            del self._unwritten[0]

    def _forget_oldest(self) -> None:
        while len(self._unwritten) > MOST_UNWRITTEN:
            lost = self._unwritten.pop(0)
            self._error_policy.note(
                f"There is no record of step {lost.step} on disk: it took nothing, and no more than {MOST_UNWRITTEN} "
                "records are kept in memory."
            )

    def _say(self, problems: Sequence[str]) -> None:
        """Pass on what a logger did not take; the record itself is on disk by then."""
        for problem in problems:
            self._error_policy.warn(problem)
