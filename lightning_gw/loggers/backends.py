"""What each kind of logger is given: one class for W&B, one for TensorBoard, one for all others.

Told apart by what their ``experiment`` offers and not by class, because those of ``pytorch_lightning`` and
``lightning.pytorch`` are different classes of the same name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from lightning_gw.loggers.content import LogContent, SkipContent, name_of
from lightning_gw.loggers.tensorboard import TensorBoardBackend
from lightning_gw.loggers.wandb import WandbBackend
from lightning_gw.records.history import History


class LoggerBackend(Protocol):
    """One logger, in the three things that are asked of it; each returns what it had to leave out."""

    def log_config(self, config: dict[str, Any]) -> list[str]: ...
    def log_look(self, look: LogContent | SkipContent) -> list[str]: ...
    def log_summary(self, history: History) -> list[str]: ...


@dataclass(frozen=True)
class ScalarsBackend:
    """Any logger at all, through Lightning's own ``log_metrics``."""

    logger: Any
    prefix: str
    forbidden: str | None  # pattern of the characters its keys cannot hold

    def log_config(self, config: dict[str, Any]) -> list[str]:
        if hasattr(self.logger, "log_hyperparams"):
            self.logger.log_hyperparams({self.prefix.strip("/"): config})
        return []

    def log_look(self, look: LogContent | SkipContent) -> list[str]:
        scalars: dict[str, float] = {}
        problems = []
        for key, value in look.scalars.items():
            name = re.sub(self.forbidden, "_", key) if self.forbidden else key
            if name in scalars:
                problems.append(f"{name_of(self.logger)} cannot tell {key} from another key; it was left out there.")
            else:
                scalars[name] = value
        self.logger.log_metrics(scalars, step=look.step)
        if hasattr(self.logger, "save"):
            self.logger.save()  # as Lightning does; a CSVLogger writes its file only here
        return problems

    def log_summary(self, history: History) -> list[str]:
        return []


def backend_of(logger: Any, prefix: str) -> LoggerBackend | None:
    experiment = getattr(logger, "experiment", None)
    if hasattr(experiment, "an_attribute_that_no_experiment_has"):
        return None  # Lightning's stand-in for ranks other than zero and for fast_dev_run swallows everything
    if hasattr(experiment, "log") and hasattr(experiment, "define_metric"):
        return WandbBackend(experiment, prefix)
    if hasattr(experiment, "add_scalar") and hasattr(experiment, "add_image"):
        return TensorBoardBackend(experiment, prefix)
    mlflow = hasattr(experiment, "log_batch")
    return ScalarsBackend(logger, prefix, forbidden=r"[^A-Za-z0-9_/. -]" if mlflow else None)
