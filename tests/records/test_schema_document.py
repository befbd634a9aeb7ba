"""The documented schema is the one that is written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from example_records import example_record

from lightning_gw.records.history import History, load_history

DOCUMENT = Path(__file__).parents[2] / "docs" / "record-schema.md"


@pytest.fixture
def line(tmp_path: Path) -> dict:
    History.open(tmp_path / "runs" / "mine" / "gw").append(replace(example_record(10), logged_at=9))
    return json.loads((tmp_path / "runs" / "mine" / "gw" / "history.jsonl").read_text())


def _documented(heading: str) -> set[str]:
    """The names in the first column of the table that follows a heading or sentence."""
    table = DOCUMENT.read_text().split(heading, 1)[1].split("|\n\n", 1)[0]
    return set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE))


def test_every_key_of_a_line_is_documented(line: dict) -> None:
    assert _documented("## A line of `history.jsonl`") == set(line)
    assert _documented("A groups object:") == set(line["groups"])
    sentence = DOCUMENT.read_text().split("An event object:", 1)[1].split("\n\n", 1)[0]
    assert set(line["events"][0]) <= set(re.findall(r"`(\w+)`", sentence))


def test_every_matrix_is_documented() -> None:
    names = {re.sub("^measures/.*", "measures/<name>", name) for name in example_record(10).arrays()}
    assert _documented("## An array file") == names


@pytest.mark.usefixtures("line")
def test_the_example_without_this_library_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (example,) = [code for code in examples if "load_file(" in code]
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert capsys.readouterr().out == "10 [1, 2] (5, 5)\n"
    assert load_history("runs/mine")[-1].gw.distortion.shape == (5, 5)
