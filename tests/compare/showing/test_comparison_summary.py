"""What a comparison says at its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from snapshots import Snapshots
from toy_comparison import write_toy

from lightning_gw.compare.plan import Plan, read_plan
from lightning_gw.compare.showing.progress import RunState
from lightning_gw.compare.showing.summary import accuracy_notes, failure, log_tail, probe_notes, summary_lines


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return read_plan(write_toy(tmp_path, ["fast", "slow"]))


def look(summary: str = "no groups", growth: tuple[float, ...] = (), probe: str = "a" * 16) -> Any:
    strength = "none" if summary == "no groups" else "strong"
    return SimpleNamespace(
        groups=SimpleNamespace(strength=strength),
        layers=tuple(f"net.{name}" for name in ("stem", "mid", "late", "head")),
        growth=np.array(growth),
        probe={"hash": probe},
        summary=lambda: summary,
    )


def test_runs_say_their_groups_or_where_layers_moved_apart(plan: Plan, snapshots: Snapshots) -> None:
    fast = RunState("fast/seed-0", "fast", "toy", "finished", accuracy=0.5)
    slow = RunState("slow/seed-0", "slow", "toy", "finished", accuracy=0.25)
    states = {"fast/seed-0": fast, "slow/seed-0": slow}
    histories: list[Any] = [[look("1–2 | 3–4  strong")], [look(growth=(1.2, float("nan"), 2.5))]]
    lines = summary_lines(plan, states, histories)
    closer, still = [look(growth=(0.67, 0.9, 0.5))], [look(growth=(0.95, 1.0, 1.05))]
    assert summary_lines(plan, states, [closer, still])[0].endswith(
        "no groups; layers 3 (late) and 4 (head) moved closer most (distance ×0.50)"
    )
    assert summary_lines(plan, states, [closer, still])[1].endswith("no groups")
    states["fast/seed-0"] = replace(fast, accuracy=None, metrics=["val/acc", "train/loss"])
    states["slow/seed-0"] = replace(slow, status="failed", error="ValueError: no")
    without = summary_lines(plan, states, [None, None])
    assert "layers 3 (late) and 4 (head) moved apart most (distance ×2.50)" in lines[1]
    assert "failed" in without[1]
    snapshots.compare("summary", "\n".join([*lines, *without]))


def test_a_metric_that_no_run_logged_is_named_with_those_that_were(plan: Plan, snapshots: Snapshots) -> None:
    fast = RunState("fast/seed-0", "fast", "toy", "finished", metrics=["train/loss", "val/acc"])
    states = {"fast/seed-0": fast, "slow/seed-0": replace(fast, name="slow")}
    (said,) = accuracy_notes(plan, states)
    snapshots.compare("metric never logged", said)
    states["slow/seed-0"] = replace(fast, name="slow", metrics=["val/accuracy"])
    assert accuracy_notes(plan, states) == [f"fast: {said}"]
    states["fast/seed-0"] = replace(fast, status="failed")  # it may never have come to its first validation
    assert accuracy_notes(plan, states) == []


def test_runs_of_one_task_seen_through_different_probes_are_named(plan: Plan) -> None:
    same: list[Any] = [[look(probe="a" * 16)], [look(probe="a" * 16)]]
    assert probe_notes(plan, same) == []
    assert probe_notes(plan, [None, same[0]]) == []
    (note,) = probe_notes(plan, [same[0], [look(probe="b" * 16)]])
    assert "aaaaaaaa: fast/seed-0; bbbbbbbb: slow/seed-0" in note


def test_a_failure_is_told_in_the_last_words_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert failure(1, log) == "exit code 1"
    assert failure(-9, log) == "ended by signal 9, often for want of memory"
    log.write_text(
        "start\nTraceback (most recent call last):\n  File x\nmy.own.OddError: it: broke\n\x1b[34mwandb\x1b[0m: bye\n\n"
    )
    assert failure(1, log) == "my.own.OddError: it: broke"
    assert log_tail(log, 2) == ["  File x", "my.own.OddError: it: broke"]
    log.write_text("lightning-gw: extra.yaml: 'x' is no option\n")
    assert failure(2, log) == "extra.yaml: 'x' is no option"
    log.write_text("Segmentation fault\n")
    assert failure(139, log) == "Segmentation fault"
