"""Whole comparisons of a few seconds, in processes of their own: finished, failed, killed and taken up again."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from markupsafe import escape
from toy_comparison import assert_same_history, entries, run, start, wait_for, write_toy

from lightning_gw.cli import main
from lightning_gw.records.history import load_history

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A comparison of two good strategies and one that fails: its folder, exit code and output."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_toy(folder, ["fast", "broken", "slow"], planted=[1])
    code, output = run(folder, "compare", "compare.yaml", "--workers", "3")
    return folder, code, output


@pytest.mark.slow
def test_a_comparison_of_one_run_goes_from_its_config_to_its_page(tmp_path: Path) -> None:
    """What stands for all of a comparison in the first tier."""
    write_toy(tmp_path, ["fast"], planted=[1])
    code, output = run(tmp_path, "compare", "compare.yaml", "--workers", "1")
    assert code == 0, output
    (entry,) = entries(tmp_path / "out").values()
    assert (entry["status"], entry["error"]) == ("finished", None)
    place = tmp_path / "out" / str(entry["path"])
    history = load_history(place)
    assert [record.step for record in history] == [0, 4, 12, 24]
    line = next(line for line in output.splitlines() if line.startswith("  fast"))
    assert f"accuracy {history[-1].metrics['val/accuracy']:.3f}" in line
    assert list(place.glob("wandb/offline-run-*/*.wandb"))
    assert "<html" in (tmp_path / "out/report.html").read_text().lower()


@pytest.mark.slow
def test_one_failing_run_is_reported_and_takes_no_other_along(uninterrupted: tuple[Path, int, str]) -> None:
    folder, code, output = uninterrupted
    assert code == 1, output
    found = entries(folder / "out")
    assert {name: entry["status"] for name, entry in found.items()} == {
        "fast": "finished",
        "broken": "failed",
        "slow": "finished",
    }
    assert found["broken"]["error"] == "RuntimeError: the toy broke on purpose"
    assert found["fast"]["error"] is None
    assert "out/broken/seed-0/log.txt" in output
    assert "toy_net.py" in output, "the end of the log shows where"
    assert "1 of 3 runs failed" in output


@pytest.mark.slow
def test_a_misspelt_metric_is_said_at_the_end_and_on_the_page(
    uninterrupted: tuple[Path, int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(uninterrupted[0] / "out", tmp_path / "out", ignore=shutil.ignore_patterns("broken", "wandb"))
    file = write_toy(tmp_path, ["fast", "slow"], accuracy="val/acuracy")  # only what is shown: nothing runs again
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["compare", str(file)]) == 0
    said = "Metric 'val/acuracy' was never logged; logged was val/accuracy."
    assert f"Note: {said}" in capsys.readouterr().out
    assert escape(said) in (tmp_path / "out/report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_comparison_leaves_histories_page_and_answers(uninterrupted: tuple[Path, int, str]) -> None:
    folder, _, output = uninterrupted
    out = folder / "out"
    found = entries(out)
    assert found["fast"]["question"] == "What happens when the steps are large?"
    assert found["fast"]["planted"] == [1]
    assert found["fast"]["accuracy"] == "val/accuracy"
    assert 0 < float(str(found["fast"]["seconds"])) < 200
    for name in ("fast", "slow"):
        place = out / str(found[name]["path"])
        history = load_history(place)
        assert [record.step for record in history] == [0, 4, 12, 24]
        final = history[-1].metrics["val/accuracy"]
        line = next(line for line in output.splitlines() if line.startswith(f"  {name}"))
        assert f"accuracy {final:.3f}" in line
        assert history[-1].groups.strength == "none" or history[-1].groups.ranges() in line
        assert (place / "checkpoints/last.ckpt").exists()
        assert list(place.glob("wandb/offline-run-*/*.wandb")), "W&B keeps every run, offline by default"
        saved = yaml.safe_load((place / "config.yaml").read_text())
        assert saved["seed_everything"] == 0
        assert saved["model"]["init_args"]["lr"] == (0.1 if name == "fast" else 0.05)
        (wandb, _csv) = saved["trainer"]["logger"]
        assert wandb["init_args"]["group"] == "Toys"
        assert wandb["init_args"]["job_type"] == name
    assert f"Open {(out / 'report.html').resolve().as_uri()}" in output
    assert "<html" in (out / "report.html").read_text().lower()


@pytest.mark.slow
def test_the_command_in_a_runs_folder_repeats_it(
    uninterrupted: tuple[Path, int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = uninterrupted
    kept = folder / "out/fast/seed-0"
    place, line = (kept / "command.txt").read_text().splitlines()
    assert place == f"cd {folder}"
    words = shlex.split(line.split(" -m lightning_gw ")[1])
    assert "--seed_everything=0" in words
    # Into a folder of its own, by the same configs, without what would write into the first run's folder.
    config = yaml.safe_load((kept / "run.yaml").read_text())
    del config["trainer"]["callbacks+"]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    swapped = {"out/fast/seed-0/run.yaml": f"{tmp_path}/run.yaml", "--run_dir=out/fast/seed-0": f"--run_dir={tmp_path}"}
    assert set(swapped) <= set(words)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "toy_net", raising=False)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    assert main([*(swapped.get(word, word) for word in words), "--trainer.logger=false"]) == 0
    assert_same_history(tmp_path, kept)


@pytest.mark.slow
def test_a_killed_comparison_goes_on_and_ends_like_an_uninterrupted_one(
    uninterrupted: tuple[Path, int, str], tmp_path: Path
) -> None:
    write_toy(tmp_path, ["fast", "slow"], planted=[1])
    out, command = tmp_path / "out", ("compare", "compare.yaml", "--workers", "2", "--wandb", "disabled")
    slow = out / "slow/seed-0"
    first = start(tmp_path, *command)
    try:
        wait_for(lambda: (out / "fast/seed-0/finished.json").exists() or first.poll() is not None, "the end of `fast`")
        wait_for(lambda: len(list(slow.glob("checkpoints/last.ckpt"))) == 1, "a checkpoint of `slow`")
    finally:
        # The hardest way to go: only the comparison dies, and its run has to notice.
        os.kill(first.pid, signal.SIGKILL)
        first.communicate()
    assert not (slow / "finished.json").exists(), "`slow` was meant to be caught halfway"

    code, output = run(tmp_path, *command)
    assert code == 0, output
    log = (slow / "log.txt").read_text()
    assert "the comparison this run belongs to is gone" in log.lower()
    assert log.count("\n--- ") == 2
    assert "--ckpt_path=out/slow/seed-0/checkpoints/" in (slow / "command.txt").read_text()
    assert (out / "fast/seed-0/log.txt").read_text().count("\n--- ") == 1, "what is finished is kept"
    for name in ("fast", "slow"):
        assert_same_history(out / name / "seed-0", uninterrupted[0] / "out" / name / "seed-0", kills=1)
    assert {entry["status"] for entry in entries(out).values()} == {"finished"}


@pytest.mark.slow
def test_a_folder_of_another_config_is_refused(uninterrupted: tuple[Path, int, str]) -> None:
    folder, _, _ = uninterrupted
    before = (folder / "out/comparison.json").read_text()
    other = yaml.safe_load((folder / "compare.yaml").read_text())
    other["experiments"][0]["overrides"] = {"model.init_args.lr": 0.3}
    (folder / "other.yaml").write_text(yaml.safe_dump(other))
    code, output = run(folder, "compare", "other.yaml")
    assert code == 2
    assert "model.init_args.lr: not set → 0.3" in output
    assert "--out out-2" in output
    assert "Traceback" not in output
    assert (folder / "out/comparison.json").read_text() == before


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_stops_the_runs_in_order(tmp_path: Path, end: signal.Signals) -> None:
    write_toy(tmp_path, ["slow"])
    first = start(tmp_path, "compare", "compare.yaml", "--wandb", "disabled")
    wait_for(lambda: bool(list(tmp_path.glob("out/slow/seed-0/checkpoints/last.ckpt"))), "a checkpoint")
    first.send_signal(end)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "The same command goes on from here" in output
    assert entries(tmp_path / "out")["slow"]["status"] == "waiting"
    code, output = run(tmp_path, "compare", "compare.yaml", "--wandb", "disabled")
    assert code == 0, output
    assert "Waiting for the runs" not in output, "they were gone when the first command ended"
    assert [record.step for record in load_history(tmp_path / "out/slow/seed-0")] == [0, 4, 12, 24]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_again_and_again_the_numbers_are_the_same(uninterrupted: tuple[Path, int, str], tmp_path: Path) -> None:
    write_toy(tmp_path, ["fast", "slow"], planted=[1])
    command = ("compare", "compare.yaml", "--workers", "2", "--wandb", "disabled")
    pauses = np.random.default_rng(0).uniform(4, 25, size=10)
    for pause in pauses:
        process = start(tmp_path, *command)
        with_time = time.monotonic() + pause
        while process.poll() is None and time.monotonic() < with_time:
            time.sleep(0.1)
        process.kill()
        process.communicate()
    code, output = run(tmp_path, *command)
    assert code == 0, output
    for name in ("fast", "slow"):
        assert_same_history(tmp_path / "out" / name / "seed-0", uninterrupted[0] / "out" / name / "seed-0", kills=10)
