"""A short trial of a run: what its start, a step, a look and a validation cost, and how many of each it will make."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from lightning_gw.compare.executors.base import Order
from lightning_gw.compare.executors.process import RunProcess
from lightning_gw.compare.plan import Plan, PlannedRun
from lightning_gw.compare.run_command import fit_arguments, run_config, thread_variables

#: Optimizer steps of a trial: enough that the first, in which much is set up, can be left out.
STEPS = 10


class TrialError(Exception):
    """A trial came to no end; the message says why."""


@dataclass(frozen=True)
class Trial:
    """What a trial found; all times in seconds.

    Attributes:
        task: The run's task.
        steps: Optimizer steps that were made.
        total: Those of a whole run, or None where they cannot be told.
        overhead: From the start of the process to the first step, the first look included, and from the last to the
            end.
        step: A step.
        look: A look.
        looks: Looks of a whole run after the first; None where checkpoints bring them.
        share: The most that looks may take of the training time, or None.
        validation: A validation.
        validations: Validations that come with a step, on average.
    """

    task: str
    steps: int
    total: int | None
    overhead: float
    step: float
    look: float
    looks: int | None
    share: float | None
    validation: float
    validations: float

    def seconds(self, total: int | None = None, done: int = 0) -> float | None:
        """How long a run will take.

        Args:
            total: Its optimizer steps; those of the run that was tried when None.
            done: Steps that it has behind it.

        Returns:
            Seconds, or None where the steps are not known.
        """
        total = self.total if total is None else total
        if total is None:
            return None
        left = max(0, total - done)
        training = left * (self.step + self.validations * self.validation)
        return self.overhead + training + self._looking(training, left / total if total else 0.0)

    def _looking(self, training: float, part: float) -> float:
        planned = self.look if self.looks is None else self.looks * self.look * part
        if self.share is None:
            return planned
        allowed = max(self.look, self.share * training)  # the last look is made at any price
        return allowed if self.looks is None else min(planned, allowed)

    def sentence(self) -> str:
        """What the estimate rests on, in words."""
        parts = [f"{self.overhead:.1f} s to start and end", f"{self.step:.3g} s a step"]
        if self.validations:
            parts.append(f"{self.validation:.2g} s a validation")
        if self.look:
            count = "at checkpoints, whose number is not counted" if self.looks is None else f"{self.looks} of them"
            parts.append(f"{self.look:.2g} s a look ({count})")
        return f"{', '.join(parts)}; from a trial of {self.steps} steps"


def try_run(plan: Plan, run: PlannedRun) -> Trial:
    """Train a run for a few steps in a folder that is removed again.

    Args:
        plan: The plan.
        run: One of its runs.

    Raises:
        TrialError: If it failed.
    """
    with tempfile.TemporaryDirectory(prefix="lightning-gw-trial-", ignore_cleanup_errors=True) as folder:
        elsewhere = replace(plan, out=Path(folder))
        place = Path(folder, run.path)
        place.mkdir(parents=True)
        found = place / "trial.json"
        config: dict[str, Any] = run_config(elsewhere, run, "disabled")
        watch = {"file": str(found), "steps": STEPS}
        config["trainer"]["callbacks+"].append(
            {"class_path": "lightning_gw.compare.stopwatch.Stopwatch", "init_args": watch}
        )
        extra = place / "run.yaml"
        extra.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        order = Order(
            key=run.path,
            command=[sys.executable, "-m", "lightning_gw", "fit", *fit_arguments(elsewhere, run, extra)],
            directory=Path.cwd(),
            variables={**thread_variables(plan), "WANDB_MODE": "disabled"},
            log=place / "log.txt",
            lock=place / "lock",
            plan=extra,
            plan_hash="",
        )
        began = time.time()
        code = _wait(RunProcess(order))
        ended = time.time()
        if code or not found.exists():
            from lightning_gw.compare.summary import failure

            raise TrialError(failure(code, order.log))
        return _read(run.task, json.loads(found.read_text(encoding="utf-8")), began, ended)


def _wait(process: RunProcess) -> int:
    code = None
    try:
        while (code := process.poll()) is None:
            time.sleep(0.05)
        return code
    finally:
        if code is None:
            process.ask()
            process.end(5.0)


def _read(task: str, found: Mapping[str, Any], began: float, ended: float) -> Trial:
    return Trial(
        task=task,
        steps=found["steps"],
        total=found["total"],
        overhead=found["ready"] - began + ended - found["ended"],
        step=found["step_seconds"],
        look=found["look_seconds"],
        looks=found["looks"],
        share=found["look_share"],
        validation=found["validation_seconds"],
        validations=found["validations_per_step"],
    )
