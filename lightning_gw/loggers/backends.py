"""What each kind of logger is given: one class for W&B, one for TensorBoard, one for all others.

Told apart by what their ``experiment`` offers and not by class, because those of ``pytorch_lightning`` and
``lightning.pytorch`` are different classes of the same name.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from lightning_gw.figures.png import Picture, draw_pictures
from lightning_gw.loggers.scalars import Table, events_table, matrix_table, record_scalars, similarities_of
from lightning_gw.records.description import describe, describe_record
from lightning_gw.records.history import METRICS_FILE, RECORDS_FILE, History, array_file
from lightning_gw.records.record import Record

STEP_KEY = "trainer/global_step"
#: Seconds that a logger may take to fail and still be asked again.
PATIENCE = 10.0
#: W&B runs that get no tables any more, by identity, for as long as they live.
_WITHOUT_TABLES: dict[int, weakref.ref[Any]] = {}


class Look:
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
        """By key; one that could not be drawn is missing and named in `problems`."""
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


class Sink(Protocol):
    """One logger, in the three things that are asked of it; each returns what it had to leave out."""

    def log_config(self, config: dict[str, Any]) -> list[str]: ...
    def log_look(self, look: Look) -> list[str]: ...
    def log_summary(self, history: History) -> list[str]: ...


@dataclass(frozen=True)
class WandbSink:
    experiment: Any
    prefix: str

    def log_config(self, config: dict[str, Any]) -> list[str]:
        # A WandbLogger that was handed a running experiment has not defined the axis.
        self.experiment.define_metric(STEP_KEY)
        self.experiment.define_metric(f"{self.prefix}*", step_metric=STEP_KEY)
        self.experiment.config.update({self.prefix.strip("/"): config}, allow_val_change=True)
        return []

    def log_look(self, look: Look) -> list[str]:
        # One call is one row. Without `step=`, which would drop rows that come after a later one of Lightning's.
        row = {**look.scalars, STEP_KEY: look.record.step}
        with tempfile.TemporaryDirectory(prefix="lightning-gw-") as folder:  # `log` copies the files of pictures
            return self._log_row(look, row, Path(folder))

    def _log_row(self, look: Look, row: Mapping[str, Any], folder: Path) -> list[str]:
        if id(self.experiment) in _WITHOUT_TABLES:
            self.experiment.log({**self._pictures(look, folder), **row})
            return []
        # Uploads happen beside training, but about every table W&B asks its server a question and waits for the answer.
        problem, started = "", time.monotonic()
        try:
            self.experiment.log({**self._tables(look), **self._pictures(look, folder), **row})
        except Exception as error:
            problem = f"W&B did not take the tables of step {look.record.step} ({type(error).__name__}: {error})."
        waited = time.monotonic() - started
        if problem:
            # Pictures anew: those above may be bound to that row.
            self.experiment.log({**self._pictures(look, folder), **row})
        if waited > PATIENCE:
            remember(self.experiment, _WITHOUT_TABLES)
            problem = problem or f"W&B's server did not answer about the tables of step {look.record.step} in time."
            problem += f" It held training up for {waited:.0f} s: this run gets scalars and pictures from now on."
        return [problem] if problem else []

    def _pictures(self, look: Look, folder: Path) -> dict[str, Any]:
        """As files, which W&B takes as they are; pixels it would encode while training waits."""
        import wandb

        images = {}
        for number, (key, picture) in enumerate(look.pictures.items()):
            file = folder / f"{number}.png"
            file.write_bytes(picture.png)
            images[key] = wandb.Image(str(file), caption=look.caption)
        return images

    def _tables(self, look: Look) -> dict[str, Any]:
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
class TensorBoardSink:
    experiment: Any
    prefix: str

    def log_config(self, config: dict[str, Any]) -> list[str]:
        # As text: its log_hyperparams would add an hp_metric of -1 to the user's scalars.
        self._log_text("config", f"```json\n{json.dumps(config, indent=2)}\n```", 0)
        return []

    def log_look(self, look: Look) -> list[str]:
        step = look.record.step
        for key, value in look.scalars.items():
            self.experiment.add_scalar(key, value, step)
        for key, picture in look.pictures.items():
            self._log_picture(key, picture, step)
        self._log_text("sentence", describe_record(look.record), step)
        if look.record.events:
            self._log_text("events", "\n".join(f"- {event.sentence()}" for event in look.record.events), step)
        return []

    def _log_picture(self, key: str, picture: Picture, step: int) -> None:
        # Not imported here: where tensorboardX takes TensorBoard's place it cannot be.
        torch_writers = sys.modules.get("torch.utils.tensorboard")
        if torch_writers is None or not isinstance(self.experiment, torch_writers.SummaryWriter):
            self.experiment.add_image(key, picture.pixels(), step, dataformats="HWC")
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        # As it is: `add_image` takes pixels and would encode them while training waits.
        image = Summary.Image(
            height=picture.height, width=picture.width, colorspace=3, encoded_image_string=picture.png
        )
        writer: Any = self.experiment.file_writer
        writer.add_summary(Summary(value=[Summary.Value(tag=key, image=image)]), step)

    def log_summary(self, history: History) -> list[str]:
        self._log_text("final/sentence", describe(history), history[-1].step)
        self.experiment.flush()  # not at every look: TensorBoard writes beside training, and would be waited for
        return []

    def _log_text(self, name: str, text: str, step: int) -> None:
        self.experiment.add_text(self.prefix + name, text, step)


@dataclass(frozen=True)
class ScalarsSink:
    """Any logger at all, through Lightning's own ``log_metrics``."""

    logger: Any
    prefix: str
    forbidden: str | None  # pattern of the characters its keys cannot hold

    def log_config(self, config: dict[str, Any]) -> list[str]:
        if hasattr(self.logger, "log_hyperparams"):
            self.logger.log_hyperparams({self.prefix.strip("/"): config})
        return []

    def log_look(self, look: Look) -> list[str]:
        scalars: dict[str, float] = {}
        problems = []
        for key, value in look.scalars.items():
            name = re.sub(self.forbidden, "_", key) if self.forbidden else key
            if name in scalars:
                problems.append(f"{name_of(self.logger)} cannot tell {key} from another key; it was left out there.")
            else:
                scalars[name] = value
        self.logger.log_metrics(scalars, step=look.record.step)
        if hasattr(self.logger, "save"):
            self.logger.save()  # as Lightning does; a CSVLogger writes its file only here
        return problems

    def log_summary(self, history: History) -> list[str]:
        return []


def sink_of(logger: Any, prefix: str) -> Sink | None:
    experiment = getattr(logger, "experiment", None)
    if hasattr(experiment, "an_attribute_that_no_experiment_has"):
        return None  # Lightning's stand-in for ranks other than zero and for fast_dev_run swallows everything
    if hasattr(experiment, "log") and hasattr(experiment, "define_metric"):
        return WandbSink(experiment, prefix)
    if hasattr(experiment, "add_scalar") and hasattr(experiment, "add_image"):
        return TensorBoardSink(experiment, prefix)
    mlflow = hasattr(experiment, "log_batch")
    return ScalarsSink(logger, prefix, forbidden=r"[^A-Za-z0-9_/. -]" if mlflow else None)


def remember(thing: Any, among: dict[int, weakref.ref[Any]]) -> None:
    key = id(thing)
    among[key] = weakref.ref(thing, lambda _: among.pop(key, None))


def name_of(logger: Any) -> str:
    return type(logger).__name__
