"""`GWSimilarity`: when to look at the network, and what to hand on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from lightning_gw.analysis import Analysis
from lightning_gw.forward import ProbeStep
from lightning_gw.gw.plan import Effort
from lightning_gw.history import History
from lightning_gw.observer import Observer
from lightning_gw.pooling import Pooling, check_pooling
from lightning_gw.probe import Balance
from lightning_gw.record import Record
from lightning_gw.rundir import continue_history, metric_values, run_folder
from lightning_gw.schedule import Schedule
from lightning_gw.sentences import describe
from lightning_gw.trainer_facts import scalar_metrics, total_steps, was_interrupted, why_no_checkpoints
from lightning_gw.undisturbed import isolated_randomness, plain_tensors


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
        on_error: ``"warn"``: an error during training costs the look, never the training. ``"raise"``: it ends it.
            Errors before the first training step always do.

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
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__()
        check_pooling(pooling)
        if on_error not in ("warn", "raise"):
            raise ValueError(f"on_error={on_error!r} must be 'warn' or 'raise'.")
        self.name = name
        self.save_dir = save_dir
        self.seed = seed
        self.prefix = prefix if name is None else f"{prefix}{name}/"
        self.verbose = verbose
        self.on_error = on_error
        self._schedule = Schedule(when, looks, every_n_steps)
        self._observer = Observer(layers, probe, probe_size, probe_batch_size, balance, pooling, probe_step, seed)
        self._analysis = Analysis(geometry, effort, warm_start, seed)
        self._history: History | None = None
        self._metrics: dict[str, float] = {}
        self._last_step: int | None = None  # of the last look
        self._before = 0  # steps up to here were dealt with
        self._watching = False  # between the start and the end of training
        self._met = False  # the other callbacks of the Trainer, at `setup`
        self._loaded: Mapping[str, Any] | None = None
        self._warned: set[str] = set()

    @property
    def history(self) -> History | None:
        """What was found so far; None before ``fit``, and on all processes but the first."""
        return self._history

    @property
    def state_key(self) -> str:
        """Sets apart the states of several instances in a checkpoint."""
        if not self._met:
            # A Trainer refuses equal keys the moment it is made, in words that name no remedy. No state is saved or
            # loaded before `setup`, so until our own check there the key is one that no other instance has.
            return self._generate_state_key(name=self.name, instance=id(self))
        return self._generate_state_key(name=self.name)

    # ---- when to look -------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._check_company(trainer)
        self._met = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._before = self._before, trainer.global_step
        if self._schedule.due(trainer.global_step, before):
            self._look(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._watching and not trainer.sanity_checking:
            self._note_metrics(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._schedule.at_checkpoints and self._watching and not was_interrupted(trainer):
            self._look(trainer, pl_module)
            # Lightning asked for the state before this hook; the checkpoint is to hold what was just found.
            checkpoint["callbacks"][self.state_key] = self.state_dict()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, pl_module)
        self._watching = False
        self._conclude(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._watching = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._watching = False

    def state_dict(self) -> dict[str, Any]:
        if self._last_step is None:
            return {}
        return {
            "step": self._last_step,
            "probe_hash": self._observer.probe_hash,
            "metrics": dict(self._metrics),
            "folder": str(self._history.path.absolute()) if self._history and self._history.path else None,
            "analysis": self._analysis.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict
        self._last_step = state_dict["step"]
        self._metrics = dict(state_dict["metrics"])
        self._analysis.load_state_dict(state_dict["analysis"])

    # ---- what it does -------------------------------------------------------------------------------------------

    def _begin(self, trainer: Trainer, module: LightningModule) -> None:
        """Settle probe, layers and folder, and look for the first time. Whatever is wrong is an error here."""
        loaded, self._loaded = self._loaded, None
        if loaded is None and trainer.global_step == 0:
            self._last_step = None
            self._metrics = {}
            self._analysis.reset()
        self._schedule.plan(lambda: total_steps(trainer))
        self._before = trainer.global_step
        self._announce_blind_schedule(trainer)
        with isolated_randomness(self.seed), plain_tensors():
            known = loaded["probe_hash"] if loaded else None
            for warning in self._observer.prepare(trainer, module, known, self._analysis.layers):
                self._warn(warning)
        self._open_history(trainer, loaded)
        self._watching = True
        # After resuming without a look at this very step, an uninterrupted run would not have looked here either.
        if self._last_step is None:
            self._look(trainer, module, first=True)
        if trainer.is_global_zero:
            self._log_config(trainer)

    def _look(self, trainer: Trainer, module: LightningModule, first: bool = False) -> None:
        """Look at the network now, unless that was done at this step; on every process alike."""
        if trainer.global_step == self._last_step:
            return
        try:
            with isolated_randomness(self.seed), plain_tensors():
                record = self._observe(trainer, module)
                self._last_step = record.step
                if trainer.is_global_zero:
                    self._hand_on(trainer, module, record)
        except Exception as error:
            if first or self.on_error == "raise":
                raise
            self._warn(
                f"GWSimilarity could not look at step {trainer.global_step}, and training goes on without: "
                f"{type(error).__name__}: {error}"
            )

    def _observe(self, trainer: Trainer, module: LightningModule) -> Record:
        started = time.perf_counter()
        activations = self._observer.observe(trainer, module)
        self._metrics |= scalar_metrics(trainer)
        return self._analysis.look(
            activations.representations,
            step=trainer.global_step,
            epoch=trainer.current_epoch,
            probe=self._observer.description(tuple(activations.representations)),
            metrics=dict(self._metrics),
            notes=(*self._observer.notes, *activations.notes),
            started=started,
        )

    def _hand_on(self, trainer: Trainer, module: LightningModule, record: Record) -> None:
        """To the disk first, then to the loggers, then to the terminal."""
        from lightning_gw.loggers import log_record  # pictures and wandb are slow to import

        history = self._history
        assert history is not None
        history.append(record)
        self._logged(log_record(trainer.loggers, record, history, prefix=self.prefix))
        if self.verbose:
            module.print(f"{self.prefix.rstrip('/')} step {record.step}: {record.summary()}  ({record.seconds:.1f} s)")

    def _note_metrics(self, trainer: Trainer) -> None:
        metrics = scalar_metrics(trainer)
        self._metrics |= metrics
        history = self._history
        if history is None or not metrics:
            return
        # Resumed from a checkpoint saved between this step and its validation, training comes by here twice.
        if not history.metrics or history.metrics[-1]["step"] != trainer.global_step:
            self._safely("write metrics", history.append_metrics, trainer.global_step, trainer.current_epoch, metrics)

    def _conclude(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero or self._history is None:
            return
        from lightning_gw.loggers import log_summary

        with isolated_randomness(self.seed), plain_tensors():
            self._logged(log_summary(trainer.loggers, self._history, prefix=self.prefix))
            if self.verbose:
                module.print(describe(self._history))
                if self._history.path is not None:
                    module.print(f"The history of this run is in {self._history.path}.")
                    module.print(f"For a page to look at:  lightning-gw report {self._history.path.parent}")

    def _open_history(self, trainer: Trainer, loaded: Mapping[str, Any] | None) -> None:
        """Open the run folder on the first process; what goes wrong there is an error on all of them."""
        problem: str | None = None
        if trainer.is_global_zero:
            try:
                self._history, warnings = continue_history(
                    self._history,
                    run_folder(trainer, self.save_dir, self.name),
                    looked=self._last_step,
                    resumed=trainer.global_step,
                    origin=loaded["folder"] if loaded else None,
                )
                for warning in warnings:
                    self._warn(warning)
                # A checkpoint saved just before a validation does not know what that found; the folder does.
                for row in self._history.metrics:
                    if self._last_step is not None and row["step"] >= self._last_step:
                        self._metrics |= metric_values(row)
            except Exception as error:
                problem = str(error)
        problem = trainer.strategy.broadcast(problem)
        if problem is not None:
            raise OSError(problem)

    def _log_config(self, trainer: Trainer) -> None:
        from lightning_gw.loggers import log_config

        with isolated_randomness(self.seed):
            self._logged(log_config(trainer.loggers, self._config(), prefix=self.prefix))

    def _config(self) -> dict[str, Any]:
        return self._analysis.description() | self._observer.description(self._analysis.layers)

    def _check_company(self, trainer: Trainer) -> None:
        callbacks: Sequence[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if sum(isinstance(other, GWSimilarity) and other.name == self.name for other in callbacks) > 1:
            have = "have no name" if self.name is None else f"have the same name, {self.name!r},"
            raise ValueError(
                f"Two GWSimilarity callbacks {have} and would write to the same folder and checkpoint entry. Tell them "
                "apart: GWSimilarity(name='words'), GWSimilarity(name='images')."
            )

    def _announce_blind_schedule(self, trainer: Trainer) -> None:
        """Say once when there will be no checkpoints to look at."""
        if not self._schedule.at_checkpoints or self._schedule.every is not None:
            return
        reason = why_no_checkpoints(trainer)
        if reason is not None:
            self._warn(
                f"GWSimilarity looks whenever a checkpoint is saved, but {reason}; so it will look only at the start "
                "and at the end. Pass when='log' or every_n_steps=... to look in between."
            )

    def _logged(self, problems: Sequence[str]) -> None:
        """Pass on what a logger did not take; the record itself is on disk by then."""
        for problem in problems:
            self._warn(problem)

    def _safely(self, what: str, function: Any, *args: Any, **kwargs: Any) -> None:
        """Call something whose failure must cost neither the record nor the training."""
        try:
            function(*args, **kwargs)
        except Exception as error:
            if self.on_error == "raise":
                raise
            self._warn(f"GWSimilarity could not {what}: {type(error).__name__}: {error}")

    def _warn(self, message: str) -> None:
        # The step is left out of the comparison: the same reason is said once.
        reason = message.split(": ", 1)[-1]
        if reason not in self._warned:
            self._warned.add(reason)
            rank_zero_warn(message)
