"""A planned run as the ``lightning-gw fit`` command a person could type, and the small config it adds to theirs."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_gw.compare.plan import Plan, PlannedRun
from lightning_gw.utilities.storage.plain_yaml import yaml_text

_HEADER = """\
# Laid over the configs of this run by `lightning-gw compare`: where it logs, and how it tells its progress.
# command.txt holds the whole command.
"""


def run_config(plan: Plan, run: PlannedRun, wandb: str) -> dict[str, Any]:
    """What a comparison adds to a run's own configs: its loggers, and a callback that reports progress."""
    folder = str((plan.out / run.path).absolute())
    loggers: list[dict[str, Any]] = [
        {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": folder, "name": "csv"}}
    ]
    if wandb != "disabled":
        logger = {
            **plan.wandb,
            "save_dir": folder,
            "mode": wandb,
            "group": plan.title,
            "job_type": run.strategy,
            "name": f"{run.strategy}-seed-{run.seed}",
            "tags": [run.task],
            # One W&B run however often it is interrupted: the same id is taken up again.
            "id": hashlib.sha256(folder.encode()).hexdigest()[:12],
            "resume": "allow",
        }
        loggers.insert(0, {"class_path": "pytorch_lightning.loggers.WandbLogger", "init_args": logger})
    report: dict[str, Any] = {"file": str(Path(folder, "progress.json")), "accuracy": run.accuracy}
    if run.planted:
        report["planted"] = list(run.planted)
    return {
        "trainer": {
            "enable_progress_bar": False,
            "logger": loggers,
            "callbacks+": [{"class_path": "lightning_gw.compare.run_callback.RunProgress", "init_args": report}],
        }
    }


def fit_arguments(plan: Plan, run: PlannedRun, extra: Path | None, checkpoint: Path | None = None) -> list[str]:
    """Arguments of ``lightning-gw fit``; `extra` is the file that `run_config` was written to."""
    arguments = [word for config in run.configs for word in ("-c", _short(config))]
    if extra is not None:
        arguments += ["-c", _short(extra)]
    arguments += [f"--{option}={_literal(value)}" for option, value in run.overrides.items()]
    arguments += [f"--seed_everything={run.seed}", f"--run_dir={_short(plan.out / run.path)}"]
    if checkpoint is not None:
        arguments.append(f"--ckpt_path={_short(checkpoint)}")
    return arguments


def prepare(
    plan: Plan, run: PlannedRun, wandb: str, checkpoint: Path | None, *callbacks: Mapping[str, Any]
) -> list[str]:
    """Make a run's folder with ``run.yaml`` and ``command.txt``; the command, for the current directory.

    The run gets these `callbacks` besides the one that reports progress.
    """
    folder = plan.out / run.path
    folder.mkdir(parents=True, exist_ok=True)
    config = run_config(plan, run, wandb)
    config["trainer"]["callbacks+"] += callbacks
    extra = folder / "run.yaml"
    extra.write_text(_HEADER + yaml_text(config), encoding="utf-8")
    arguments = fit_arguments(plan, run, extra, checkpoint)
    command = [sys.executable, "-m", "lightning_gw", "fit", *arguments]
    threads = " ".join(f"{name}={value}" for name, value in thread_variables(plan).items())
    (folder / "command.txt").write_text(
        f"cd {shlex.quote(str(Path.cwd()))}\n{threads} {shlex.join(command)}\n", encoding="utf-8"
    )
    return command


def thread_variables(plan: Plan) -> dict[str, str]:
    """Environment variables that keep a run to its share of the cores."""
    return {name: str(plan.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def _short(path: Path) -> str:
    """Relative to where the command runs when it lies below, which reads better."""
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute)
    return absolute if relative.startswith("..") else relative


def _literal(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
