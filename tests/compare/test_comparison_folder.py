"""Whose a folder is, who is at work in it, and where a run can go on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from toy_comparison import write_toy

from lightning_gw.compare import folder
from lightning_gw.compare.executors.locks import Claims
from lightning_gw.compare.plan import Plan, read_plan
from lightning_gw.utilities.errors import UsageError


def plan_of(tmp_path: Path, *strategies: object, **experiment: object) -> Plan:
    return read_plan(write_toy(tmp_path, list(strategies), **experiment), out=tmp_path / "out")


def finish(plan: Plan) -> Plan:
    """As if all runs of a plan had ended well."""
    folder.check_owner(plan)
    for run in plan.runs:
        (plan.out / run.path).mkdir(parents=True, exist_ok=True)
        folder.mark_finished(plan.out / run.path, 1.5)
    folder.claim(plan)
    return plan


def refusal(plan: Plan) -> str:
    with pytest.raises(UsageError) as caught:
        folder.check_owner(plan)
    return str(caught.value)


def test_the_same_config_and_a_longer_one_may_go_on(tmp_path: Path) -> None:
    finish(plan_of(tmp_path, "fast"))
    folder.check_owner(plan_of(tmp_path, "fast"))
    folder.check_owner(plan_of(tmp_path, "fast", "slow", seeds=[0, 1]))
    folder.check_owner(plan_of(tmp_path, "fast", accuracy="val/other", planted=[1]))  # only what is shown


def test_another_config_is_refused_with_the_difference_and_a_free_folder(tmp_path: Path) -> None:
    finish(plan_of(tmp_path, "fast", "slow"))
    (tmp_path / "out-2").mkdir()
    message = refusal(plan_of(tmp_path, "fast", "slow", overrides={"trainer.max_steps": 8}))
    assert "fast, overrides: trainer.max_steps: not set → 8" in message
    assert f"--out {tmp_path / 'out-3'}" in message

    strategy = tmp_path / "strategies/fast.yaml"
    plan = plan_of(tmp_path, "fast")
    strategy.write_text("model: {init_args: {lr: 0.2}}\n")
    message = refusal(plan)
    assert "fast, fast.yaml: model.init_args.lr: 0.1 → 0.2" in message
    assert "slow/seed-0: in the folder, no longer in the config" in message


def test_a_run_that_left_nothing_may_change(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "fast")
    Claims(plan.out, ["fast/seed-0"], "").release()
    folder.check_owner(plan)  # locks alone do not make a folder another's
    folder.claim(plan)
    changed = plan_of(tmp_path, "fast", overrides={"trainer.max_steps": 8})
    folder.check_owner(changed)
    torch.save({}, plan.out / "at.ckpt")
    (plan.out / "fast/seed-0").mkdir(parents=True)
    torch.save({}, plan.out / "fast/seed-0/at.ckpt")
    assert "trainer.max_steps" in refusal(changed)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "fast")
    plan.out.mkdir()
    (plan.out / "thesis.tex").touch()
    assert "holds no comparison" in refusal(plan)
    (plan.out / "plan.json").write_text('{"runs":')
    assert "damaged" in refusal(plan)
    assert "is a file" in refusal(read_plan(tmp_path / "compare.yaml", out=tmp_path / "toy.yaml"))
    with pytest.raises(UsageError, match="cannot be written"):
        Claims(tmp_path / "toy.yaml" / "below", ["fast/seed-0"], "")


def test_a_run_goes_on_from_its_newest_whole_checkpoint(tmp_path: Path) -> None:
    assert folder.last_checkpoint(tmp_path) is None
    for name, age in (("old.ckpt", 30), ("new.ckpt", 20), ("cut.ckpt", 10)):
        torch.save({"weights": torch.zeros(100)}, tmp_path / name)
        now = (tmp_path / name).stat().st_mtime
        os.utime(tmp_path / name, (now - age, now - age))
    whole = (tmp_path / "cut.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "last.ckpt").symlink_to(tmp_path / "gone.ckpt")
    assert folder.last_checkpoint(tmp_path) == tmp_path / "new.ckpt"
