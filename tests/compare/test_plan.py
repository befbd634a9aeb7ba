"""What a comparison's config may say, and what it is told when it says something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_comparison import write_toy

from lightning_gw.compare.plan import read_plan
from lightning_gw.utilities.errors import UsageError

ROOT = Path(__file__).parents[2]


def complaint(file: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_plan(file)
    return str(caught.value)


def edit(file: Path, **changes: Any) -> Path:
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))
    return file


def test_every_strategy_meets_every_seed_and_finds_its_config(tmp_path: Path) -> None:
    own = {
        "name": "own",
        "config": "strategies/slow.yaml",
        "overrides": {"model.init_args.lr": 0.3},
        "question": "Is it?",
    }
    plan = read_plan(write_toy(tmp_path, ["fast", own], seeds=[3, 1], planted=[1], overrides={"trainer.max_steps": 8}))

    assert [run.path for run in plan.runs] == ["fast/seed-3", "fast/seed-1", "own/seed-3", "own/seed-1"]
    fast, changed = plan.runs[0], plan.runs[2]
    assert [config.name for config in fast.configs] == ["toy.yaml", "fast.yaml"]
    assert fast.question == "What happens when the steps are large?"
    assert fast.planted == (1,)
    assert fast.accuracy == "val/accuracy"
    assert fast.overrides == {"trainer.max_steps": 8}
    assert [config.name for config in changed.configs] == ["toy.yaml", "slow.yaml"]
    assert changed.overrides == {"trainer.max_steps": 8, "model.init_args.lr": 0.3}
    assert changed.question == "Is it?"
    assert plan.out == Path("out")


def test_a_strategy_may_be_overrides_alone(tmp_path: Path) -> None:
    plan = read_plan(
        write_toy(tmp_path, [{"name": "gentle", "config": None, "overrides": {"model.init_args.lr": 0.01}}])
    )
    assert [config.name for config in plan.runs[0].configs] == ["toy.yaml"]


@pytest.mark.parametrize(
    ("strategies", "experiment", "expected"),
    [
        (["fsat"], {}, "Near names: fast"),
        (["fast", "fast"], {}, "'fast' stands twice"),
        ([{"name": "fast", "overides": {}}], {}, "Near names: overrides"),
        ([{"name": "a/b"}], {}, "cannot hold a slash"),
        ([], {}, "at least one name"),
        (["fast"], {"seeds": [0, 1, 0]}, "repeat 0"),
        (["fast"], {"seeds": 3}, "should be a list"),
        (["fast"], {"seeds": [0.5]}, "whole numbers"),
        (["fast"], {"planted": [-1]}, "planted"),
        (["fast"], {"acuracy": "val/accuracy"}, "Near names: accuracy"),
        (["fast"], {"config": "toi.yaml"}, "toi.yaml does not exist. Near names: toy.yaml"),
    ],
)
def test_a_wrong_experiment_is_named(
    tmp_path: Path, strategies: list[Any], experiment: dict[str, Any], expected: str
) -> None:
    message = complaint(write_toy(tmp_path, strategies, **experiment))
    assert expected in message
    assert str(tmp_path) in message


def test_a_wrong_comparison_is_named(tmp_path: Path) -> None:
    file = write_toy(tmp_path, ["fast"])
    assert "Near names: title" in complaint(edit(file, titel="x"))
    file = write_toy(tmp_path, ["fast"])
    assert "threads should be a whole number" in complaint(edit(file, threads=0))
    assert "at least one experiment" in complaint(edit(write_toy(tmp_path, ["fast"]), experiments=[]))
    experiment = yaml.safe_load(write_toy(tmp_path, ["fast"]).read_text())["experiments"][0]
    twice = [experiment, experiment | {"task": "other", "seeds": [1]}]
    assert "in the experiments 'toy' and 'other'" in complaint(edit(file, experiments=twice))
    del experiment["seeds"]
    assert "lacks 'seeds'" in complaint(edit(file, experiments=[experiment]))


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    write_toy(tmp_path, ["fast"])
    assert "Near names: compare.yaml" in complaint(tmp_path / "comapre.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("title: [")
    assert f"{broken} is no valid YAML" in complaint(broken)
    broken.write_text("- a\n- b\n")
    assert "holds a list" in complaint(broken)


def test_the_demo_plans_both_tasks() -> None:
    plan = read_plan(ROOT / "configs/compare/demo.yaml")
    assert {run.task for run in plan.runs} == {"algebra", "language"}
    assert [run.strategy for run in plan.runs if run.task == "language"] == ["full", "freeze_lower", "train_lower"]
    assert all(run.question.endswith("?") for run in plan.runs), "each strategy says what it asks"
