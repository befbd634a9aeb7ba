"""Who may work on which run, and what comparison.json says when several are at work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from toy_comparison import write_toy

from lightning_gw.compare import folder
from lightning_gw.compare.executors.locks import Claims, LockedError, hold, is_held, lock_file
from lightning_gw.compare.folder import write_comparison
from lightning_gw.compare.plan import read_plan
from lightning_gw.utilities.errors import UsageError

RUNNING = {"status": "running", "error": None, "seconds": 1.0, "steps": 24}


def test_a_lock_is_held_by_one_and_free_once_closed(tmp_path: Path) -> None:
    file = lock_file(tmp_path, "fast/seed-0", "work")
    assert is_held(file) is False
    first = hold(file)
    assert first is not None
    assert is_held(file) is True
    with pytest.raises(LockedError):
        hold(file, patience=0.2)
    first.close()
    assert is_held(file) is False
    again = hold(file, patience=0)
    assert again is not None
    again.close()


def test_a_lock_lasts_as_long_as_a_child_keeps_it(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    stream = hold(file)
    assert stream is not None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(stream.fileno(),))
    stream.close()
    try:
        assert is_held(file) is True
    finally:
        child.kill()
        child.wait()
    assert is_held(file) is False


def test_two_comparisons_share_a_folder_but_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = Claims(tmp_path, ["fast/seed-0", "slow/seed-0"], "--out other")
    second = Claims(tmp_path, ["fast/seed-1"], "--out other")
    with pytest.raises(UsageError, match=r"at work on slow/seed-0 .* or give --out other"):
        Claims(tmp_path, ["slow/seed-1", "slow/seed-0"], "--out other")
    Claims(tmp_path, ["slow/seed-1"], "--out other").release()  # the one that was refused kept nothing
    first.release()
    Claims(tmp_path, ["slow/seed-0"], "--out other").release()
    second.release()
    assert "Waiting" not in capsys.readouterr().out


def test_a_run_that_outlived_its_comparison_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = hold(lock_file(tmp_path, "fast/seed-0", "work"))
    assert work is not None
    with pytest.raises(UsageError, match=r"fast/seed-0 .* still at work, though its comparison is gone"):
        Claims(tmp_path, ["fast/seed-0"], "", patience=0.3)
    assert "Waiting for the runs that are still at work" in capsys.readouterr().out
    work.close()
    Claims(tmp_path, ["fast/seed-0"], "", patience=0.3).release()


def test_whichever_process_writes_last_all_runs_stand_right(tmp_path: Path) -> None:
    plan = read_plan(write_toy(tmp_path, ["fast", "slow"], seeds=[0, 1]), out=tmp_path / "out")
    folder.claim(plan)

    def status() -> dict[str, tuple[str, str | None]]:
        content = json.loads((plan.out / "comparison.json").read_text())
        return {entry["path"]: (entry["status"], entry["error"]) for entry in content["runs"]}

    one = Claims(plan.out, ["fast/seed-0"], "")
    write_comparison(plan, {"fast/seed-0": RUNNING})
    two = Claims(plan.out, ["slow/seed-0", "slow/seed-1"], "")
    write_comparison(plan, {"slow/seed-0": RUNNING, "slow/seed-1": RUNNING | {"status": "failed", "error": "x"}})
    assert status() == {
        "fast/seed-0": ("running", None),
        "fast/seed-1": ("waiting", None),
        "slow/seed-0": ("running", None),
        "slow/seed-1": ("failed", "x"),
    }
    # The first ends well and says so only in the run's folder before it is killed; the second is killed at once.
    (plan.out / "fast/seed-0").mkdir(parents=True)
    folder.mark_finished(plan.out / "fast/seed-0", 3.5)
    one.release()
    two.release()
    entries = write_comparison(plan, {"fast/seed-1": RUNNING})
    assert status() == {
        "fast/seed-0": ("finished", None),
        "fast/seed-1": ("running", None),
        "slow/seed-0": ("waiting", None),
        "slow/seed-1": ("failed", "x"),
    }
    assert entries["fast/seed-0"]["seconds"] == 3.5
    assert {entry["steps"] for entry in entries.values()} == {24}
