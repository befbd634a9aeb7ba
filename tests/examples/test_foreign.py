"""The referee of foreign projects, as far as it can be tried without them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOREIGN = ROOT / "examples" / "foreign"


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a file of `examples/foreign` by its name."""
    monkeypatch.syspath_prepend(FOREIGN)
    return importlib.import_module


def test_configurations_are_found_without_their_projects(foreign: Any) -> None:
    every = foreign("registry").configurations()
    assert len({one.key for one in every}) == len(every)
    assert len({one.project for one in every}) >= 22
    assert {"torchgeo", "darts", "scvi-tools", "lightly", "timm", "transformers", "torch-geometric"} <= {
        one.project for one in every
    }


def test_the_document_is_what_the_results_give(foreign: Any) -> None:
    results = json.loads((FOREIGN / "results.json").read_text())
    written = foreign("table").document(foreign("registry").configurations(), results)
    assert (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8") == written
    assert not [key for key, result in results.items() if result.get("different") or result.get("error")]


def test_what_went_wrong_is_told_apart(foreign: Any) -> None:
    one = foreign("registry").configurations()[0]
    looked = {"version": "1", "plain": 1.0, "spent": 2.0, "looks": 3, "layers": ["a", "b"], "probe": {"size": 8}}
    for result, words in (
        ({"broken": "it is not installed"}, "Not trained here"),
        ({"version": "1", "plain": 1.0, "error": "ValueError: no"}, "**ended**"),
        ({**looked, "different": ["weight"]}, "**no**: 1 values"),
        ({**looked, "different": [], "unrepeatable": ["weight"]}, "as far as it repeats itself"),
        ({**looked, "different": []}, "| yes | none |"),
    ):
        assert words in foreign("table").document([one], {one.key: result})
    remedied = {**looked, "argument": {"probe_step": "training_step"}, "different": []}
    refused = {
        "version": "1",
        "plain": 1.0,
        "looks": 0,
        "different": [],
        "messages": ["none."],
        "with_remedy": remedied,
    }
    text = foreign("table").document([one], {one.key: refused})
    assert "`probe_step='training_step'` |" in text
    assert "none. It does." in text


def test_the_argument_that_a_message_names_is_the_one_tried(foreign: Any) -> None:
    named = foreign("trial").named_remedy
    assert named(["It could not. This works: GWSimilarity(probe_step='training_step')"]) == {
        "probe_step": "training_step"
    }
    assert named(["Nothing works."]) == {}
