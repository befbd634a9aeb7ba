"""The plan of a comparison: its YAML file read, checked, and spelled out as one `PlannedRun` per strategy and seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from lightning_gw.compare.executors.base import ExecutorSettings, read_executor, require_known
from lightning_gw.lightning_cli.options import read_yaml
from lightning_gw.utilities.errors import UsageError, near_names, sentence

_COMPARISON_KEYS = ("title", "out", "experiments", "threads", "wandb", "executor")
_WANDB_KEYS = ("project", "entity")
_EXPERIMENT_KEYS = ("task", "config", "accuracy", "planted", "strategies", "seeds", "overrides")
_STRATEGY_KEYS = ("name", "config", "overrides", "question")
#: Folder beside an experiment's config where strategies are looked up by name.
STRATEGIES_FOLDER = "strategies"


@dataclass(frozen=True)
class PlannedRun:
    """One training run of a comparison.

    Attributes:
        strategy: Name of the training strategy, unique to one experiment of the comparison.
        task: Name of the experiment's task.
        seed: Seed of everything random in the run, the probe excepted.
        configs: Config files laid over each other, the experiment's first.
        overrides: Dotted options set after all configs.
        question: What the strategy asks, in one sentence.
        planted: Boundaries built in on purpose (0-based, "after layer k"), or None.
        accuracy: Name of the metric that pictures and progress show, or None.
    """

    strategy: str
    task: str
    seed: int
    configs: tuple[Path, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    question: str = ""
    planted: tuple[int, ...] | None = None
    accuracy: str | None = None

    @property
    def path(self) -> str:
        """The run's folder, relative to the comparison's."""
        return f"{self.strategy}/seed-{self.seed}"

    def identity(self) -> dict[str, Any]:
        """Everything that decides what the run does; two runs with equal identities are the same run.

        The contents of the config files count, not their names, so a comparison may move to another folder.
        """
        contents = {f"{index}. {config.name}": read_yaml(config) for index, config in enumerate(self.configs, 1)}
        return {"task": self.task, "configs": contents, "overrides": dict(self.overrides)}


@dataclass(frozen=True)
class Plan:
    """A whole comparison.

    Attributes:
        title: What pages and W&B call the comparison.
        out: Folder everything goes to.
        runs: All runs, in the order of the config.
        threads: Compute threads of each run.
        wandb: ``project`` and, where given, ``entity`` of the W&B runs.
        executor: What starts the runs, and what each asks for.
    """

    title: str
    out: Path
    runs: tuple[PlannedRun, ...]
    threads: int
    wandb: Mapping[str, str]
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)


def read_plan(file: Path, out: Path | None = None) -> Plan:
    """Read the YAML file of a comparison.

    Args:
        file: The YAML file. Paths in it are relative to its folder, except `out`, which is relative to where you are.
        out: Folder to use in place of the one the file names.

    Raises:
        UsageError: For whatever the file gets wrong, by name and with near names.
    """
    content = read_yaml(file)
    require_known(content, _COMPARISON_KEYS, str(file))
    title = str(content.get("title") or file.stem)
    threads = content.get("threads", 1)
    if not isinstance(threads, int) or threads < 1:
        raise UsageError(f"{file}: threads should be a whole number from 1, but is {threads!r}.")
    wandb = content.get("wandb") or {}
    if not isinstance(wandb, dict):
        raise UsageError(f"{file}: wandb should hold project and entity, but is {wandb!r}.")
    require_known(wandb, _WANDB_KEYS, f"{file}: wandb")
    experiments = content.get("experiments")
    if not isinstance(experiments, list) or not experiments:
        raise UsageError(f"{file}: experiments should be a list of at least one experiment.")
    runs = [run for number, given in enumerate(experiments, 1) for run in _read_experiment(given, number, file)]
    _require_unique_strategies(runs, file)
    return Plan(
        title=title,
        out=out or Path(content.get("out") or f"runs/{file.stem}"),
        runs=tuple(runs),
        threads=threads,
        wandb={"project": "lightning-gw", **{key: str(value) for key, value in wandb.items()}},
        executor=read_executor(content.get("executor"), f"{file}: executor"),
    )


def _read_experiment(given: Any, number: int, file: Path) -> list[PlannedRun]:
    where = f"{file}: experiment {number}"
    if not isinstance(given, dict):
        raise UsageError(f"{where} should hold task, config, strategies and seeds, but is {given!r}.")
    require_known(given, _EXPERIMENT_KEYS, where)
    for key in ("task", "config", "strategies", "seeds"):
        if key not in given:
            raise UsageError(f"{where} lacks {key!r}.")
    task = str(given["task"])
    where = f"{file}: experiment {task!r}"
    base = file.parent / str(given["config"])
    read_yaml(base)
    strategies = given["strategies"]
    if not isinstance(strategies, list) or not strategies:
        raise UsageError(f"{where}: strategies should be a list of at least one name.")
    seeds = _read_seeds(given["seeds"], where)
    planted = _read_planted(given.get("planted"), where)
    shared = _read_overrides(given.get("overrides"), where)
    runs = []
    for strategy in strategies:
        name, config, overrides, question = _read_strategy(strategy, base, file, where)
        runs += [
            PlannedRun(
                strategy=name,
                task=task,
                seed=seed,
                configs=(base, config) if config else (base,),
                overrides={**shared, **overrides},
                question=question,
                planted=planted,
                accuracy=None if given.get("accuracy") is None else str(given["accuracy"]),
            )
            for seed in seeds
        ]
    return runs


def _read_strategy(given: Any, base: Path, file: Path, where: str) -> tuple[str, Path | None, dict[str, Any], str]:
    """Name, config (None for a strategy made of overrides only), overrides and question of one entry."""
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, dict) or not given.get("name"):
        raise UsageError(f"{where}: a strategy is a name, or a mapping with a name; got {given!r}.")
    name = str(given["name"])
    where = f"{where}: strategy {name!r}"
    require_known(given, _STRATEGY_KEYS, where)
    if "/" in name or "\\" in name or name in (".", ".."):
        raise UsageError(f"{where}: the name becomes a folder, so it cannot hold a slash.")
    overrides = _read_overrides(given.get("overrides"), where)
    question = str(given.get("question") or "")
    if "config" in given:
        if given["config"] is None:
            return name, None, overrides, question
        config = file.parent / str(given["config"])
        read_yaml(config)
    else:
        folder = base.parent / STRATEGIES_FOLDER
        config = folder / f"{name}.yaml"
        if not config.is_file():
            found = [other.stem for other in folder.glob("*.yaml")]
            looked = f"There is no {config}." if found else f"There are no strategies in {folder}."
            raise UsageError(sentence(f"{where} is not known.", looked, near_names(name, found)))
    return name, config, overrides, question or leading_comment(config)


def leading_comment(config: Path) -> str:
    """The comment a config opens with, as one line: a strategy's file says there what it asks."""
    lines = config.read_text(encoding="utf-8").splitlines()
    comment = takewhile(lambda line: line.startswith("#") and line.strip("# "), lines)
    return " ".join(line.strip("# ") for line in comment)


def _read_seeds(given: Any, where: str) -> list[int]:
    if not isinstance(given, list) or not given or not all(type(seed) is int and seed >= 0 for seed in given):
        raise UsageError(f"{where}: seeds should be a list of whole numbers such as [0, 1, 2], but is {given!r}.")
    repeated = sorted(seed for seed, times in Counter(given).items() if times > 1)
    if repeated:
        raise UsageError(
            f"{where}: seeds {given} repeat {', '.join(map(str, repeated))}; equal seeds give equal runs, not more "
            "evidence. Name each seed once."
        )
    return given


def _read_planted(given: Any, where: str) -> tuple[int, ...] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not all(type(boundary) is int and boundary >= 0 for boundary in given):
        raise UsageError(
            f"{where}: planted should list the 0-based layers after which a planted block ends, but is {given!r}."
        )
    return tuple(given)


def _read_overrides(given: Any, where: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise UsageError(f"{where}: overrides should map dotted options to values, but is {given!r}.")
    return {str(option): value for option, value in given.items()}


def _require_unique_strategies(runs: list[PlannedRun], file: Path) -> None:
    seen: set[str] = set()
    for run in runs:
        if run.path in seen:
            raise UsageError(
                f"{file}: strategy {run.strategy!r} stands twice with seed {run.seed}; each strategy has one folder. "
                "Give one of them another name: {name: ..., config: ...}."
            )
        seen.add(run.path)
    tasks: dict[str, str] = {}
    for run in runs:
        if tasks.setdefault(run.strategy, run.task) != run.task:
            raise UsageError(
                f"{file}: strategy {run.strategy!r} stands in the experiments {tasks[run.strategy]!r} and "
                f"{run.task!r}; give one of them another name: {{name: ..., config: ...}}."
            )
