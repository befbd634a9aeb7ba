"""One look: made, put off, or taken from the validation that it rode along with; handed on, and accounted for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import nn

from lightning_gw.activations.observer import Observer
from lightning_gw.analysis.job import LookJob
from lightning_gw.analysis.solver import Solver
from lightning_gw.callback.delivery import RecordDelivery
from lightning_gw.callback.error_policy import ErrorPolicy
from lightning_gw.callback.look.ride_along import CAPTURED, RideAlong
from lightning_gw.callback.messages import postponed_message, postponed_note, say
from lightning_gw.callback.progress_bar import shown
from lightning_gw.callback.trainer import finish_queued_work, scalar_metrics, training_ends
from lightning_gw.callback.when.pace import Pace
from lightning_gw.callback.when.steps import Steps
from lightning_gw.records.context import LookContext
from lightning_gw.utilities import output
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.errors import LookError
from lightning_gw.utilities.random_state import isolated_randomness, plain_tensors
from lightning_gw.utilities.text import folded


class LookMaker:
    """Makes one look after the other, on every process alike.

    Args:
        observer: Brings representations.
        solver: Turns them into records.
        pace: What looks cost, and which fit.
        error_policy: What becomes of errors.
        delivery: Where records go.
        steps: Counts how far training is.
        seed: Seed of every random state while a look is made.
        null_samples: See `GWSimilarity`.
        untrained: See `GWSimilarity`.
        keep_representations: See `GWSimilarity`.

    Attributes:
        last: Step of the last look; None before the first.
        metrics: The run's own scalars, as last seen.
        keep_representations: See `GWSimilarity`.
        together: Whether all processes are in a look and wait for each other; set by who calls for it, in time.
        failed: Step of the last look that failed, which is not tried again there.
        rounds: How often all processes came together here.
        stopped: Whether no more looks are made, on all processes alike.
        ride: Has looks ride along with validation.
    """

    def __init__(
        self,
        observer: Observer,
        solver: Solver,
        pace: Pace,
        error_policy: ErrorPolicy,
        delivery: RecordDelivery,
        steps: Steps,
        *,
        seed: int,
        null_samples: int | None,
        untrained: Callable[[], nn.Module] | None,
        keep_representations: bool,
    ) -> None:
        if null_samples is not None and null_samples < 0:
            raise ValueError(f"null_samples={null_samples} must be a number of networks, 0 for no null.")
        self._observer = observer
        self._solver = solver
        self._pace = pace
        self._error_policy = error_policy
        self._delivery = delivery
        self._steps = steps
        self._seed = seed
        self._null_samples = null_samples
        self._untrained = untrained
        self.keep_representations = keep_representations
        self.last: int | None = None
        self.metrics: dict[str, float] = {}
        self.stopped, self.together, self.rounds = False, False, 0
        self.failed: int | None = None
        self.ride = RideAlong(observer.riding, error_policy, pace)

    def look_if_it_fits(
        self,
        trainer: Trainer,
        module: LightningModule,
        demanded: bool = False,
        ask_again: bool = True,
        ahead: int | None = None,
    ) -> None:
        """Look, or put it off where it would cost more than it may; on every process alike.

        Args:
            trainer, module: Training.
            demanded: Whether the look is made at any price.
            ask_again: Whether a look that is put off is asked for again in time, not by something else.
            ahead: Looks that will fall due after this one; None where nobody can tell.
        """
        step = self._steps.now(trainer)
        with self._all_ranks(step):
            if step in (self.last, self.failed) or self.stopped:
                return
            delay = 0
            if not demanded:
                delay = self._pace.delay(step, self._solver.backlog, self._solver.closing, ahead)
                delay = Ranks("world").first(delay)
            if not delay and not (ask_again and self.ride.puts_off(trainer, module, step)):
                self._look(trainer, module)
            elif not delay:
                self.metrics |= scalar_metrics(trainer)  # as they are now, and not after the validation
            elif self._pace.postpone(step, step + delay if ask_again else None):
                output.inform(postponed_message(step, step + delay if ask_again else None, self._pace.budget))

    def board(self, trainer: Trainer, module: LightningModule, at_checkpoints: bool) -> None:
        """A validation begins: have a look ride along that is due, or that may be asked for once it is over."""
        step = self._steps.now(trainer)
        new, last = step not in (self.last, self.failed), training_ends(trainer)
        asked_for = new and (last or at_checkpoints)
        if asked_for and not last:  # which is made at any price
            asked_for = not self._pace.delay(step, self._solver.backlog, self._solver.closing)
        if not self.stopped:
            self.ride.board(module, asked_for)

    def catch_up(self, trainer: Trainer, module: LightningModule, last_chance: bool = True) -> None:
        """Make the look that waited for a validation, while the weights are still those that it is about.

        Args:
            trainer, module: Training.
            last_chance: Whether the look is lost if they are not.
        """
        if self.ride.due is None:
            return
        step, same = self.ride.due[0], self.ride.is_still_due(module)
        if same or last_chance:
            self.together = True
            with self._all_ranks(step):
                try:
                    if not same:
                        raise LookError("it waited for a validation, and the weights changed meanwhile")
                    self._look(trainer, module)
                finally:
                    self.ride.due = None

    def _look(self, trainer: Trainer, module: LightningModule, null: Mapping[str, Any] | None = None) -> None:
        """Look at the network now, unless that was done at this step; `null` is given with the first look."""
        if (step := self._steps.now(trainer)) in (self.last, self.failed) or self.stopped:
            return
        finish_queued_work(trainer)
        with self._pace.looking(), self._aside(), shown(trainer, f"Looking through the layers at step {step}"):
            with Ranks("world", f"The look at step {step}").failing_together(agree=True):
                job = self._observe(trainer, module, null)
            self._submit(trainer, job)
            self._delivery.deliver(
                self._solver, trainer.loggers, partial(say, module), before_training=null is not None
            )

    def collect(self, trainer: Trainer, module: LightningModule, patience: float = 0.0) -> None:
        """Hand on what was solved in the background."""
        if patience or self._solver.ready:
            with self._pace.charged(), self._aside():
                self._delivery.deliver(self._solver, trainer.loggers, partial(say, module), patience)

    def _observe(self, trainer: Trainer, module: LightningModule, null: Mapping[str, Any] | None) -> LookJob:
        started = time.perf_counter()
        ridden = self.ride.take(module)
        activations = self._observer.observe(trainer, module) if ridden is None else ridden
        if ridden is None:
            self.ride.compare(module, activations)
        if self.ride.due is None:
            self.metrics |= scalar_metrics(trainer)
        if any(put_off := self._pace.made(step := self._steps.now(trainer))):
            self._error_policy.note(postponed_note(*put_off, self._pace.budget))
        context = LookContext(
            step=step,
            epoch=trainer.current_epoch,
            probe=self._observer.description(tuple(activations.representations)) | (CAPTURED if ridden else {}),
            metrics=dict(self.metrics),
            notes=folded((*self._observer.notes, *activations.notes)),
            logged_at=self._steps.logged_at(trainer),
        )
        return LookJob(
            context,
            activations.representations,
            carried=self._error_policy.take_notes(),
            seconds=time.perf_counter() - started + (self.ride.seconds if ridden else 0.0),
            first=null is not None,
            null=null,
            weights=self._observer.weights_of_layers(module),
        )

    def _submit(self, trainer: Trainer, job: LookJob) -> None:
        self.last = job.step
        if trainer.is_global_zero and self.keep_representations:
            self._delivery.keep(job)
        if trainer.is_global_zero or self._solver.shared:
            self._solver.submit(job)
        else:
            self._solver.set_layers(job)

    @contextmanager
    def _all_ranks(self, step: int) -> Iterator[None]:
        """What fails inside on one process fails on all, and none goes on before all can."""
        self.rounds += 1
        with Ranks("world", f"The look at step {step}").leaving_together():
            yield
        self.together = False

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """What runs inside leaves training's random states and gradient mode as they are."""
        with isolated_randomness(self._seed), plain_tensors():
            yield
