"""When to look at the network: what each of Lightning's events sets going."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gw.activations.observer import Observer
from lightning_gw.analysis.solver import Solver
from lightning_gw.callback.copies import RemembersCopies
from lightning_gw.callback.delivery import RecordDelivery
from lightning_gw.callback.error_policy import ErrorPolicy
from lightning_gw.callback.guard import costs_no_training, lose
from lightning_gw.callback.look.look_loop import LookLoop
from lightning_gw.callback.messages import no_checkpoints_message, remote_message, say, uncounted_message
from lightning_gw.callback.progress_bar import shown
from lightning_gw.callback.trainer import (
    refuse_namesakes,
    resumes_another,
    scalar_metrics,
    total_steps,
    was_interrupted,
    why_no_checkpoints,
)
from lightning_gw.callback.when.pace import Pace
from lightning_gw.callback.when.schedule import Schedule
from lightning_gw.callback.when.steps import Steps
from lightning_gw.records.history import History
from lightning_gw.records.run_folder import remote_home, run_folder
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.errors import near_names, sentence
from lightning_gw.utilities.output import inform


class LookEvents(RemembersCopies, Callback):
    """The events of a training on which its network is looked at; `GWSimilarity` says with what."""

    name: str | None
    save_dir: str | Path | None
    skip_test: bool | str
    _observer: Observer
    _schedule: Schedule
    _solver: Solver
    _pace: Pace
    _error_policy: ErrorPolicy
    _steps: Steps
    _delivery: RecordDelivery
    _look_loop: LookLoop

    def __new__(cls, *_: Any, **options: Any) -> Self:
        """Refuse an option that there is none of, with near names, which Python gives from 3.13 on only."""
        known = inspect.signature(cls.__init__).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            for name in options.keys() - known.keys():
                raise TypeError(
                    sentence(f"{cls.__name__} has no argument {name!r}.", near_names(name, list(known)[1:]))
                )
        return super().__new__(cls)

    def __init__(self) -> None:
        super().__init__()
        self._before = 0  # steps up to here were dealt with
        self._watching = False  # between the start and the end of training
        self._met = False  # the other callbacks of the Trainer, at `setup`
        self._loaded: Mapping[str, Any] | None = None

    @property
    def history(self) -> History | None:
        """What was found so far; None before ``fit``, and on all processes but the first.

        Of a callback that trained only as a copy, which some libraries make of what they are given, that of the last;
        so are `last_look` and `seconds_spent`.
        """
        return self._one_that_looked._delivery.history

    @property
    def last_look(self) -> int | None:
        """Step of the last look, on all processes alike; None before the first. It may still wait to be solved."""
        return self._one_that_looked._look_loop.last

    @property
    def seconds_spent(self) -> float:
        """Seconds that looking held the training up so far, which ``max_overhead`` limits."""
        return self._one_that_looked._pace.budget.spent

    @property
    def _one_that_looked(self) -> Self:
        """Itself, or the last of its copies that looked where it did not."""
        copies = (copied._one_that_looked for copied in reversed(self._copies))
        return self if self._looked else next((copied for copied in copies if copied._looked), self)

    @property
    def _looked(self) -> bool:
        """Whether it looked at a training, or tried to; only the first process has a history."""
        return self._delivery.history is not None or self._look_loop.last is not None or self._pace.budget.spent > 0

    @property
    def state_key(self) -> str:
        """Sets apart the states of several instances in a checkpoint."""
        if not self._met:
            # A Trainer refuses equal keys the moment it is made, in words that name no remedy. No state is saved or
            # loaded before `setup`, so until our own check there the key is one that no other instance has.
            return self._generate_state_key(name=self.name, instance=id(self))
        return self._generate_state_key(name=self.name)

    @property
    def checkpoint_key(self) -> str:
        """The key of its state among the ``callbacks`` of a checkpoint."""
        return self._generate_state_key(name=self.name)

    # ---- when to look -------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        refuse_namesakes(trainer, self)
        self._met = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is None and (resumes_another(trainer) or trainer.global_step < (self._look_loop.last or 1)):
            self._look_loop.reset()
        self._look_loop.warm_up(trainer, pl_module)
        self._schedule.plan(lambda: total_steps(trainer))
        self._steps.start(trainer, pl_module)
        self._before = self._steps.scheduled(trainer, self._schedule.in_batches)
        if self._schedule.combined:
            inform(self._schedule.combined)
        if self._schedule.at_checkpoints and self._schedule.every is None and (why := why_no_checkpoints(trainer)):
            self._error_policy.warn(no_checkpoints_message(why))
        self._look_loop.prepare(trainer, pl_module, partial(run_folder, trainer, self.save_dir, self.name), loaded)
        if self.history is not None and self.history.path and (home := remote_home(trainer, self.save_dir)):
            self._error_policy.warn(remote_message(home, self.history.path))
        self._watching = True
        self._look_loop.begin(trainer, pl_module)

    @costs_no_training
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._steps.update(trainer, pl_module):
            self._error_policy.warn(uncounted_message(self._schedule.at_checkpoints))
        before, self._before = self._before, self._steps.scheduled(trainer, self._schedule.in_batches)
        step = self._steps.now(trainer)
        try:
            self._look_loop.collect(trainer, pl_module)
        except Exception as error:  # on the first process alone; the look now due is one of all
            lose(self._look_loop, self._error_policy, error, step, "hand on what it found")
        try:
            due, listed = self._due(step, before)
        except Exception as error:  # all processes are to decide alike: what failed on one is asked again
            self._error_policy.tolerate(error, "decide at once whether to look")
            due, listed = self._due(step, before)
        if due:
            self._look_loop.together = True
            ahead = self._schedule.ahead(self._before, self._pace.total)
            self._look_loop.look_if_it_fits(trainer, pl_module, demanded=listed, ahead=ahead)

    def _due(self, step: int, before: int) -> tuple[bool, bool]:
        if self._schedule.due(self._before, before):
            return True, self._schedule.listed(self._before, before)
        return self._pace.due(step), False

    @costs_no_training
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._look_loop.catch_up(trainer, pl_module)
        self._look_loop.ride.end()

    @costs_no_training
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._watching and not trainer.sanity_checking:
            self._look_loop.board(trainer, pl_module, self._schedule.at_checkpoints)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._look_loop.ride.batch_begins(pl_module, batch, batch_idx, dataloader_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._look_loop.ride.batch_ends()

    @costs_no_training
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._watching and not trainer.sanity_checking:
            self._look_loop.ride.arrive(pl_module)
            self._look_loop.catch_up(trainer, pl_module, last_chance=False)
            metrics = scalar_metrics(trainer)
            self._look_loop.metrics |= metrics
            self._delivery.put_metrics(self._steps.now(trainer), trainer.current_epoch, metrics)

    @costs_no_training
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        waiting = self._look_loop.ride.due is not None
        if (self._schedule.at_checkpoints or waiting) and self._watching and not was_interrupted(trainer):
            self._look_loop.catch_up(trainer, pl_module)
            if self._schedule.at_checkpoints:
                self._look_loop.together = True
                self._look_loop.look_if_it_fits(trainer, pl_module, ask_again=False)
            # Lightning asked for the state before this hook; the checkpoint is to hold what was just found.
            checkpoint["callbacks"][self.state_key] = self.state_dict()

    @costs_no_training
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look_loop.together = True
        for part in (self._look_loop.catch_up, self._look_loop.look_at_end, self._look_loop.conclude):
            try:
                part(trainer, pl_module)
            except Exception as error:
                lose(self._look_loop, self._error_policy, error, self._steps.now(trainer), "end its looks")
        self._watching = False
        if self.skip_test and not self._look_loop.stopped:
            self._test_skipping(trainer, pl_module, self.skip_test if isinstance(self.skip_test, str) else None)

    def _test_skipping(self, trainer: Trainer, module: LightningModule, monitor: str | None) -> None:
        """Leave the layers of the last record out, one by one, and tell what becomes of `monitor`; see `skip_test`."""
        from lightning_gw.callback.skip_test import skip_test_of_run

        last = self.history[-1] if self.history else None
        found = trainer.strategy.broadcast(None if last is None else (last.layers, last.groups))
        if found is None:
            return
        with self._pace.uncharged(), shown(trainer, "Leaving layers out, one by one"):
            try:
                with Ranks("world", "The skip test").failing_together(agree=True):
                    tested = skip_test_of_run(trainer, module, self._observer, self._solver.config, *found, monitor)
                if trainer.is_global_zero:
                    at = self._steps.now(trainer), self._steps.logged_at(trainer)
                    self._delivery.put_skip_test(trainer.loggers, tested, *at, partial(say, module))
            except Exception as error:
                self._error_policy.tolerate(error, "make the skip test")

    @costs_no_training
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None and trainer.is_global_zero:
            # Training that was over when it was resumed never starts, but it may have left looks unsolved, or been
            # ended before it could say what it had found.
            folder = partial(run_folder, trainer, self.save_dir, self.name)
            self._look_loop.conclude_earlier_run(trainer, pl_module, folder, loaded)

    @costs_no_training
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        watching, self._watching = self._watching, False
        self._look_loop.ride.end()
        if watching:
            self._look_loop.give_up(trainer, pl_module)

    @costs_no_training
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._watching = False
        self._look_loop.ride.end()
        self._solver.close()

    def state_dict(self) -> dict[str, Any]:
        try:
            return self._look_loop.state_dict()
        except Exception as error:  # training resumed from there goes on as one that was not watched
            self._error_policy.tolerate(error, "save its state in a checkpoint")
            return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict
        self._look_loop.load_state_dict(state_dict)
