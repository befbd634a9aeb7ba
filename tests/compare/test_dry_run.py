"""What a dry run says of a plan: its budgets, and from a short trial its time."""

from __future__ import annotations

import re
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_comparison import write_toy

from lightning_gw.cli import main
from lightning_gw.compare import dry_run
from lightning_gw.compare.dry_run import makespan
from lightning_gw.compare.optimizer_steps import configured_steps, step_count_lines, unequal_step_counts
from lightning_gw.compare.plan import Plan, PlannedRun, read_plan
from lightning_gw.compare.trial import Trial, TrialError

TRIAL = Trial("toy", 10, 100, 20.0, 0.5, 2.0, 4, None, 5.0, 0.1)


def steps_of(plan: Plan) -> dict[str, int | None]:
    return {run.path: configured_steps(run) for run in plan.runs}


def test_budgets_come_from_the_last_config_that_sets_them(tmp_path: Path) -> None:
    plan = read_plan(write_toy(tmp_path, ["fast", "slow"], seeds=[0, 1]))
    assert set(steps_of(plan).values()) == {24}
    (tmp_path / "strategies/slow.yaml").write_text("trainer: {max_steps: 48}\n")
    plan = read_plan(tmp_path / "compare.yaml")
    assert steps_of(plan) == {"fast/seed-0": 24, "fast/seed-1": 24, "slow/seed-0": 48, "slow/seed-1": 48}
    plan = read_plan(write_toy(tmp_path, ["fast"], overrides={"trainer.max_steps": 7}))
    assert steps_of(plan) == {"fast/seed-0": 7}
    for limit in ("max_epochs: 3", "max_time: '00:00:01:00'"):
        (tmp_path / "strategies/fast.yaml").write_text(f"trainer: {{{limit}}}\n")
        assert steps_of(read_plan(tmp_path / "compare.yaml")) == {"fast/seed-0": None}, "may end before its steps"


def test_equal_and_unequal_budgets_are_stated(tmp_path: Path) -> None:
    plan = read_plan(write_toy(tmp_path, ["fast", "slow"], seeds=[0, 1]))
    equal = dict.fromkeys((run.path for run in plan.runs), 24)
    assert step_count_lines(plan, equal) == ["Budget of toy: 24 optimizer steps each"]
    assert unequal_step_counts(plan, equal) == []
    unequal = equal | {"slow/seed-0": 48, "slow/seed-1": 48}
    said = "Budget of toy: 24 optimizer steps for fast, 48 optimizer steps for slow"
    assert step_count_lines(plan, unequal) == [said]
    assert unequal_step_counts(plan, unequal) == [f"{said}; what differs between these runs may be due to that."]
    assert "not known yet for slow" in step_count_lines(plan, equal | dict.fromkeys(("slow/seed-0", "slow/seed-1")))[0]
    assert "set by epochs or time" in step_count_lines(plan, dict.fromkeys(equal))[0]


def test_a_runs_time_is_the_sum_of_what_it_does() -> None:
    assert TRIAL.seconds() == 20 + 100 * 0.5 + 10 * 5 + 4 * 2
    assert TRIAL.seconds(200) == 20 + 200 * 0.5 + 20 * 5 + 4 * 2
    assert TRIAL.seconds(100, done=50) == 20 + 50 * 0.5 + 5 * 5 + 2 * 2
    few = Trial(*[*vars(TRIAL).values()][:7], share=0.05, validation=0.0, validations=0.0)
    assert few.seconds() == 20 + 50 + 2.5, "a share of the training time, where that is less than all looks take"
    assert Trial("toy", 10, None, *[*vars(TRIAL).values()][3:]).seconds() is None


def test_a_plan_lasts_until_its_last_worker_is_done() -> None:
    assert makespan([10, 10, 10, 10], 2) == 20
    assert makespan([30, 10, 10], 2) == 30
    assert makespan([10, 10, 30], 2) == 40, "in the order of the plan"
    assert makespan([5], 4) == 5


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_dry_run_tells_the_time_from_real_steps_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toy(tmp_path, ["slow"], seeds=[0, 1])
    before = sorted(file.name for file in tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["compare", "compare.yaml", "--dry-run", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "Budget of toy: 24 optimizer steps each" in said
    assert "slow, seed 0 (toy; new; 24 optimizer steps)" in said
    found = re.search(r"slow: ([\d.]+) s to start and end, ([\d.]+) s a step, .* s a look \((\d+) of them\); "
                      r"from a trial of 10 steps", said)  # fmt: skip
    assert found, said
    assert float(found[1]) > 0
    # Every step of `slow` sleeps a quarter of a second; looks and validations are not among them.
    assert 0.25 <= float(found[2]) < 1.5
    assert int(found[3]) == 3, "4, 12 and 24, after the one at the start"
    one = re.search(r"slow, seed 0 +about (\d+):(\d\d)", said)
    whole = re.search(r"the whole plan +about (\d+):(\d\d), 1 at a time", said)
    assert one, said
    assert whole, said
    one_seconds, whole_seconds = (int(time[1]) * 60 + int(time[2]) for time in (one, whole))
    assert one_seconds >= 24 * 0.25
    assert abs(whole_seconds - 2 * one_seconds) <= 1
    assert sorted(file.name for file in tmp_path.iterdir() if file.name != "__pycache__") == before


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_metric_that_no_run_logs_is_found_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = write_toy(tmp_path, ["fast", "slow"])
    plan.write_text(plan.read_text().replace("val/accuracy", "val/acuracy"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["compare", "compare.yaml", "--dry-run", "--workers", "2"]) == 1
    said = capsys.readouterr().out
    assert "accuracy of toy: Metric 'val/acuracy' was never logged; logged was val/accuracy." in said.replace("\n", " ")
    assert "with 2 of them at a time, as the runs will," in said


def test_a_metric_of_a_later_phase_is_no_misnamed_one_where_another_strategy_logs_it() -> None:
    """Greedy training logs its last stage when it comes to it, which is after the steps of a trial."""
    runs = [replace(PlannedRun(name, "toy", 0, ()), accuracy="val/accuracy_stage3") for name in ("greedy", "at once")]
    first, every = ("val/accuracy_stage1",), ("val/accuracy_stage1", "val/accuracy_stage3")
    tried = {"greedy": replace(TRIAL, logged=first), "at once": replace(TRIAL, logged=every)}
    assert dry_run._unlogged(runs, tried) == []
    assert "'val/accuracy_stage3' was never logged" in dry_run._unlogged(runs[:1], tried)[0]
    unseen = {"greedy": replace(TRIAL, logged=None)}
    assert "was not seen" in dry_run._unlogged(runs[:1], unseen)[0]


@pytest.mark.parametrize("at_a_time", [1, 2, 3])
def test_as_many_are_tried_at_a_time_as_will_run(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [PlannedRun(name, "toy", seed, ()) for seed in (0, 1) for name in ("a", "b")]
    beside, most, began = [0], [0], []
    lock = threading.Lock()

    def attempt(_: object, run: PlannedRun) -> Trial:
        with lock:
            beside[0] += 1
            most[0] = max(most[0], beside[0])
            began.append(run.strategy)
        time.sleep(0.2)
        with lock:
            beside[0] -= 1
        if run.strategy == "b":
            raise TrialError("it broke")
        return TRIAL

    monkeypatch.setattr(dry_run, "try_run", attempt)
    tried, failed = dry_run._try_strategies(SimpleNamespace(plan=None), runs, at_a_time)
    assert (tried, failed) == ({"a": TRIAL}, {"b": "it broke"})
    assert most[0] == at_a_time
    assert sorted(began) == ["a", *["a"] * (at_a_time == 3), "b"]


def test_without_a_trial_no_time_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toy(tmp_path, ["fast"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["compare", "compare.yaml", "--dry-run", "--no-trial"]) == 0
    said = capsys.readouterr().out
    assert "Budget of toy: 24 optimizer steps each" in said
    assert "Estimated" not in said
