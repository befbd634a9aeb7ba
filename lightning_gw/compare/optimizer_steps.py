"""How many optimizer steps every run of a comparison gets, and whether they are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_gw.compare.plan import Plan, PlannedRun
from lightning_gw.lightning_cli.options import read_yaml
from lightning_gw.utilities.text import listed

_UNSET = object()


def configured_steps(run: PlannedRun) -> int | None:
    """Optimizer steps of a run as its configs say, or None where they say epochs or time, whose steps show later."""
    steps, epochs, time = (_configured(run, f"trainer.{key}") for key in ("max_steps", "max_epochs", "max_time"))
    limited = (isinstance(epochs, int) and epochs >= 0) or time is not None
    return steps if isinstance(steps, int) and steps > 0 and not limited else None


def step_count_lines(plan: Plan, steps: Mapping[str, int | None]) -> list[str]:
    """One line per task: how many steps its runs get, by their paths, and which get others; None is not known yet."""
    lines = []
    for task in dict.fromkeys(run.task for run in plan.runs):
        strategies: dict[int | None, list[str]] = {}
        for run in plan.runs:
            if run.task == task and run.strategy not in strategies.setdefault(steps[run.path], []):
                strategies[steps[run.path]].append(run.strategy)
        lines.append(f"Budget of {task}: {_in_words(strategies)}")
    return lines


def unequal_step_counts(plan: Plan, steps: Mapping[str, int | None]) -> list[str]:
    """A sentence for each task whose runs train for different numbers of steps."""
    tasks: dict[str, set[int | None]] = {}
    for run in plan.runs:
        tasks.setdefault(run.task, set()).add(steps[run.path])
    return [
        f"{line}; what differs between these runs may be due to that."
        for line, known in zip(step_count_lines(plan, steps), tasks.values(), strict=True)
        if len(known - {None}) > 1
    ]


def _in_words(strategies: Mapping[int | None, list[str]]) -> str:
    if set(strategies) == {None}:
        return "set by epochs or time; the steps show when training begins"
    if len(strategies) == 1:
        return f"{next(iter(strategies))} optimizer steps each"
    known = sorted((count, names) for count, names in strategies.items() if count is not None)
    parts = [f"{count} optimizer steps for {listed(names)}" for count, names in known]
    if None in strategies:
        parts.append(f"not known yet for {listed(strategies[None])}")
    return ", ".join(parts)


def _configured(run: PlannedRun, option: str) -> Any:
    """What the last of a run's configs, or its overrides, set an option to; None where nothing does."""
    value = None
    for config in run.configs:
        content = read_yaml(config)
        node: Any = content
        for part in option.split("."):
            node = node.get(part, _UNSET) if isinstance(node, Mapping) else _UNSET
        node = content.get(option, node)
        value = value if node is _UNSET else node
    return run.overrides.get(option, value)
