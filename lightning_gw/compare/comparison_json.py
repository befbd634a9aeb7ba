"""``comparison.json``: how every run of a comparison stands, right whichever of several processes wrote it last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_gw.compare.budget import configured_steps
from lightning_gw.compare.executors.locks import alone, is_held, lock_file
from lightning_gw.compare.folder import finished_seconds, read_json, write_json
from lightning_gw.compare.plan import Plan, PlannedRun

COMPARISON_SCHEMA = 1
COMPARISON_FILE = "comparison.json"


def write_comparison(
    plan: Plan, states: Mapping[str, Mapping[str, Any]], notes: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Write ``comparison.json``.

    Args:
        plan: The plan.
        states: Path of every run that the caller has to do → its ``status``, ``error``, ``seconds`` and ``steps``. How
            the others stand is read from the disk: another process may have them to do.
        notes: What a reader of the whole comparison must know, in sentences; None keeps what is there.

    Returns:
        Path of every run of the plan → its entry.
    """
    file = plan.out / COMPARISON_FILE
    with alone(plan.out):
        held = read_json(file) or {}
        entries = {
            run.path: _entry(run) | (dict(states[run.path]) if run.path in states else read_state(plan, run, held))
            for run in plan.runs
        }
        write_json(
            file,
            {
                "schema": COMPARISON_SCHEMA,
                "title": plan.title,
                "notes": list(held.get("notes", []) if notes is None else notes),
                "runs": list(entries.values()),
            },
        )
    return entries


def read_state(plan: Plan, run: PlannedRun, held: Mapping[str, Any]) -> dict[str, Any]:
    """How a run stands that another process may have to do.

    Args:
        plan: The plan.
        run: One of its runs.
        held: Content of ``comparison.json``, which a process that was killed may have left behind.
    """
    entry: Mapping[str, Any] = next((entry for entry in held.get("runs", []) if entry.get("path") == run.path), {})
    state = {key: entry[key] for key in ("status", "error", "seconds", "steps") if entry.get(key) is not None}
    seconds = finished_seconds(plan.out / run.path)
    if seconds is not None:
        return state | {"status": "finished", "error": None, "seconds": seconds}
    alive = is_held(lock_file(plan.out, run.path, "claim")) is not False
    if state.get("status") == "finished" or (state.get("status") == "running" and not alive):
        state["status"] = "waiting"
    return state


def _entry(run: PlannedRun) -> dict[str, Any]:
    return {
        "strategy": run.strategy,
        "task": run.task,
        "seed": run.seed,
        "path": run.path,
        "status": "waiting",
        "error": None,
        "question": run.question,
        "planted": None if run.planted is None else list(run.planted),
        "accuracy": run.accuracy,
        "seconds": None,
        "steps": configured_steps(run),
    }


def comparison_file(out: Path) -> Path:
    """Where a comparison says how its runs stand."""
    return out / COMPARISON_FILE
