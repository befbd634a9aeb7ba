"""The looks of one training run: each is made, handed on and accounted for here, whoever says that it is time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer

from lightning_gw.callback.look.look_maker import LookMaker
from lightning_gw.callback.look.run_null import null_of_run
from lightning_gw.callback.messages import say
from lightning_gw.callback.progress_bar import shown
from lightning_gw.callback.trainer import total_steps
from lightning_gw.significance.evidence import null_state
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.errors import ArgumentError

#: Seconds to wait for each look that is being solved in the background: when training ends well, and when it does not.
PATIENCE, SHORT_PATIENCE = 600.0, 5.0


class LookLoop(LookMaker):
    """Makes the looks of one `GWSimilarity` from the start of a training to its end, with what checkpoints keep.

    Its arguments are those of `LookMaker`.
    """

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
            self.ride.prepare(trainer, module, self._observer.probe)
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
        recorded = self._delivery.last
        self.last = self._delivery.last = self._steps.now(trainer)
        self._pace.start(self.last)
        self._open_history(trainer, folder, loaded)
        written = self._delivery.last
        if all(written is not None and step <= written for step in self._solver.pending):
            # No look will be made again, so that no record gives way, not even one later than the checkpoint.
            self._solver.forget_pending()
        else:
            # What a look finds rests on those before it: all that waited are solved in a row, and their records of
            # since then give way to the same ones.
            self._delivery.last = recorded
            self._open_history(trainer, folder, loaded)
            self._solver.resume()
        self.conclude(trainer, module)

    def give_up(self, trainer: Trainer, module: LightningModule) -> None:
        """Training ended in an error or by Ctrl-C: hand on what is solved, do without the rest, and say where it is."""
        with suppress(Exception):  # the exception at hand says more than whatever comes of this
            self.collect(trainer, module, SHORT_PATIENCE)
            self._delivery.abandon(self._solver)
        with suppress(Exception):
            self._delivery.say_interrupted(trainer.loggers, partial(say, module))

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

    def _null(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        """What all looks are held against, looked through before training begins."""
        comparing = self._solver.config.comparing
        null, trained = null_of_run(trainer, module, self._observer, self._null_samples, comparing, self._untrained)
        if isinstance(null, str) and self._null_samples:
            self._error_policy.warn(f"Groups are tested against no null: {null.removeprefix('none: ')}.")
        return null_state(null) | {"trained": trained}
