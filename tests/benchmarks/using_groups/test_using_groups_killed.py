"""A study that is killed goes on where it was, and measures the same as one that was not."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the study needs the extra `tasks`")

from tiny_study import found_in, tiny_options, write_study

from benchmarks.using_groups.__main__ import main
from benchmarks.using_groups.job import measure
from benchmarks.using_groups.measurements import FILE, read_rows
from benchmarks.using_groups.plan import read_plan
from benchmarks.using_groups.workers import StudyError, run_jobs
from lightning_gw.utilities.storage.json_values import to_json

ROOT = Path(__file__).parents[3]


def workers_of(parent: int) -> list[int]:
    """Processes that a process spawned to work, from what Linux tells of them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if above == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def alive(process: int) -> bool:
    """Whether a process runs still; what is dead and not yet fetched by its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs Linux's list of processes")
def test_a_killed_study_goes_on_where_it_was(tmp_path: Path) -> None:
    small = tiny_options(removal={"layers": [1], "heal": 2, "draws": 1}, fine_tuning=None, freezing=None)
    config = write_study(tmp_path, [0], tiny=small)
    plan, arguments = read_plan(config), [f"--config={config}", "--workers=1"]
    first = subprocess.Popen([sys.executable, "-m", "benchmarks.using_groups", *arguments], cwd=ROOT)
    while len(read_rows(plan.out)) < 2 and first.poll() is None:
        time.sleep(0.02)
    (worker,) = workers_of(first.pid)
    first.send_signal(signal.SIGKILL)
    first.wait()
    deadline = time.monotonic() + 30
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)  # or it would be at work in the folders of the next one
    before = read_rows(plan.out)
    assert 2 <= len(before) < len(plan.networks["tiny"].cases())
    with (plan.out / FILE).open("ab") as file:
        file.write(b'{"network": "ti')
    main(arguments)
    rows = read_rows(plan.out)
    assert rows[: len(before)] == before
    cases = [row["case"] for row in rows]
    assert sorted(cases) == sorted(plan.networks["tiny"].cases())  # what the orphaned worker went on with is nowhere
    main(arguments)
    assert read_rows(plan.out) == rows
    whole: list[dict[str, Any]] = []
    measure(plan.networks["tiny"], 0, tmp_path / "whole", cases, lambda row: whole.append(dict(row)))
    assert [found_in(dict(row)) for row in rows] == [found_in(to_json(row)) for row in whole]


@pytest.mark.slow
def test_what_fails_in_a_worker_is_told_and_what_was_measured_stays(tmp_path: Path) -> None:
    plan = read_plan(write_study(tmp_path, [0], tiny=tiny_options(accuracy="val/nothing", removal=None)))
    rows: list[object] = []
    with pytest.raises(StudyError, match=r"(?s)tiny, seed 0:.*KeyError: 'val/nothing'"):
        run_jobs([(plan.networks["tiny"], 0, ("look",))], tmp_path / "out", 2, rows.append)
    assert rows == []
