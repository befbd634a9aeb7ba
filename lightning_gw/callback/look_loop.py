"""The looks of one training run: each is made, handed on and accounted for here, whoever says that it is time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn

from lightning_gw.activations.observer import Observer
from lightning_gw.analysis.job import LookJob
from lightning_gw.analysis.solver import Solver
from lightning_gw.callback.delivery import RecordDelivery
from lightning_gw.callback.error_policy import ErrorPolicy
from lightning_gw.callback.messages import postponed_message, postponed_note, say
from lightning_gw.callback.progress_bar import shown
from lightning_gw.callback.run_null import null_of_run
from lightning_gw.callback.trainer import finish_queued_work, scalar_metrics, total_steps
from lightning_gw.callback.when.budget import Pace
from lightning_gw.callback.when.steps import Steps
from lightning_gw.records.context import LookContext
from lightning_gw.significance.evidence import null_state
from lightning_gw.utilities import output
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.errors import ArgumentError
from lightning_gw.utilities.random_state import isolated_randomness, plain_tensors
from lightning_gw.utilities.text import folded

#: Seconds to wait for each look that is being solved in the background: when training ends well, and when it does not.
PATIENCE, SHORT_PATIENCE = 600.0, 5.0


class LookLoop:
    """Makes the looks of one `GWSimilarity`, on every process alike, and holds what its checkpoints keep.

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

    # ---- from the start of training to its end ------------------------------------------------------------------

    def reset(self) -> None:
        """Forget everything: the next look is the first of its history."""
        self.last = self._delivery.last = None
        self.metrics, self.stopped, self.failed = {}, False, None
        self._steps.uncounted = 0
        self._solver.reset()
        self._pace.budget.reset()

    def warm_up(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin with what can be made ready while training is."""
        self._solver.share(trainer.world_size)
        if trainer.is_global_zero or self._solver.shared:
            self._solver.worker.warm_up(module.device)

    def prepare(
        self,
        trainer: Trainer,
        module: LightningModule,
        folder: Callable[[], Path | None],
        loaded: Mapping[str, Any] | None,
    ) -> None:
        """Settle probe, layers and folder. What the user wrote wrongly is an error here.

        Where the network cannot be looked at, there are no looks, and training goes on.

        Args:
            trainer, module: Training.
            folder: Where the history lives; asked on the first process only.
            loaded: State that training was resumed with; None for a new run.

        Raises:
            ValueError: If a layer is unknown, or there are too few probe inputs.
            OSError: If the folder cannot be written.
        """
        self._pace.start(self._steps.now(trainer), total_steps(trainer))
        with self._pace.charged(), self._aside():
            known = loaded["probe_hash"] if loaded else None
            unsettled = loaded.get("unsettled") if loaded else None
            try:
                with Ranks("world", "Preparing to look").failing_together(agree=True):
                    warnings = self._observer.prepare(trainer, module, known, self._solver.layers, unsettled)
            except Exception as error:
                self._stop(error)
                return
            for warning in warnings:
                self._error_policy.warn(warning)
            with Ranks("world", "Opening the history").failing_together(agree=True):
                self._open_history(trainer, folder, loaded)
            self.metrics |= self._delivery.known
            if trainer.is_global_zero:
                self._delivery.prepare(self._solver, trainer.loggers)
            if trainer.is_global_zero or self._solver.shared:
                self._solver.resume()

    def begin(self, trainer: Trainer, module: LightningModule) -> None:
        """Look for the first time, and log how."""
        if self.stopped:
            return
        # After resuming without a look at this very step, an uninterrupted run would not have looked here either.
        if self.last is None:
            self._delivery.announce(partial(say, module), self._observer.remarkable)
            with self._pace.uncharged(), self._aside():
                null = self._null(trainer, module)
            try:
                with self._all_ranks(trainer.global_step):
                    self._look(trainer, module, null)
            except Exception as error:
                self._stop(error)
                return
        if trainer.is_global_zero:
            with self._pace.charged(), self._aside():
                config = self._solver.config.to_json() | self._observer.description(self._solver.layers)
                self._delivery.configure(trainer.loggers, config)

    def look_at_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Look for the last time; what is not solved yet may have all the threads that training had."""
        with self._all_ranks(trainer.global_step):
            self._solver.worker.set_threads(torch.get_num_threads())
            self._look(trainer, module)

    def conclude(self, trainer: Trainer, module: LightningModule) -> None:
        """Wait for what is being solved, log how the run ended, and say it; each whatever becomes of the rest."""
        if not trainer.is_global_zero or self._delivery.history is None:
            return
        tolerating = self._error_policy.tolerating
        with tolerating("wait for its looks"), shown(trainer, f"Waiting for {len(self._solver.pending)} looks"):
            self.collect(trainer, module, PATIENCE)
        with tolerating("give up its looks"):
            self._delivery.abandon(self._solver)
        if self.stopped and not self._delivery.history:  # which was said before training began
            return
        self._pace.finish()
        with tolerating("conclude its history"), self._pace.charged(), self._aside():
            self._delivery.conclude(trainer.loggers)
        with tolerating("say how the run ended"):
            self._delivery.report(trainer.loggers, partial(say, module), self._pace.budget)

    def conclude_earlier_run(
        self,
        trainer: Trainer,
        module: LightningModule,
        folder: Callable[[], Path | None],
        loaded: Mapping[str, Any],
    ) -> None:
        """Conclude a run that was over when it was resumed: with the records it wrote, and the looks it left unsolved.

        Args:
            trainer, module, folder, loaded: See `prepare`.
        """
        # No look will be made again, so that no record gives way, not even one later than the checkpoint.
        self.last = self._delivery.last = self._steps.now(trainer)
        self._pace.start(self.last)
        self._open_history(trainer, folder, loaded)
        self._solver.drop(self._delivery.last)
        self._solver.resume()
        self.conclude(trainer, module)

    def give_up(self, trainer: Trainer, module: LightningModule) -> None:
        """Training ended in an error: hand on what is solved, and do without the rest."""
        with suppress(Exception):  # the exception at hand says more than whatever comes of this
            self.collect(trainer, module, SHORT_PATIENCE)
            self._delivery.abandon(self._solver)

    def state_dict(self) -> dict[str, Any]:
        """State in plain types and tensors, for a checkpoint; empty before the first look."""
        if self.last is None:
            return {}
        self._pace.update()
        history = self._delivery.history
        return {
            "step": self.last,
            "recorded": self._delivery.last,
            "probe_hash": self._observer.probe_hash,
            "unsettled": self._observer.unsettled,
            "metrics": dict(self.metrics),
            "folder": str(history.path.absolute()) if history is not None and history.path else None,
            "budget": self._pace.budget.state_dict(),
            **({"uncounted": self._steps.uncounted} if self._steps.uncounted else {}),
            **self._solver.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        self.last = state["step"]
        self._steps.uncounted = state.get("uncounted", 0)
        # What was made before any of this was counted lacks it.
        self._delivery.last = state.get("recorded", state["step"])
        self.metrics = dict(state["metrics"])
        self._solver.load_state_dict(state)
        if "budget" in state:
            self._pace.budget.load_state_dict(state["budget"])

    # ---- one look -----------------------------------------------------------------------------------------------

    def look_if_it_fits(
        self, trainer: Trainer, module: LightningModule, demanded: bool = False, ask_again: bool = True
    ) -> None:
        """Look, or put it off where it would cost more than it may; on every process alike.

        Args:
            trainer, module: Training.
            demanded: Whether the look is made at any price.
            ask_again: Whether a look that is put off is asked for again in time, not by something else.
        """
        step = self._steps.now(trainer)
        with self._all_ranks(step):
            if step in (self.last, self.failed) or self.stopped:
                return
            delay = 0
            if not demanded:
                delay = Ranks("world").first(self._pace.delay(step, self._solver.backlog, self._solver.closing))
            if not delay:
                self._look(trainer, module)
            elif self._pace.postpone(step, step + delay if ask_again else None):
                output.inform(postponed_message(step, step + delay if ask_again else None, self._pace.budget))

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

    def _stop(self, error: Exception) -> None:
        """Make no looks, unless what is wrong is to end the training."""
        if isinstance(error, ArgumentError):
            raise error
        self._error_policy.make_no_looks(error)
        self.stopped = True

    def _open_history(
        self, trainer: Trainer, folder: Callable[[], Path | None], loaded: Mapping[str, Any] | None
    ) -> None:
        if trainer.is_global_zero:
            now, origin = self._steps.now(trainer), loaded["folder"] if loaded else None
            self._delivery.open(folder(), looked=self.last, resumed=now, origin=origin)

    def _observe(self, trainer: Trainer, module: LightningModule, null: Mapping[str, Any] | None) -> LookJob:
        started = time.perf_counter()
        activations = self._observer.observe(trainer, module)
        self.metrics |= scalar_metrics(trainer)
        if put_off := self._pace.made(step := self._steps.now(trainer)):
            self._error_policy.note(postponed_note(put_off, self._pace.budget))
        context = LookContext(
            step=step,
            epoch=trainer.current_epoch,
            probe=self._observer.description(tuple(activations.representations)),
            metrics=dict(self.metrics),
            notes=folded((*self._observer.notes, *activations.notes)),
            logged_at=self._steps.logged_at(trainer),
        )
        return LookJob(
            context,
            activations.representations,
            carried=self._error_policy.take_notes(),
            seconds=time.perf_counter() - started,
            first=null is not None,
            null=null,
        )

    def _null(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        """What all looks are held against, looked through before training begins."""
        comparing = self._solver.config.comparing
        null, trained = null_of_run(trainer, module, self._observer, self._null_samples, comparing, self._untrained)
        if isinstance(null, str) and self._null_samples:
            self._error_policy.warn(f"Groups are tested against no null: {null.removeprefix('none: ')}.")
        return null_state(null) | {"trained": trained}

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
