"""What a comparison found, one line per run, read back from what the runs left on disk."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightning_gw.compare.optimizer_steps import configured_steps, step_count_lines, unequal_step_counts
from lightning_gw.compare.plan import Plan, PlannedRun
from lightning_gw.compare.showing.progress import RunState, clock
from lightning_gw.records.history import History, load_history
from lightning_gw.records.record import Record
from lightning_gw.records.words.description import NOTABLE_GROWTH
from lightning_gw.records.words.misnamed import never_logged
from lightning_gw.utilities.text import listed, numbered, short_names

if TYPE_CHECKING:
    from lightning_gw.compare.comparison import Comparison

#: A metric's name and value take about this much; what is longer is an explanation.
_NUMBER_WIDTH = 32
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;]*m")


def summary_lines(plan: Plan, states: Mapping[str, RunState], histories: Sequence[History | None]) -> list[str]:
    """Each run's end: accuracy, and its groups or, where there are none, which layers moved apart or closer most.

    Args:
        plan: The plan.
        states: How each run stands, by its path.
        histories: What each run recorded, in the plan's order; None where there is nothing to read.
    """
    rows = []
    for run, history in zip(plan.runs, histories, strict=True):
        state = states[run.path]
        if state.status == "finished":
            rows.append((state.name, _accuracy(run, state), _groups(history)))
        else:
            rows.append((state.name, f"failed: {state.error}" if state.status == "failed" else state.status, ""))
    names = max(len(name) for name, _, _ in rows)
    # Lines that say more than a number must not push the others' columns out.
    numbers = max((len(number) for _, number, groups in rows if groups and len(number) <= _NUMBER_WIDTH), default=0)
    return [f"{name:<{names}}  {number:<{numbers}}  {groups}".rstrip() for name, number, groups in rows]


def _history_of(plan: Plan, run: PlannedRun) -> History | None:
    """A run's history, or None where it left none."""
    try:
        return load_history(plan.out / run.path)
    except FileNotFoundError:
        return None


def probe_notes(plan: Plan, histories: Sequence[History | None]) -> list[str]:
    """A sentence for each task whose runs were looked at through different probe inputs."""
    probes: dict[str, dict[str, list[str]]] = {}
    for run, history in zip(plan.runs, histories, strict=True):
        for found in sorted({str(record.probe.get("hash")) for record in history or ()}):
            probes.setdefault(run.task, {}).setdefault(found, []).append(run.path)
    return [
        f"The runs of task {task!r} were looked at through {len(found)} different probes, so their matrices are not "
        "of the same inputs: " + "; ".join(f"{probe[:8]}: {', '.join(paths)}" for probe, paths in found.items()) + "."
        for task, found in probes.items()
        if len(found) > 1
    ]


def accuracy_notes(plan: Plan, states: Mapping[str, RunState]) -> list[str]:
    """A sentence for each metric named as ``accuracy`` that finished runs never logged, with those that they did."""
    lacking: dict[str, list[str]] = {}
    finished = [run for run in plan.runs if states[run.path].status == "finished" and run.accuracy is not None]
    for run in finished:
        state = states[run.path]
        assert run.accuracy is not None
        if run.accuracy not in state.metrics:
            lacking.setdefault(never_logged(run.accuracy, state.metrics), []).append(state.name)
    return [text if len(names) == len(finished) else f"{listed(names)}: {text}" for text, names in lacking.items()]


def log_tail(file: Path, lines: int = 12) -> list[str]:
    """The last lines of a log that say something: no empty ones, and not what W&B adds when it closes."""
    if not file.exists():
        return []
    with file.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 65536))
        text = stream.read().decode(errors="replace")
    plain = [_TERMINAL_CODES.sub("", line).rstrip() for line in text.splitlines()]
    return [line for line in plain if line and not line.startswith("wandb:")][-lines:]


def failure(code: int, log: Path) -> str:
    """Why a run failed, in one line: what it said last, or which signal ended it."""
    if code < 0:
        hint = ", often for want of memory" if code == -9 else ""
        return f"ended by signal {-code}{hint}"
    tail = log_tail(log, 40)
    # A traceback ends in an unindented "SomeError: message"; a usage error is a line of our own.
    for line in reversed(tail):
        head = line.split(":")[0]
        if line.startswith("lightning-gw: ") or (head[-5:] in ("Error", "ption") and " " not in head):
            return line.removeprefix("lightning-gw: ")
    return tail[-1] if tail else f"exit code {code}"


def _accuracy(run: PlannedRun, state: RunState) -> str:
    if run.accuracy is None:
        return ""
    name = run.accuracy.rsplit("/", 1)[-1]
    if state.accuracy is not None and math.isfinite(state.accuracy):
        return f"{name} {state.accuracy:.3f}"
    return f"{name} unknown"


def _groups(history: History | None) -> str:
    if not history:
        return "no layers were looked at (no GWSimilarity among the callbacks of its config)"
    last = history[-1]
    if last.groups.strength == "none":
        return f"no groups{_largest_move(last)}"
    return last.summary()


def _largest_move(record: Record) -> str:
    """Which neighbours moved apart most or, where none did, which moved closer most; empty where all stayed."""
    growth = np.asarray(record.growth, dtype=float)
    if not np.isfinite(growth).any():
        return ""
    names = short_names(record.layers)
    for gap, way in ((int(np.nanargmax(growth)), "apart"), (int(np.nanargmin(growth)), "closer")):
        factor = growth[gap] if way == "apart" else 1 / growth[gap] if growth[gap] > 0 else np.inf
        if factor >= NOTABLE_GROWTH:
            pair = f"{numbered(gap, names)} and {numbered(gap + 1, names)}"
            return f"; layers {pair} moved {way} most (distance ×{growth[gap]:.2f})"
    return ""


def conclude(comparison: Comparison, seconds: float) -> int:
    """Say how the runs ended after `seconds`, and write the page once no other process has runs left to do.

    Returns:
        0 when all of them ended well, 1 when some failed.
    """
    plan, states, say = comparison.plan, comparison.states, comparison.say
    comparison.save()
    comparison.take_what_is_finished()  # what others finished meanwhile
    mine = {run.path for run in comparison.runs}
    histories = [_history_of(plan, run) for run in plan.runs]
    steps = {run.path: states[run.path].steps or configured_steps(run) for run in plan.runs}
    notes = probe_notes(plan, histories) + accuracy_notes(plan, states) + unequal_step_counts(plan, steps)
    notes += comparison.losses
    comparison.save(notes)
    failed = [run for run in comparison.runs if states[run.path].status == "failed"]
    for run in failed:
        log = plan.out / run.path / "log.txt"
        say(f"\n{states[run.path].name} failed. The end of {log}:")
        for line in log_tail(log) or [str(states[run.path].error)]:
            say(f"  {line}")
    say(f"\n{plan.title}, {clock(seconds)}:")
    shown = [(run, history) for run, history in zip(plan.runs, histories, strict=True) if run.path in mine]
    for line in summary_lines(replace(plan, runs=tuple(run for run, _ in shown)), states, [each for _, each in shown]):
        say(f"  {line}")
    for line in step_count_lines(plan, steps):
        if not any(note.startswith(line) for note in notes):  # a note says it with what follows from it
            say(line)
    for note in notes:
        say(f"Note: {note}")
    left = [run for run in plan.runs if run.path not in mine and states[run.path].status != "finished"]
    if left:
        done = len(plan.runs) - len(left) - len(failed)
        say(f"{done} of {len(plan.runs)} runs are finished; `lightning-gw report {plan.out}` draws those that are.")
    elif any(histories):
        from lightning_gw.compare.showing.wandb import log_summary_run
        from lightning_gw.report import write_report

        page = write_report(plan.out)
        if told := log_summary_run(plan, comparison.wandb, page):
            say(told)
        say(f"Open {page.resolve().as_uri()}")
    else:
        say("No run left a history, so there is no page to open.")
    if failed:
        say(f"{len(failed)} of {len(comparison.runs)} runs failed; the same command tries them again.")
    return 1 if failed else 0
