"""The folder of a comparison on disk: whose it is, what is finished, where a run can go on.

``plan.json`` holds what every run was made from, so that a folder made by another config is recognised.
``finished.json`` in a run's folder says that the run ended well.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_gw.compare.executors.locks import LOCKS_FOLDER, alone, is_held, lock_file
from lightning_gw.compare.optimizer_steps import configured_steps
from lightning_gw.compare.plan import Plan, PlannedRun
from lightning_gw.utilities.errors import UsageError
from lightning_gw.utilities.storage.files import read_text, write_whole

PLAN_SCHEMA = 1
_PLAN_FILE = "plan.json"
_FINISHED_FILE = "finished.json"
#: Most lines of difference worth printing between two configs.
_LINES_SHOWN = 12


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_whole(file, json.dumps(content, indent=2, allow_nan=False).encode() + b"\n")


def read_json(file: Path) -> dict[str, Any] | None:
    """A JSON file's mapping, or None where there is no such file or it is damaged."""
    try:
        content = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def check_owner(plan: Plan) -> None:
    """Make sure that `plan.out` is new or this plan's folder.

    New runs may join, and runs that left neither a result nor a checkpoint may change: they start over anyway. All
    others must have been made from the same configs.

    Raises:
        UsageError: If the folder holds something else; the message shows the difference and offers another folder.
    """
    other = f"--out {free_folder(plan.out)}"
    if plan.out.exists() and not plan.out.is_dir():
        raise UsageError(f"{plan.out} is a file, where a folder is needed. Give another one: {other}")
    file = plan.out / _PLAN_FILE
    if not file.exists():
        if plan.out.exists() and any(found.name != LOCKS_FOLDER for found in plan.out.iterdir()):
            raise UsageError(f"{plan.out} is not empty and holds no comparison. Give another folder: {other}")
        return
    held = read_json(file)
    if held is None or not isinstance(held.get("runs"), dict):
        raise UsageError(f"{file} is damaged, so it cannot be told what is in {plan.out}. Give another folder: {other}")
    kept = {path: run for path, run in held["runs"].items() if _left_something(plan.out / path)}
    if difference := list(_difference(kept, _identities(plan))):
        shown = difference[:_LINES_SHOWN]
        if len(difference) > len(shown):
            shown.append(f"… and {len(difference) - len(shown)} more")
        lines = "\n  ".join(shown)
        raise UsageError(
            f"{plan.out} was made by another config. There → now:\n  {lines}\n"
            f"To keep it and start anew, give another folder: {other}"
        )


def claim(plan: Plan) -> Path:
    """Write down in `plan.out` what its runs are made from; `check_owner` comes first.

    Returns:
        The file, which stays as it is where it says so already: others may be reading it.
    """
    file = plan.out / _PLAN_FILE
    content = {"schema": PLAN_SCHEMA, "title": plan.title, "runs": _identities(plan)}
    with alone(plan.out):
        if read_json(file) != content:
            write_json(file, content)
    return file


def _identities(plan: Plan) -> dict[str, Any]:
    """What each run is made from, as it comes back from JSON."""
    return {run.path: json.loads(json.dumps(run.identity(), default=str)) for run in plan.runs}


def _left_something(run: Path) -> bool:
    return finished_seconds(run) is not None or last_checkpoint(run) is not None


def _difference(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two sets of runs, each change named once however many seeds share it."""
    told: set[str] = set()
    for path, old in held.items():
        if path not in wanted:
            yield f"{path}: in the folder, no longer in the config"
            continue
        before, after = _flat(old), _flat(wanted[path])
        for key in [*before, *(key for key in after if key not in before)]:
            if before.get(key) != after.get(key):
                file, option = key
                change = f"{option}: {before.get(key, 'not set')} → {after.get(key, 'not set')}"
                # The experiment's own config differs in the same way for every strategy.
                line = f"{file}: {change}" if file.startswith("1. ") else f"{path.split('/')[0]}, {file}: {change}"
                line = line.replace("1. ", "", 1).replace("2. ", "", 1)
                if line not in told:
                    told.add(line)
                    yield line


def _flat(identity: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """The value of every option in JSON, by the file that sets it and its dotted name."""
    flat = {("task", "task"): str(identity["task"])}
    for file, content in [*identity["configs"].items(), ("overrides", identity["overrides"])]:
        flat |= {(file, option): json.dumps(value) for option, value in _options(content)}
    flat.pop(("overrides", ""), None)  # there are none
    return flat


def _options(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _options(value, f"{name}.{key}" if name else key)
    elif isinstance(node, list) and node:
        for index, value in enumerate(node):
            yield from _options(value, f"{name}[{index}]")
    else:
        yield name, node


def free_folder(folder: Path) -> Path:
    """The first of ``folder-2``, ``folder-3``, ... that does not exist."""
    number = 2
    while (candidate := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return candidate


def finished_seconds(folder: Path) -> float | None:
    """How long a finished run took, all attempts together; None for one that is not finished."""
    content = read_json(folder / _FINISHED_FILE)
    return None if content is None else float(content["seconds"])


def mark_finished(folder: Path, seconds: float) -> None:
    """Say that a run ended well after `seconds`."""
    write_json(folder / _FINISHED_FILE, {"seconds": round(seconds, 2), "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")})


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a run's folder; a checkpoint cut short by a crash is passed over."""
    # A link whose target is gone (`save_last: link`, killed between the two) does not exist.
    found = [file for file in folder.rglob("*.ckpt") if file.exists()]
    checkpoints = sorted(found, key=lambda file: file.stat().st_mtime_ns, reverse=True)
    # torch.save writes a zip archive, whose directory comes last: a part of one is no zip.
    return next((file for file in checkpoints if zipfile.is_zipfile(file)), None)


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
        notes: What a reader must know, in sentences; None keeps what is there.

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
    """How a run stands that another process may have to do, which may have been killed since it wrote `held`."""
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
