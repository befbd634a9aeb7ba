"""Parts of a plan done by processes of their own, as a W&B sweep starts them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import wandb.wandb_agent
import yaml
from toy_comparison import run, start, wait_for, write_toy

from lightning_gw.cli import main
from lightning_gw.compare.executors.locks import is_held, lock_file
from lightning_gw.compare.plan import Plan, read_plan
from lightning_gw.compare.sweep import choose_runs, sweep_config, write_sweep
from lightning_gw.utilities.errors import UsageError

#: What W&B takes as the top level of a sweep's configuration, by its documentation.
_SWEEP_KEYS = {"name", "description", "project", "entity", "program", "method", "parameters", "command", "metric"}


def commands_of(sweep: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What W&B's own agent would start for every point of the sweep's grid."""
    started: list[list[str]] = []

    class Recorded:
        def __init__(self, command: list[str], **rest: object) -> None:
            started.append(command)

    monkeypatch.setattr(wandb.wandb_agent, "AgentProcess", Recorded)
    names = list(sweep["parameters"])
    for number, values in enumerate(product(*(sweep["parameters"][name]["values"] for name in names))):
        agent = wandb.wandb_agent.Agent(api=None, queue=None)
        agent._sweep_command = list(sweep["command"])
        agent._command_run(
            {
                "args": {name: {"value": value} for name, value in zip(names, values, strict=True)},
                "program": sweep["program"],
                "run_id": f"run{number}",
            }
        )
    return started


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return read_plan(write_toy(tmp_path, ["fast", "slow"], seeds=[0, 1]), out=tmp_path / "out")


@pytest.fixture(autouse=True)
def _like_an_agents_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent writes a folder `wandb` where it stands, and sets variables that end with it."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_runs_are_chosen_by_path_strategy_or_seed(plan: Plan) -> None:
    assert choose_runs(plan) is None
    assert choose_runs(plan, only=["slow/seed-1", "fast/seed-0"]) == ["fast/seed-0", "slow/seed-1"]
    assert choose_runs(plan, strategies=["slow"]) == ["slow/seed-0", "slow/seed-1"]
    assert choose_runs(plan, strategies=["slow"], seeds=[1]) == ["slow/seed-1"]
    assert choose_runs(plan, only=["fast/seed-0"], seeds=[1]) == ["fast/seed-0", "fast/seed-1", "slow/seed-1"]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"only": ["fast/seed-9"]}, "--only: the plan has no run 'fast/seed-9'. Near names: fast/seed-"),
        ({"strategies": ["fats"]}, "--strategy: the plan has no strategy 'fats'. Near names: fast."),
        ({"seeds": [7]}, "--seed: the plan has no seed '7'. There are: 0, 1."),
    ],
)
def test_an_unknown_run_is_refused_with_near_names(plan: Plan, chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        choose_runs(plan, **chosen)


@pytest.mark.slow
def test_a_full_grid_becomes_strategies_and_seeds(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_sweep(plan, Path("compare.yaml"), out=plan.out)
    assert file == Path("compare.sweep.yaml")
    text = file.read_text()
    heading = text.split("\nname:")[0]
    assert all(line.startswith("#") for line in heading.splitlines())
    for word in ("wandb sweep compare.sweep.yaml", "wandb agent", f"lightning-gw report {plan.out}", str(Path.cwd())):
        assert word in heading
    sweep = yaml.safe_load(text)
    assert set(sweep) <= _SWEEP_KEYS
    assert sweep["method"] == "grid"
    assert sweep["project"] == "lightning-gw"
    assert sweep["parameters"] == {"strategy": {"values": ["fast", "slow"]}, "seed": {"values": [0, 1]}}
    found = commands_of(sweep, monkeypatch)
    assert found[1] == [
        *("/usr/bin/env", "lightning-gw", "compare", "compare.yaml", "--out", str(plan.out)),
        *("--workers", "1", "--wandb", "online", "--strategy=fast", "--seed=1"),
    ]
    assert len(found) == 4


@pytest.mark.slow
def test_a_plan_that_is_no_grid_becomes_a_list_of_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_toy(tmp_path, ["fast"], seeds=[0, 1])
    content = yaml.safe_load(file.read_text())
    content["experiments"].append(content["experiments"][0] | {"task": "other", "strategies": ["slow"], "seeds": [5]})
    file.write_text(yaml.safe_dump(content))
    plan = read_plan(file)
    sweep = sweep_config(plan, file)
    assert sweep["parameters"] == {"only": {"values": ["fast/seed-0", "fast/seed-1", "slow/seed-5"]}}
    found = [words[-1] for words in commands_of(sweep, monkeypatch)]
    assert found == ["--only=fast/seed-0", "--only=fast/seed-1", "--only=slow/seed-5"]
    assert [choose_runs(plan, only=[word.removeprefix("--only=")]) for word in found] == [
        ["fast/seed-0"],
        ["fast/seed-1"],
        ["slow/seed-5"],
    ]


def test_a_file_that_is_no_sweep_is_not_written_over(plan: Plan, tmp_path: Path) -> None:
    write_sweep(plan, Path("compare.yaml"), tmp_path / "s.yaml")
    write_sweep(plan, Path("compare.yaml"), tmp_path / "s.yaml")
    before = (tmp_path / "toy.yaml").read_text()
    with pytest.raises(UsageError, match=r"is no sweep that this command wrote.*--sweep FILE"):
        write_sweep(plan, Path("compare.yaml"), tmp_path / "toy.yaml")
    assert (tmp_path / "toy.yaml").read_text() == before
    with pytest.raises(UsageError, match="cannot be written"):
        write_sweep(plan, Path("compare.yaml"), tmp_path / "no" / "s.yaml")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_of_a_sweep_do_the_whole_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two agents at a time on one folder; another process on a run that is being done is refused."""
    write_toy(tmp_path, ["fast", "slow"])
    assert main(["compare", "compare.yaml", "--sweep"]) == 0
    assert "Wrote compare.sweep.yaml" in capsys.readouterr().out
    sweep = yaml.safe_load((tmp_path / "compare.sweep.yaml").read_text())
    commands = commands_of(sweep, monkeypatch)
    shutil.rmtree(tmp_path / "wandb", ignore_errors=True)
    tails = [["disabled" if word == "online" else word for word in command[2:]] for command in commands]
    assert [tail[-2:] for tail in tails] == [["--strategy=fast", "--seed=0"], ["--strategy=slow", "--seed=0"]]

    agents = [start(tmp_path, *tail) for tail in tails]
    out = tmp_path / "out"
    try:
        claim = lock_file(out, "slow/seed-0", "claim")
        wait_for(lambda: bool(is_held(claim)) or agents[1].poll() is not None, "the second agent's claim")
        code, output = run(tmp_path, "compare", "compare.yaml", "--only", "slow/seed-0", "--wandb", "disabled")
        assert (code, "Another comparison is at work on slow/seed-0" in output) == (2, True), output
        said = [agent.communicate(timeout=300)[0] for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
    assert [agent.returncode for agent in agents] == [0, 0], said

    content = json.loads((out / "comparison.json").read_text())
    assert {entry["path"]: entry["status"] for entry in content["runs"]} == {
        "fast/seed-0": "finished",
        "slow/seed-0": "finished",
    }
    assert {entry["steps"] for entry in content["runs"]} == {24}
    # Whoever was last drew the page; the other said how to.
    assert sum("Open file:" in text for text in said) >= 1
    assert any("lightning-gw report out` draws" in text for text in said) or all("Open file:" in text for text in said)
    (out / "report.html").unlink()
    assert main(["report", "out"]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "fast/seed-0" in page
    assert "slow/seed-0" in page
