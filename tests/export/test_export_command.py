"""`lightning-gw export`: what is written, what is said, and what is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic_runs import DRIFT, make_run

from lightning_gw.cli import main
from lightning_gw.records.history import History

NAMES = ("model.embed_tokens", *(f"model.layers.{k}" for k in range(8)))


def kept(config: dict[str, Any]) -> list[int]:
    ranges = [part["sources"][0]["layer_range"] for part in config["slices"]]
    return [layer for start, end in ranges for layer in range(start, end)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    history = History.open(tmp_path / "run/gw")
    for record in make_run(names=NAMES):
        history.append(record)
    return tmp_path / "run"


def test_the_command_writes_what_a_tool_loads(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", str(run), "--group", "last"]
    assert main([*arguments, "--for", "peft", "--targets", "q_proj"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["layers_to_transform"] == [5, 6, 7]
    assert said.err == "Group 3 of 3, layers 7–9 of 9, at step 350.\n"
    file = run / "config.yaml"
    assert main([*arguments, "--for", "mergekit", "--model", "some/model", "--out", str(file)]) == 0
    assert kept(yaml.safe_load(file.read_text())) == [0, 1, 2, 3, 4, 5]
    assert main(["export", str(run), "--for", "patterns", "--group", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [r"^model\.embed_tokens\..*", r"^model\.layers\.(?:0)\..*"]
    assert main([*arguments, "--for", "finetuning-scheduler", "--control", "5"]) == 0
    said = capsys.readouterr()
    assert list(yaml.safe_load(said.out)) == [0, 1, 2]
    assert "a random block (seed 5)" in said.err
    assert main(["export", str(run), "--for", "peft", "--group", "1"]) == 0
    assert "without model.embed_tokens, which has no index" in capsys.readouterr().err


def test_layers_that_were_not_looked_at_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = History.open(tmp_path / "run/gw")
    for record in make_run(names=tuple(f"model.layers.{k}" for k in (0, 1, 2, 3, 4, 5, 6, 8, 9))):
        history.append(record)
    assert main(["export", str(tmp_path / "run"), "--for", "peft", "--group", "last"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["layers_to_transform"] == [6, 8, 9]
    assert "model.layers.7 between them were not looked at" in said.err


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--for", "json", "--step", "40"], "Group 2 is not to be relied on: the groups of this look are weak"),
        (["--for", "json", "--step", "0"], "There is no group to act on"),
        (["--for", "json", "--step", "7"], "has no look at step 7; it has 0, 10"),
        (["--for", "mergekit"], "--for mergekit needs --model"),
        (["--for", "json", "--rank", "3"], "--rank is of --for peft"),
        (["--for", "json", "--group", "first"], "none of last, largest, changed-most"),
    ],
)
def test_the_command_refuses_in_a_sentence(
    run: Path, capsys: pytest.CaptureFixture[str], more: list[str], reason: str
) -> None:
    assert main(["export", str(run), *more]) == 2
    assert reason in capsys.readouterr().err


def test_a_run_without_groups_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = History.open(tmp_path / "run/gw")
    for record in make_run(DRIFT):
        history.append(record)
    assert main(["export", str(tmp_path / "run"), "--for", "json", "--anyway"]) == 2
    assert "only the whole network" in capsys.readouterr().err
