"""What a look found, put into whichever Lightning loggers are attached.

Weights & Biases gets scalars, pictures and tables in one row per record, TensorBoard scalars, pictures and text, every
other logger (CSV, MLflow, one's own) the scalars. Loggers are told apart by what their ``experiment`` offers and not by
class, because those of ``pytorch_lightning`` and ``lightning.pytorch`` are different classes of the same name.

The keys are listed in `lightning_gw.logged`. Nothing here stops training: a logger that fails is named in the sentences
that every function returns, and the others go on. Call these functions on rank zero only.
"""

from __future__ import annotations

import json
import math
import re
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightning_gw.history import METRICS_FILE, RECORDS_FILE, History, array_file
from lightning_gw.logged import Table, events_table, matrix_table, record_scalars, similarities_of
from lightning_gw.plain import plain
from lightning_gw.record import Record
from lightning_gw.sentences import describe, describe_record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: ``(height, width, 3)`` values from 0 to 255.
Picture = NDArray[np.uint8]
STEP_KEY = "trainer/global_step"
#: Seconds that a logger may take to fail and still be asked again.
PATIENCE = 10.0
#: Loggers that are not asked again, by identity, for as long as they live.
_GIVEN_UP: dict[int, weakref.ref[Any]] = {}
#: W&B runs that get no tables any more, likewise.
_WITHOUT_TABLES: dict[int, weakref.ref[Any]] = {}


def log_config(loggers: Iterable[Any], config: Mapping[str, Any], prefix: str = "gw/") -> list[str]:
    """Log how the layers are looked at: geometry, probe hash, pooling, layer names.

    Args:
        loggers: The Trainer's loggers.
        config: Plain JSON values, kept under ``gw`` in a W&B config and as text in TensorBoard.
        prefix: What the keys begin with.

    Returns:
        What could not be logged, one sentence each.
    """
    try:
        values = plain(config, "config")
    except TypeError as error:
        return [f"The configuration was not logged: {error}"]
    return _with_each(loggers, prefix, "the configuration", lambda sink: sink.log_config(values))


def log_record(
    loggers: Iterable[Any],
    record: Record,
    history: Sequence[Record],
    prefix: str = "gw/",
    pictures: Mapping[str, Picture | str] | None = None,
) -> list[str]:
    """Log one record: one W&B row, with the record's step as ``trainer/global_step``.

    Args:
        loggers: The Trainer's loggers.
        record: What the look found.
        history: The run so far, for the timeline and the table of events; it may hold `record` already.
        prefix: What the keys begin with.
        pictures: What `draw_pictures` gives, where that was done elsewhere; None draws them if a logger takes any.

    Returns:
        What could not be logged, one sentence each; values that are not finite are left out and named here.
    """
    loggers = list(loggers)
    if not loggers:
        return []
    look = _Look(record, _until(record, history), prefix, pictures)
    problems = _with_each(loggers, prefix, f"the record of step {record.step}", lambda sink: sink.log_look(look))
    return [*look.problems, *problems]


def log_summary(loggers: Iterable[Any], history: History, prefix: str = "gw/") -> list[str]:
    """Log how the run ended, once after training: final groups, their strength, the run's answer in words.

    W&B also gets the history as an artifact of type ``gw-history``, which `load_history` reads once downloaded.

    Args:
        loggers: The Trainer's loggers.
        history: The whole run.
        prefix: What the keys begin with.

    Returns:
        What could not be logged, one sentence each.
    """
    if not history:
        return []
    return _with_each(loggers, prefix, "the summary", lambda sink: sink.log_summary(history))


def wants_pictures(loggers: Iterable[Any]) -> bool:
    """Whether any of these loggers takes pictures."""
    with suppress(Exception):  # a logger that cannot even be asked is named when something is logged
        return any(isinstance(_sink(logger, ""), _Wandb | _TensorBoard) for logger in loggers)
    return False


def draw_pictures(record: Record, looks: Sequence[Record]) -> dict[str, Picture | str]:
    """Draw a record.

    Args:
        record: What the look found.
        looks: The run so far, this record included.

    Returns:
        ``similarity`` and ``timeline``: a picture each, or the reason why there is none.
    """
    # Matplotlib takes most of a second to import, which runs without such a logger need not spend.
    from lightning_gw.figures import draw_matrix, draw_timeline

    draw: dict[str, Callable[[], Figure]] = {
        "similarity": lambda: draw_matrix(record),
        "timeline": lambda: draw_timeline(looks),
    }
    pictures: dict[str, Picture | str] = {}
    for name, make in draw.items():
        try:
            pictures[name] = to_rgb(make())
        except Exception as error:
            pictures[name] = str(error)
    return pictures


class _Look:
    """One record in the forms loggers take, each made at most once however many loggers there are."""

    def __init__(
        self, record: Record, looks: Sequence[Record], prefix: str, drawn: Mapping[str, Picture | str] | None = None
    ) -> None:
        self.record, self.looks, self.prefix, self._drawn = record, looks, prefix, drawn
        self.problems: list[str] = []
        scalars = {prefix + key: value for key, value in record_scalars(record).items()}
        self.scalars = {key: value for key, value in scalars.items() if math.isfinite(value)}
        if left_out := [key for key in scalars if key not in self.scalars]:
            self.problems.append(f"Not logged, because they are not finite: {', '.join(left_out)}.")
        if similarities_of(record.gw) is None:
            self.problems.append(
                f"No similarities were logged: geometry {record.gw.geometry!r} has none. Distances were."
            )

    @cached_property
    def pictures(self) -> dict[str, Picture]:
        """``(height, width, 3)`` images by key; one that could not be drawn is missing and named in `problems`."""
        names = ("similarity", "timeline")
        drawn = self._drawn if self._drawn is not None else draw_pictures(self.record, self.looks)
        pictures: dict[str, Picture] = {}
        for name in names:
            match drawn.get(name):
                case str() as problem:
                    self.problems.append(f"{self.prefix}{name} was not drawn: {problem}")
                case None:
                    pass
                case picture:
                    pictures[self.prefix + name] = picture
        return pictures

    @cached_property
    def tables(self) -> dict[str, Table]:
        return {self.prefix + "events": events_table(self.looks), self.prefix + "matrix": matrix_table(self.record)}

    @property
    def caption(self) -> str:
        return f"step {self.record.step}: {self.record.summary()}"


class _Sink(Protocol):
    """One logger, in the three things that are asked of it; each returns what it had to leave out."""

    def log_config(self, config: dict[str, Any]) -> list[str]: ...
    def log_look(self, look: _Look) -> list[str]: ...
    def log_summary(self, history: History) -> list[str]: ...


@dataclass(frozen=True)
class _Wandb:
    experiment: Any
    prefix: str

    def log_config(self, config: dict[str, Any]) -> list[str]:
        # A WandbLogger that was handed a running experiment has not defined the axis.
        self.experiment.define_metric(STEP_KEY)
        self.experiment.define_metric(f"{self.prefix}*", step_metric=STEP_KEY)
        self.experiment.config.update({self.prefix.strip("/"): config}, allow_val_change=True)
        return []

    def log_look(self, look: _Look) -> list[str]:
        # One call is one row. Without `step=`, which would drop rows that come after a later one of Lightning's.
        row = {**look.scalars, STEP_KEY: look.record.step}
        pictures = self._pictures(look)
        if id(self.experiment) in _WITHOUT_TABLES:
            self.experiment.log({**pictures, **row})
            return []
        # Uploads happen beside training, but about every table W&B asks its server a question and waits for the answer.
        problem, started = "", time.monotonic()
        try:
            self.experiment.log({**self._tables(look), **pictures, **row})
        except Exception as error:
            problem = f"W&B did not take the tables of step {look.record.step} ({type(error).__name__}: {error})."
        waited = time.monotonic() - started
        if problem:
            self.experiment.log({**self._pictures(look), **row})  # pictures anew: those above may be bound to that row
        if waited > PATIENCE:
            _remember(self.experiment, _WITHOUT_TABLES)
            problem = problem or f"W&B's server did not answer about the tables of step {look.record.step} in time."
            problem += f" It held training up for {waited:.0f} s: this run gets scalars and pictures from now on."
        return [problem] if problem else []

    def _pictures(self, look: _Look) -> dict[str, Any]:
        import wandb

        return {key: wandb.Image(picture, caption=look.caption) for key, picture in look.pictures.items()}

    def _tables(self, look: _Look) -> dict[str, Any]:
        import wandb

        return {key: wandb.Table([*table.columns], table.rows) for key, table in look.tables.items()}

    def log_summary(self, history: History) -> list[str]:
        import wandb

        last = history[-1]
        final = {
            "step": last.step,
            "groups": last.groups.ranges() if last.groups.boundaries else "one group",
            "strength": last.groups.strength,
            "sentence": describe(history),
        }
        self.experiment.summary.update({f"{self.prefix}final/{name}": value for name, value in final.items()})
        if history.path is None:
            return ["The history lives in memory only, so no artifact of it was logged."]
        name = re.sub(r"[^\w.-]", "-", self.prefix.strip("/"))
        artifact = wandb.Artifact(f"{name}-history-{self.experiment.id}", type="gw-history")
        for file in (RECORDS_FILE, METRICS_FILE, *(array_file(record.step) for record in history)):
            artifact.add_file(str(history.path / file))
        self.experiment.log_artifact(artifact)
        return []


@dataclass(frozen=True)
class _TensorBoard:
    experiment: Any
    prefix: str

    def log_config(self, config: dict[str, Any]) -> list[str]:
        # As text: its log_hyperparams would add an hp_metric of -1 to the user's scalars.
        self._log_text("config", f"```json\n{json.dumps(config, indent=2)}\n```", 0)
        return []

    def log_look(self, look: _Look) -> list[str]:
        step = look.record.step
        for key, value in look.scalars.items():
            self.experiment.add_scalar(key, value, step)
        for key, picture in look.pictures.items():
            self.experiment.add_image(key, picture, step, dataformats="HWC")
        self._log_text("sentence", describe_record(look.record), step)
        if look.record.events:
            self._log_text("events", "\n".join(f"- {event.sentence()}" for event in look.record.events), step)
        return []

    def log_summary(self, history: History) -> list[str]:
        self._log_text("final/sentence", describe(history), history[-1].step)
        return []

    def _log_text(self, name: str, text: str, step: int) -> None:
        self.experiment.add_text(self.prefix + name, text, step)
        self.experiment.flush()


@dataclass(frozen=True)
class _ScalarsOnly:
    """Any logger at all, through Lightning's own ``log_metrics``."""

    logger: Any
    prefix: str
    forbidden: str | None  # pattern of the characters its keys cannot hold

    def log_config(self, config: dict[str, Any]) -> list[str]:
        if hasattr(self.logger, "log_hyperparams"):
            self.logger.log_hyperparams({self.prefix.strip("/"): config})
        return []

    def log_look(self, look: _Look) -> list[str]:
        scalars: dict[str, float] = {}
        problems = []
        for key, value in look.scalars.items():
            name = re.sub(self.forbidden, "_", key) if self.forbidden else key
            if name in scalars:
                problems.append(f"{_name(self.logger)} cannot tell {key} from another key; it was left out there.")
            else:
                scalars[name] = value
        self.logger.log_metrics(scalars, step=look.record.step)
        if hasattr(self.logger, "save"):
            self.logger.save()  # as Lightning does; a CSVLogger writes its file only here
        return problems

    def log_summary(self, history: History) -> list[str]:
        return []


def _sink(logger: Any, prefix: str) -> _Sink | None:
    experiment = getattr(logger, "experiment", None)
    if hasattr(experiment, "an_attribute_that_no_experiment_has"):
        return None  # Lightning's stand-in for ranks other than zero and for fast_dev_run swallows everything
    if hasattr(experiment, "log") and hasattr(experiment, "define_metric"):
        return _Wandb(experiment, prefix)
    if hasattr(experiment, "add_scalar") and hasattr(experiment, "add_image"):
        return _TensorBoard(experiment, prefix)
    mlflow = hasattr(experiment, "log_batch")
    return _ScalarsOnly(logger, prefix, forbidden=r"[^A-Za-z0-9_/. -]" if mlflow else None)


def _with_each(loggers: Iterable[Any], prefix: str, what: str, act: Callable[[_Sink], list[str]]) -> list[str]:
    """Let every logger act; whatever one raises becomes a sentence, so that the others and the training go on.

    A logger that fails only after `PATIENCE` seconds, as those do whose server does not answer, is not asked again.
    """
    problems: list[str] = []
    for logger in loggers:
        if id(logger) in _GIVEN_UP:
            continue
        started = time.monotonic()
        try:
            sink = _sink(logger, prefix)
            if sink is not None:
                problems += act(sink)
        except Exception as error:
            problem = f"{_name(logger)} did not take {what} ({type(error).__name__}: {error})."
            waited = time.monotonic() - started
            if waited > PATIENCE:
                _remember(logger, _GIVEN_UP)
                problem += f" It held training up for {waited:.0f} s and is not asked again."
            problems.append(problem)
    return problems


def _remember(thing: Any, among: dict[int, weakref.ref[Any]]) -> None:
    key = id(thing)
    among[key] = weakref.ref(thing, lambda _: among.pop(key, None))


def _name(logger: Any) -> str:
    return type(logger).__name__


def _until(record: Record, history: Sequence[Record]) -> Sequence[Record]:
    if history and history[-1].step == record.step:
        return history
    return [*(look for look in history if look.step < record.step), record]


def to_rgb(figure: Figure) -> NDArray[np.uint8]:
    """A figure's pixels, ``(height, width, 3)``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()
