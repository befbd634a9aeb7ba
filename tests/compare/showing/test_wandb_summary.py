"""What Weights & Biases gets of a whole comparison, read back from what was really written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from report_folders import entry, save, write_comparison
from synthetic_runs import make_run
from wandb_file import OfflineRun

from lightning_gw.compare.plan import Plan, PlannedRun
from lightning_gw.compare.showing.wandb import (
    comparison_workspace,
    log_summary_run,
    save_workspace,
)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Two strategies, three seeds each, of one task; one more run has failed."""
    entries, runs = [], []
    for strategy in ("one", "two"):
        for seed in range(3):
            save(make_run(), tmp_path / "out" / strategy / f"seed-{seed}")
            entries.append(entry(strategy, seed))
            runs.append(PlannedRun(strategy, "algebra", seed, (), accuracy="val/accuracy"))
    entries.append(entry("two", 3, status="failed", error="it broke"))
    write_comparison(tmp_path / "out", entries, "Mine")
    return Plan("Mine", tmp_path / "out", tuple(runs), 1, {"project": "some-project"})


def table(run: OfflineRun, key: str) -> list[dict[str, Any]]:
    content = json.loads((run.folder / "files" / run.summary[f"{key}.path"]).read_text())
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


@pytest.mark.slow
def test_the_summary_run_holds_tables_pictures_and_the_answer(plan: Plan) -> None:
    page = plan.out / "report.html"
    page.write_text("<html></html>")
    assert log_summary_run(plan, "offline", page) is None
    run = OfflineRun.read(plan.out)
    runs = table(run, "algebra/runs")
    assert [(row["strategy"], row["seed"]) for row in runs] == [(s, k) for s in ("one", "two") for k in range(3)]
    assert {row["folder"] for row in runs} == {run_.path for run_ in plan.runs}
    strategies = table(run, "algebra/strategies")
    assert [row["runs"] for row in strategies] == [3, 3]
    assert strategies[0]["groups (1 where there are none)"] == runs[0]["groups"]
    shares = table(run, "algebra/boundaries")
    stood = {row["after layer"] for row in shares if row["strategy"] == "one" and row["share of runs"] == 1}
    assert ", ".join(map(str, sorted(stood))) == runs[0]["boundaries after layers"]
    assert {row["by"] for row in table(run, "algebra/pairs")} == {"groups", "matrices"}
    for name in ("timelines", "boundary_histograms", "mean_matrices", "differences"):
        picture = run.folder / "files" / run.summary[f"algebra/{name}.path"]
        assert picture.read_bytes().startswith(b"\x89PNG"), name
    assert "one" in run.summary["algebra/answer"]
    # Runs that are copies of each other differ in nothing.
    assert run.summary["algebra/groups/between"] == run.summary["algebra/groups/within"] == 0
    assert run.summary["algebra/groups/p"] == 1
    assert any(artifact.type == "gw-comparison" for artifact in run.artifacts)


@pytest.mark.slow
def test_it_is_logged_again_under_the_same_id(plan: Plan) -> None:
    for _ in range(2):
        assert log_summary_run(plan, "offline") is None
    ids = {folder.name.rsplit("-", 1)[1] for folder in (plan.out / "wandb").glob("offline-run-*")}
    assert len(ids) == 1


def test_disabled_logs_nothing_and_a_failure_is_a_sentence(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_summary_run(plan, "disabled") is None
    assert not (plan.out / "wandb").exists()
    monkeypatch.setattr("wandb.init", lambda **_: (_ for _ in ()).throw(ConnectionError("no such host")))
    assert log_summary_run(plan, "online") == (
        "The comparison's summary was not logged to W&B (ConnectionError: no such host)."
    )


def test_the_workspace_opens_on_the_timelines_of_the_comparisons_own_runs() -> None:
    pytest.importorskip("wandb_workspaces")
    workspace = comparison_workspace("me", "some-project", "Mine", {"algebra": ["val/accuracy"]})
    view = json.loads(workspace._to_model().model_dump_json(by_alias=True))
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    first = next(section for section in sections if section["isOpen"])
    assert first["panels"][0]["config"]["mediaKeys"] == ["gw/timeline"]
    text = json.dumps(view)
    for key in ("algebra/timelines", "algebra/differences", "gw/groups/count", "val/accuracy", "jobType"):
        assert f'"{key}"' in text, key
    assert '"Mine"' in json.dumps(view["spec"]["section"]["runSets"])


def test_a_workspace_that_cannot_be_saved_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert "pip install wandb-workspaces" in save_workspace("me", "some-project", "Mine", {})
