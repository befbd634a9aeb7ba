"""A study that is killed goes on where it was, and measures the same as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the study needs the extra `tasks`")

from tiny_study import found_in, tiny_options, write_study

from benchmarks.using_groups.measurements import FILE, read_rows
from benchmarks.using_groups.plan import read_plan
from benchmarks.using_groups.workers import StudyError, run_jobs

ROOT = Path(__file__).parents[2]


def study(config: Path, out: Path, workers: int = 1) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.using_groups", f"--config={config}", f"--out={out}"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*command, f"--workers={workers}"], cwd=ROOT, env=os.environ, **quiet)  # type: ignore[call-overload, no-any-return]


@pytest.mark.slow
def test_a_killed_study_goes_on_where_it_was(tmp_path: Path) -> None:
    small = tiny_options(removal={"layers": [1, 3], "heal": 2, "draws": 1}, fine_tuning=None)
    config = write_study(tmp_path, [0, 1], tiny=small)
    plan = read_plan(config)
    first = study(config, tmp_path / "killed")
    deadline = time.monotonic() + 200
    while len(read_rows(tmp_path / "killed")) < 3 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = read_rows(tmp_path / "killed")
    assert 3 <= len(before) < 2 * len(plan.networks["tiny"].cases())
    with (tmp_path / "killed" / FILE).open("ab") as file:
        file.write(b'{"network": "ti')
    second = study(config, tmp_path / "killed", workers=2)
    said, _ = second.communicate(timeout=280)
    assert second.returncode == 0, said.decode()
    rows = read_rows(tmp_path / "killed")
    assert rows[: len(before)] == before
    keys = [(row["seed"], row["case"]) for row in rows]
    assert len(set(keys)) == len(keys)  # whatever the orphaned worker went on with is nowhere
    assert plan.missing(rows) == {}
    third = study(config, tmp_path / "killed")
    said, _ = third.communicate(timeout=200)
    assert b"Nothing is missing" in said
    whole = study(config, tmp_path / "whole", workers=2)
    assert whole.communicate(timeout=280)[1] is None
    expected = {(row["seed"], row["case"]): found_in(dict(row)) for row in read_rows(tmp_path / "whole")}
    assert {(row["seed"], row["case"]): found_in(dict(row)) for row in rows} == expected


@pytest.mark.slow
def test_what_fails_in_a_worker_is_told_and_what_was_measured_stays(tmp_path: Path) -> None:
    plan = read_plan(write_study(tmp_path, [0], tiny=tiny_options(accuracy="val/nothing", removal=None)))
    rows: list[object] = []
    with pytest.raises(StudyError, match=r"(?s)tiny, seed 0:.*KeyError: 'val/nothing'"):
        run_jobs([(plan.networks["tiny"], 0, ("look",))], tmp_path / "out", 2, rows.append)
    assert rows == []
