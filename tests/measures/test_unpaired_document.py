"""The examples of docs/unpaired.md run, and what the text says of them is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "unpaired.md"


def run(index: int) -> dict[str, Any]:
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    names: dict[str, Any] = {}
    exec(examples[index], names)
    return names


@pytest.mark.slow
def test_a_frozen_block_is_told_from_a_trained_one_on_other_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    matrix = run(0)["matrix"]
    assert matrix.debiased[0, 0] < matrix.resolution
    assert matrix.debiased[3, 3] > 2 * matrix.resolution
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "block.0 has not changed, as far as these inputs can tell"
    assert lines[3] == "block.3 has changed"


@pytest.mark.slow
def test_blocks_find_their_counterparts_across_vocabularies(capsys: pytest.CaptureFixture[str]) -> None:
    matrix = run(1)["matrix"]
    nearest = matrix.debiased.argmin(axis=1)
    assert set(nearest[:2]) <= {0, 1}
    assert set(nearest[2:]) <= {2, 3}
    assert "1–2 | 3–4" in capsys.readouterr().out
