"""`GWSimilarity`: when to look at the network, and what to hand on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_info

from lightning_gw.analysis import ANCHOR, DRAWS, MEASURES_KEPT
from lightning_gw.background import BackgroundSolver
from lightning_gw.budget import Pace
from lightning_gw.evidence import null_state
from lightning_gw.forward import ProbeStep
from lightning_gw.gw.plan import Effort
from lightning_gw.history import History
from lightning_gw.nulls import null_of_run
from lightning_gw.observer import Observer
from lightning_gw.outbox import Outbox
from lightning_gw.pooling import Pooling, check_pooling
from lightning_gw.probe import Balance
from lightning_gw.progress import shown
from lightning_gw.rundir import run_folder
from lightning_gw.schedule import Schedule
from lightning_gw.solving import Job, Solver
from lightning_gw.terminal import note_put_off, say_blind, say_put_off
from lightning_gw.tolerance import OnError, Tolerance
from lightning_gw.trainer_facts import (
    fail_together,
    finish_queued_work,
    refuse_namesakes,
    scalar_metrics,
    total_steps,
    was_interrupted,
    why_no_checkpoints,
)
from lightning_gw.undisturbed import isolated_randomness, plain_tensors

#: Seconds to wait for each look that is being solved in the background: when training ends well, and when it does not.
PATIENCE = 600.0
SHORT_PATIENCE = 5.0


class GWSimilarity(Callback):
    """Follows how the layers of a network fall into groups while it trains.

    At every look, fixed probe inputs go through the network in evaluation mode; the layers' representations are
    compared by Gromov-Wasserstein distance; neighbouring layers that are alike form groups, and groups keep their
    identity from look to look. What is found goes to ``<run folder>/gw`` on disk, to every logger of the Trainer, and
    as one line to the terminal. Training is not disturbed: weights, optimizer and random states stay what they would
    have been, to the last bit. There is always a look at the start and at the end of ``fit``, and never two at one
    step.

    The state is part of every checkpoint. Resumed training takes up the same groups and history; where the run folder
    is a new one, as loggers with versions make it, the records up to the checkpoint are copied there. To keep one
    folder, pass `save_dir`.

    Works in the Trainers of ``pytorch_lightning`` and of ``lightning.pytorch``.

    Args:
        layers: Names or globs of modules, such as ``"encoder.layer.*"`` (see `layers.match_layers`). None takes the
            repeated blocks and the embedding before them, or every layer of its own where nothing repeats.
        probe: Inputs to look through: a batch, a ``Dataset``, a ``DataLoader``, a function that returns one, or
            ``"train"``. None takes the validation data, else the training data.
        probe_size: Number of probe inputs; None takes 128, or all there are.
        probe_batch_size: Inputs per forward pass; None takes the data loader's batch size.
        balance: Draw the probe evenly over classes: index or key of the label in an item, or a function of the item.
        pooling: How an output becomes one vector per input: ``"auto"``, ``"mean"``, ``"first"``, ``"last"``,
            ``"flatten"``, or a function ``(output, mask) -> (n, d)``.
        geometry: How representations are measured: ``"standardized"``, ``"euclidean"``, ``"dcor"``, ``"cka"``, ….
        when: ``"checkpoint"`` (whenever one is saved), ``"log"`` (log-spaced steps), ``"every_n_steps"``, or a list of
            steps.
        looks: Number of looks after the first with ``when="log"``.
        every_n_steps: Look every that many optimizer steps, whatever `when` says besides.
        save_dir: Run folder; ``gw`` is made inside it. None takes the first logger's, else the Trainer's.
        seed: Seed of the probe's draw and of the search.
        prefix: What log keys begin with.
        name: Sets instances in one Trainer apart; it becomes part of the state key, the folder and the log keys.
        verbose: Whether to print one line per look.
        probe_step: ``function(module, batch)`` that runs the network, in place of its ``forward``. A method
            ``probe_step(batch)`` of the module does the same.
        effort: How hard to search: ``"fast"``, ``"default"`` or ``"high"``.
        warm_start: Whether each search starts from what the look before found, which is cheaper; every eighth look is
            searched in full all the same.
        on_error: ``"warn"``: an error during training costs the look, never the training, is said once, and the next
            record names what is missing. ``"raise"``: it ends the training, as errors before the first step always do.
            ``KeyboardInterrupt`` and Lightning's own exceptions always pass through.
        max_overhead: What looking may cost, as a share of the training time, which counts as at least 300 s. Looks
            that do not fit are put off, and the log and the next record say so; the first, the last and those listed in
            `when` are always made. A training seen to end before it is 300 s old may spend up to 60 s on looks. None
            for looks at any price.
        solve: ``"inline"``: training waits until a look is solved. ``"background"``: training waits only for the
            forward pass; another process solves the look, on the CPU, and its record is logged at its own step as soon
            as it is ready, all of them by the end of ``fit``.
        anchor: Groups are found in anchored Gromov-Wasserstein with this weight, which keeps inputs matched to
            themselves unless others fit much better (see `gw_matrix`); 0 finds them in the plain matrix, which records
            hold in any case.
        paired: False finds groups as if every layer had seen other inputs (see `unpaired_gw_matrix`).
        measures: Similarity measures that records hold beside Gromov-Wasserstein: names of `measures.MEASURES`.
        draws: Resamples of the probe behind stability and noise; 0 leaves them out.
        null_samples: Networks of the same architecture with fresh weights that groups are tested against; 99 is enough
            for p = 0.01. They are looked through once, before the first step, and kept for the next run of the same
            architecture and probe, and not counted towards `max_overhead`. A network that begins pre-trained has no
            such null, and its records say so.
        keep_representations: Whether to keep the representations of the last look beside the history, replaced at every
            look, for `load_representations`: with them the layers of one run can be compared with those of another.

    Raises:
        ValueError: If an argument is unknown, or, at the start of ``fit``, a layer is unknown or silent, or there are
            too few probe inputs.
        OSError: At the start of ``fit``, if the run folder cannot be written.

    Example:
        >>> from pytorch_lightning import Trainer
        >>> trainer = Trainer(callbacks=[GWSimilarity()])  # doctest: +SKIP
    """

    def __init__(
        self,
        layers: str | list[str] | None = None,
        probe: Any = None,
        probe_size: int | None = None,
        probe_batch_size: int | None = None,
        balance: Balance | None = None,
        pooling: Pooling = "auto",
        geometry: str = "standardized",
        when: str | list[int] = "checkpoint",
        looks: int = 7,
        every_n_steps: int | None = None,
        save_dir: str | Path | None = None,
        seed: int = 0,
        prefix: str = "gw/",
        name: str | None = None,
        verbose: bool = True,
        probe_step: ProbeStep | None = None,
        effort: Effort = "default",
        warm_start: bool = True,
        on_error: OnError = "warn",
        max_overhead: float | None = 0.02,
        solve: Literal["inline", "background"] = "inline",
        anchor: float = ANCHOR,
        paired: bool = True,
        measures: Sequence[str] = MEASURES_KEPT,
        draws: int = DRAWS,
        null_samples: int = 0,
        keep_representations: bool = False,
    ) -> None:
        super().__init__()
        check_pooling(pooling)
        if solve not in ("inline", "background"):
            raise ValueError(f"solve={solve!r} must be 'inline' or 'background'.")
        self.name = name
        self.save_dir = save_dir
        self.seed = seed
        self.prefix = prefix if name is None else f"{prefix}{name}/"
        self.verbose = verbose
        self.on_error = on_error
        self.keep_representations = keep_representations
        self.max_overhead = max_overhead
        self._schedule = Schedule(when, looks, every_n_steps)
        self._observer = Observer(layers, probe, probe_size, probe_batch_size, balance, pooling, probe_step, seed)
        self._solver = (Solver if solve == "inline" else BackgroundSolver)(
            {
                "geometry": geometry,
                "effort": effort,
                "warm_start": warm_start,
                "seed": seed,
                "anchor": anchor,
                "paired": paired,
                "measures": tuple(measures),
                "draws": draws,
            }
        )
        if null_samples < 0:
            raise ValueError(f"null_samples={null_samples} must be a number of networks, 0 for no null.")
        self._null_samples = null_samples
        self._pace = Pace(max_overhead)
        self._tolerance = Tolerance(on_error)
        self._outbox = Outbox(self.prefix, self._tolerance, verbose)
        self._metrics: dict[str, float] = {}
        self._last_step: int | None = None  # of the last look
        self._before = 0  # steps up to here were dealt with
        self._watching = False  # between the start and the end of training
        self._met = False  # the other callbacks of the Trainer, at `setup`
        self._loaded: Mapping[str, Any] | None = None

    @property
    def history(self) -> History | None:
        """What was found so far; None before ``fit``, and on all processes but the first."""
        return self._outbox.history

    @property
    def state_key(self) -> str:
        """Sets apart the states of several instances in a checkpoint."""
        if not self._met:
            # A Trainer refuses equal keys the moment it is made, in words that name no remedy. No state is saved or
            # loaded before `setup`, so until our own check there the key is one that no other instance has.
            return self._generate_state_key(name=self.name, instance=id(self))
        return self._generate_state_key(name=self.name)

    def planned_looks(self, steps: float) -> int | None:
        """Looks that a training of so many optimizer steps makes after the first, if none is put off.

        Asked once ``fit`` has begun; None where it cannot be told: at checkpoints, and without an end in sight.
        """
        return self._schedule.count(steps)

    # ---- when to look -------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        refuse_namesakes(trainer, self)
        self._met = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._before = self._before, trainer.global_step
        step = trainer.global_step
        self._collect(trainer, pl_module)
        if self._schedule.due(step, before):
            self._look_if_it_fits(trainer, pl_module, demanded=self._schedule.listed(step, before))
        elif self._pace.due(step):
            self._look_if_it_fits(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._watching and not trainer.sanity_checking:
            metrics = scalar_metrics(trainer)
            self._metrics |= metrics
            self._outbox.put_metrics(trainer.global_step, trainer.current_epoch, metrics)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._schedule.at_checkpoints and self._watching and not was_interrupted(trainer):
            self._look_if_it_fits(trainer, pl_module, ask_again=False)
            # Lightning asked for the state before this hook; the checkpoint is to hold what was just found.
            checkpoint["callbacks"][self.state_key] = self.state_dict()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, pl_module)
        self._watching = False
        self._conclude(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._loaded is not None and self._solver.pending and trainer.is_global_zero:
            # Training that was over when it was resumed never starts, but it may have left looks unsolved.
            loaded, self._loaded = self._loaded, None
            if problem := self._open_history(trainer, loaded):
                raise problem
            self._solver.resume()
            self._conclude(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        watching, self._watching = self._watching, False
        if watching:
            with suppress(Exception):  # the exception at hand says more than whatever comes of this
                self._collect(trainer, pl_module, SHORT_PATIENCE)
                self._outbox.abandon(self._solver)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._watching = False
        self._solver.close()

    def state_dict(self) -> dict[str, Any]:
        if self._last_step is None:
            return {}
        self._pace.update()
        history = self.history
        return {
            "step": self._last_step,
            "recorded": self._outbox.last,
            "probe_hash": self._observer.probe_hash,
            "metrics": dict(self._metrics),
            "folder": str(history.path.absolute()) if history is not None and history.path else None,
            "budget": self._pace.budget.state_dict(),
            **self._solver.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict
        self._last_step = state_dict["step"]
        # What was made before any of this was counted lacks it.
        self._outbox.last = state_dict.get("recorded", state_dict["step"])
        self._metrics = dict(state_dict["metrics"])
        self._solver.load_state_dict(state_dict)
        if "budget" in state_dict:
            self._pace.budget.load_state_dict(state_dict["budget"])

    # ---- what it does -------------------------------------------------------------------------------------------

    def _begin(self, trainer: Trainer, module: LightningModule) -> None:
        """Settle probe, layers and folder, and look for the first time. Whatever is wrong is an error here."""
        loaded, self._loaded = self._loaded, None
        if loaded is None and trainer.global_step == 0:
            self._last_step = self._outbox.last = None
            self._metrics = {}
            self._solver.reset()
            self._pace.budget.reset()
        self._solver.share(trainer.world_size)
        if trainer.is_global_zero or self._solver.shared:
            self._solver.warm_up(module.device)
        self._schedule.plan(lambda: total_steps(trainer))
        self._before = trainer.global_step
        if self._schedule.at_checkpoints and self._schedule.every is None and (why := why_no_checkpoints(trainer)):
            self._tolerance.warn(say_blind(why))
        self._pace.start(trainer.global_step, total_steps(trainer))
        with self._pace.holding_up(), self._aside():
            known = loaded["probe_hash"] if loaded else None
            for warning in self._observer.prepare(trainer, module, known, self._solver.layers):
                self._tolerance.warn(warning)
            problem = self._open_history(trainer, loaded)
            fail_together(trainer, problem)
            self._metrics |= self._outbox.known
            if trainer.is_global_zero:
                self._outbox.prepare(self._solver, trainer.loggers)
            if trainer.is_global_zero or self._solver.shared:
                self._solver.resume()
        self._watching = True
        # After resuming without a look at this very step, an uninterrupted run would not have looked here either.
        if self._last_step is None:
            with self._pace.apart(), self._aside():
                null = self._null(trainer, module)
            self._look(trainer, module, null)
        if trainer.is_global_zero:
            with self._pace.holding_up(), self._aside():
                config = self._solver.description() | self._observer.description(self._solver.layers)
                self._outbox.configure(trainer.loggers, config)

    def _open_history(self, trainer: Trainer, loaded: Mapping[str, Any] | None) -> Exception | None:
        if not trainer.is_global_zero:
            return None
        return self._outbox.try_to_open(
            run_folder(trainer, self.save_dir, self.name),
            looked=self._last_step,
            resumed=trainer.global_step,
            origin=loaded["folder"] if loaded else None,
        )

    def _look_if_it_fits(
        self, trainer: Trainer, module: LightningModule, demanded: bool = False, ask_again: bool = True
    ) -> None:
        """Look, or put it off where it would cost more than it may; on every process alike."""
        step = trainer.global_step
        if step == self._last_step:
            return
        delay = 0 if demanded else trainer.strategy.broadcast(self._pace.delay(step, self._solver.backlog))
        if not delay:
            self._look(trainer, module)
        elif self._pace.postpone(step, step + delay if ask_again else None):
            rank_zero_info(say_put_off(step, step + delay if ask_again else None, self._pace.budget))

    def _look(self, trainer: Trainer, module: LightningModule, null: Mapping[str, Any] | None = None) -> None:
        """Look at the network now, unless that was done at this step; on every process alike.

        Args:
            trainer: The Trainer.
            module: The network.
            null: What this look and all later ones are held against; given with the first.
        """
        step, first = trainer.global_step, null is not None
        if step == self._last_step:
            return
        finish_queued_work(trainer)
        with self._pace.looking(), self._aside(), shown(trainer, f"Looking through the layers at step {step}"):
            try:
                self._submit(trainer, self._observe(trainer, module, null))
            except Exception as error:
                if first:
                    raise
                self._tolerance.cost_a_look(error, step)
            problem: Exception | None = None
            try:
                self._outbox.deliver(self._solver, trainer.loggers, module.print)
            except Exception as error:
                if not first:
                    raise
                problem = error
            if first:
                fail_together(trainer, problem)

    def _observe(self, trainer: Trainer, module: LightningModule, null: Mapping[str, Any] | None) -> Job:
        started = time.perf_counter()
        activations = self._observer.observe(trainer, module)
        self._metrics |= scalar_metrics(trainer)
        if put_off := self._pace.made(trainer.global_step):
            self._tolerance.note(note_put_off(put_off, self._pace.budget))
        return Job(
            step=trainer.global_step,
            epoch=trainer.current_epoch,
            representations=activations.representations,
            probe=self._observer.description(tuple(activations.representations)),
            metrics=dict(self._metrics),
            notes=(*self._observer.notes, *activations.notes),
            carried=self._tolerance.take_notes(),
            seconds=time.perf_counter() - started,
            first=null is not None,
            null=null,
        )

    def _null(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        """What all looks are held against, looked through before training begins."""
        null = null_of_run(trainer, module, self._observer, self._null_samples, self._solver.null_options)
        if isinstance(null, str) and self._null_samples:
            self._tolerance.warn(f"Groups are tested against no null: {null.removeprefix('none: ')}.")
        return null_state(null)

    def _submit(self, trainer: Trainer, job: Job) -> None:
        self._last_step = job.step
        if trainer.is_global_zero:
            if self.keep_representations:
                self._outbox.keep(job)
            self._solver.submit(job)
        elif self._solver.shared:
            self._solver.submit(job)
        else:
            self._solver.know(job)

    def _collect(self, trainer: Trainer, module: LightningModule, patience: float = 0.0) -> None:
        """Hand on what was solved in the background."""
        if patience or self._solver.ready:
            with self._pace.holding_up(), self._aside():
                self._outbox.deliver(self._solver, trainer.loggers, module.print, patience)

    def _conclude(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero or self.history is None:
            return
        with shown(trainer, f"Waiting for {len(self._solver.pending)} looks to be solved"):
            self._collect(trainer, module, PATIENCE)
        self._outbox.abandon(self._solver)
        self._pace.finish()
        with self._pace.holding_up(), self._aside():
            self._outbox.conclude(trainer.loggers)
        self._outbox.report(module.print, self._pace.budget)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """What runs inside leaves training's random states and gradient mode as they are."""
        with isolated_randomness(self.seed), plain_tensors():
            yield
