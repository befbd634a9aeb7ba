"""What Weights & Biases is given: scalars, pictures and tables, one row per record."""

from __future__ import annotations

import re
import tempfile
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_gw.loggers import content
from lightning_gw.loggers.content import STEP_KEY, LogContent, SkipContent, remember
from lightning_gw.records.history import METRICS_FILE, RECORDS_FILE, History, array_file
from lightning_gw.records.words.description import describe
from lightning_gw.utilities.text import short_names

#: W&B runs that get no tables any more, by identity, for as long as they live.
_WITHOUT_TABLES: dict[int, weakref.ref[Any]] = {}


@dataclass(frozen=True)
class WandbBackend:
    experiment: Any
    prefix: str

    @property
    def online_project(self) -> str:
        """``entity/project`` of a run that W&B's server has; empty for any other."""
        run = self.experiment
        known = run.entity and run.project and not (run.offline or run.disabled)
        return f"{run.entity}/{run.project}" if known else ""

    def log_config(self, config: dict[str, Any]) -> list[str]:
        # A WandbLogger that was handed a running experiment has not defined the axis.
        self.experiment.define_metric(STEP_KEY)
        self.experiment.define_metric(f"{self.prefix}*", step_metric=STEP_KEY)
        self.experiment.config.update({self.prefix.strip("/"): config}, allow_val_change=True)
        return []

    def log_look(self, look: LogContent | SkipContent) -> list[str]:
        # One call is one row. Without `step=`, which would drop rows that come after a later one of Lightning's.
        row = {**look.values, STEP_KEY: look.step}
        with tempfile.TemporaryDirectory(prefix="lightning-gw-") as folder:  # `log` copies the files of pictures
            return self._log_row(look, row, Path(folder))

    def _log_row(self, look: LogContent | SkipContent, row: Mapping[str, Any], folder: Path) -> list[str]:
        if id(self.experiment) in _WITHOUT_TABLES:
            self.experiment.log({**self._pictures(look, folder), **row})
            return []
        # Uploads happen beside training, but about every table W&B asks its server a question and waits for the answer.
        problem, started = "", time.monotonic()
        try:
            media = {**self._tables(look), **self._pictures(look, folder)}
            started = time.monotonic()  # what is waited for is the server, and not what is imported and made for it
            self.experiment.log({**media, **row})
        except Exception as error:
            problem = f"W&B did not take the tables of step {look.step} ({type(error).__name__}: {error})."
        waited = time.monotonic() - started
        if problem:
            # Pictures anew: those above may be bound to that row.
            self.experiment.log({**self._pictures(look, folder), **row})
        if waited > content.PATIENCE:
            remember(self.experiment, _WITHOUT_TABLES)
            problem = problem or f"W&B's server did not answer about the tables of step {look.step} in time."
            problem += f" It held training up for {waited:.0f} s: this run gets scalars and pictures from now on."
        return [problem] if problem else []

    def _pictures(self, look: LogContent | SkipContent, folder: Path) -> dict[str, Any]:
        """As files, which W&B takes as they are; pixels it would encode while training waits."""
        import wandb

        images = {}
        for number, (key, picture) in enumerate(look.pictures.items()):
            file = folder / f"{number}.png"
            file.write_bytes(picture.png)
            images[key] = wandb.Image(str(file), caption=look.caption)
        return images

    def _tables(self, look: LogContent | SkipContent) -> dict[str, Any]:
        import wandb

        tables: dict[str, Any] = {key: wandb.Table([*table.columns], table.rows) for key, table in look.tables.items()}
        columns = ("step", "lineKey", "lineVal")  # of the preset that W&B brings along
        charts = {
            key: wandb.plot_table(
                "wandb/lineseries/v0",
                wandb.Table([*columns], [[*row] for row in series.rows]),
                {column: column for column in columns},
                {"title": series.title, "xname": "training step"},
            )
            for key, series in look.series.items()
        }
        return tables | charts

    def log_answer(self, history: History) -> list[str]:
        # W&B sorts a summary by its keys: this one is the first of ours.
        self.experiment.summary.update({f"{self.prefix}answer": describe(history)})
        return []

    def log_summary(self, history: History) -> list[str]:
        import wandb

        last = history[-1]
        final = {
            "step": last.step,
            "groups": "no groups" if last.groups.strength == "none" else last.groups.ranges(short_names(last.layers)),
            "strength": last.groups.strength,
            "reference": last.reference,
            "changed": "none" if last.changed is None else f"{last.changed.ranges()}, {last.changed.strength}",
        }
        self.log_answer(history)
        self.experiment.summary.update({f"{self.prefix}final/{name}": value for name, value in final.items()})
        with tempfile.TemporaryDirectory(prefix="lightning-gw-") as folder:
            page = history.report(Path(folder) / "report.html")
            row = {f"{self.prefix}page": wandb.Html(str(page), inject=False), STEP_KEY: last.axis}
            self.experiment.log(row)
        if history.path is None:
            return ["The history lives in memory only, so no artifact of it was logged."]
        name = re.sub(r"[^\w.-]", "-", self.prefix.strip("/"), flags=re.ASCII)
        artifact = wandb.Artifact(f"{name}-history-{self.experiment.id}", type="gw-history")
        for file in (RECORDS_FILE, METRICS_FILE, *(array_file(record.step) for record in history)):
            artifact.add_file(str(history.path / file))
        self.experiment.log_artifact(artifact)
        return []
