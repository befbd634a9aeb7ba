"""The page of results, from a comparison and a study that were made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip("transformers", reason="what the study is stated in needs the extra `tasks`")

import make_results
from comparison_pages import make_comparison
from study_rows import freezings, looks, removals, tunings
from synthetic_findings import finding

from benchmarks.using_groups.plan import CONFIG, read_plan
from lightning_gw.statistics import compare_strategies

STEPS = ([0.1, 0.1, 0.8, 0.1, 0.1, 0.1, 0.9, 0.1], [0.3, 0.32, 0.34, 0.37, 0.41, 0.46, 0.52, 0.6])


def made_up(folder: Path) -> list[str]:
    """Arguments of the script for a folder with a comparison and a study."""
    options = {
        "config": str(CONFIG.parents[1] / "algebra.yaml"),
        "accuracy": "val/accuracy_stage3",
        "removal": {"layers": [1, 3], "heal": 2, "draws": 1},
        "fine_tuning": {"steps": 4},
        "freezing": {"steps": 4, "every": 1},
    }
    study = folder / "study.yaml"
    study.write_text(yaml.safe_dump({"out": "unused", "seeds": [*range(5)], "networks": dict.fromkeys("ab", options)}))
    settings = read_plan(study).networks["a"].settings, read_plan(study).networks["b"].settings
    lost = {"interiors": 0.02, "boundaries": 0.1, "cka": 0.03, "cosine": 0.03, "random": 0.08}
    found = {
        (row["network"], row["seed"], row["case"]): row
        for row in (
            *removals(lambda rule, when, seed: lost[rule]),
            *tunings(lambda arm, seed: 0.8),
            *freezings(lambda what, seed: (0.9, 7.0 if what != "nothing" else 10.0)),
            *looks(*STEPS),
        )
    }
    names = {"one": ("a", settings[0]), "two": ("b", settings[1])}
    lines = [
        json.dumps({**row, "network": names[name][0], "settings": names[name][1]}) for (name, *_), row in found.items()
    ]
    (folder / "measured").mkdir()
    (folder / "measured/measurements.jsonl").write_text("\n".join(lines) + "\n")
    runs = make_comparison(folder / "runs", seeds=3)
    return [f"--runs={runs}", f"--study={study}", f"--study-runs={folder / 'measured'}", f"--docs={folder / 'docs'}"]


@pytest.mark.slow
def test_the_page_begins_with_one_table_of_all_claims(tmp_path: Path) -> None:
    make_results.main(made_up(tmp_path))
    page = (tmp_path / "docs/results.md").read_text("utf-8")
    lines = page.splitlines()
    assert lines[0] == "# What became of the claims"
    assert lines[2] == "| claim | of the paper's version | verdict | effect (95 % interval) | held against |"
    table = lines[4 : lines.index("", 4)]
    assert [line.split(" | ")[1] for line in table[-4:]] == ["later (2025)"] * 3 + ["this project"]
    assert [line.split(" | ")[2] for line in table[-4:]] == [
        "**found**",
        "**found**",
        "**not found**",
        "**found, with a condition: random layers could be frozen as well**",
    ]
    assert all("unknown" not in line.split(" | ")[3] for line in table[-4:])
    assert lines[lines.index("", 4) + 1] == "What these verdicts cannot say:"
    assert "of `configs/studies/using_groups.yaml` on 2 networks with 5 seeds" in page.replace("\n", " ")
    for name in ("removal", "fine-tuning", "freezing"):
        assert f"pictures/results-{name}.png" in page
        assert (tmp_path / f"docs/pictures/results-{name}.png").stat().st_size > 5000


def test_a_study_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    arguments = made_up(tmp_path)
    file = tmp_path / "measured/measurements.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if '"freezing/nothing"' not in line) + "\n")
    with pytest.raises(SystemExit, match="10 measurements are missing, such as a, seed 0: freezing/nothing"):
        make_results.read(arguments)


def test_a_strategy_without_groups_did_not_fail_to_settle() -> None:
    def told(*converged: int | None, boundaries: tuple[int, ...] = (2,)) -> str:
        runs = [finding("a", seed, boundaries, converged=step) for seed, step in enumerate(converged)]
        return make_results.settled_at(compare_strategies(runs, "task").strategies[0])

    assert told(100, 100).startswith("100")
    assert told(None, None) == "not yet"
    assert told(None, None, boundaries=()) == "no groups"
