"""What a look found, put into whichever Lightning loggers are attached.

Weights & Biases gets scalars, pictures and tables in one row per record, TensorBoard scalars, pictures and text, every
other logger (CSV, MLflow, one's own) the scalars.

The keys are listed in `scalars`. Nothing here stops training: a logger that fails is named in the sentences that every
function returns, and the others go on. Call these functions on rank zero only.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from lightning_gw.figures.png import Picture
from lightning_gw.interventions.skips import SkipTest
from lightning_gw.loggers import content
from lightning_gw.loggers.backends import LoggerBackend, backend_of
from lightning_gw.loggers.content import LogContent, SkipContent, name_of, remember
from lightning_gw.loggers.tensorboard import TensorBoardBackend
from lightning_gw.loggers.wandb import WandbBackend
from lightning_gw.records.history import History
from lightning_gw.records.record import Record
from lightning_gw.utilities.storage.json_values import plain

#: Loggers that are not asked again, by identity, for as long as they live.
_GIVEN_UP: dict[int, weakref.ref[Any]] = {}


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
    return _with_each(loggers, prefix, "the configuration", lambda backend: backend.log_config(values))


def log_record(
    loggers: Iterable[Any],
    record: Record,
    history: Sequence[Record],
    prefix: str = "gw/",
    pictures: Mapping[str, Picture | str] | None = None,
    every_layer: bool = False,
) -> list[str]:
    """Log one record: one W&B row, with the step that Lightning's own metrics have then as ``trainer/global_step``.

    Args:
        loggers: The Trainer's loggers.
        record: What the look found.
        history: The run so far, for the timeline and the table of events; it may hold `record` already.
        prefix: What the keys begin with.
        pictures: What `draw_pictures` gives, where that was done elsewhere; None draws them if a logger takes any.
        every_layer: Whether W&B gets two scalars a layer as well, as loggers without tables always do.

    Returns:
        What could not be logged, one sentence each; values that are not finite are left out and named here.
    """
    loggers = list(loggers)
    if not loggers:
        return []
    look = LogContent(record, _until(record, history), prefix, pictures, every_layer)
    problems = _with_each(loggers, prefix, f"the record of step {record.step}", lambda backend: backend.log_look(look))
    return [*look.problems, *problems]


def log_skip_test(loggers: Iterable[Any], found: SkipTest, step: int, prefix: str = "gw/") -> list[str]:
    """Log a skip test: one W&B row with a picture and a table, and scalars under ``skip/`` for every logger.

    Args:
        loggers: The Trainer's loggers.
        found: What was found.
        step: Trainer global step.
        prefix: What the keys begin with.

    Returns:
        What could not be logged, one sentence each.
    """
    content = SkipContent(found, step, prefix)
    return _with_each(loggers, prefix, "the skip test", lambda backend: backend.log_look(content))


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
    return _with_each(loggers, prefix, "the summary", lambda backend: backend.log_summary(history))


def log_answer(loggers: Iterable[Any], history: History, prefix: str = "gw/") -> list[str]:
    """Give W&B the answer so far of a run that ended early, which costs no waiting; other loggers get nothing.

    Args:
        loggers: The Trainer's loggers.
        history: At least one look.
        prefix: What the keys begin with.

    Returns:
        What could not be logged, one sentence each.
    """

    def answer(backend: LoggerBackend) -> list[str]:
        return backend.log_answer(history) if isinstance(backend, WandbBackend) else []

    return _with_each(loggers, prefix, "the answer", answer)


def online_project(loggers: Iterable[Any]) -> str:
    """The W&B project, ``entity/project``, of the first logger whose run W&B's server has; empty where none has."""
    for logger in loggers:
        with suppress(Exception):  # an offer is worth no failure
            backend = backend_of(logger, "")
            if isinstance(backend, WandbBackend) and (project := backend.online_project):
                return project
    return ""


def wants_pictures(loggers: Iterable[Any]) -> bool:
    """Whether any of these loggers takes pictures."""
    with suppress(Exception):  # a logger that cannot even be asked is named when something is logged
        return any(isinstance(backend_of(logger, ""), WandbBackend | TensorBoardBackend) for logger in loggers)
    return False


def _with_each(loggers: Iterable[Any], prefix: str, what: str, act: Callable[[LoggerBackend], list[str]]) -> list[str]:
    """Let every logger act; whatever one raises becomes a sentence, so that the others and the training go on.

    A logger that fails only after `content.PATIENCE` seconds, as one does whose server is away, is not asked again.
    """
    problems: list[str] = []
    for logger in loggers:
        if id(logger) in _GIVEN_UP:
            continue
        started = time.monotonic()
        try:
            backend = backend_of(logger, prefix)
            if backend is not None:
                problems += act(backend)
        except Exception as error:
            problem = f"{name_of(logger)} did not take {what} ({type(error).__name__}: {error})."
            waited = time.monotonic() - started
            if waited > content.PATIENCE:
                remember(logger, _GIVEN_UP)
                problem += f" It held training up for {waited:.0f} s and is not asked again."
            problems.append(problem)
    return problems


def _until(record: Record, history: Sequence[Record]) -> Sequence[Record]:
    if history and history[-1].step == record.step:
        return history
    return [*(look for look in history if look.step < record.step), record]
