"""The page for newcomers holds files that can be used as they stand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from toy_comparison import run

PAGE = Path(__file__).parents[2] / "docs" / "comparing.md"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The files that the page shows, each under the name in its first line."""
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [name for name, _ in blocks] == ["my_training.py", "base.yaml", "compare.yaml"]
    for name, content in blocks:
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_the_comparison_on_the_page_is_a_plan(files: Path) -> None:
    code, output = run(files, "compare", "compare.yaml", "--dry-run", "--no-trial")
    assert code == 0, output
    assert "12 runs" in output
    assert "--model.init_args.weight_decay=1.0" in output


def test_every_option_the_page_names_exists(files: Path) -> None:
    output = "".join(run(files, command, "--help")[1] for command in ("compare", "report"))
    options = set(re.findall(r"--[a-z][a-z-]+", PAGE.read_text(encoding="utf-8")))
    assert {"--executor", "--sweep", "--only", "--wandb"} <= options
    for option in options:
        assert option in output, option


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_comparison_on_the_page_runs_to_its_answer(files: Path) -> None:
    pytest.importorskip("sklearn")
    plan, found = re.subn(r"seeds: \[.*\]", "seeds: [0, 1]", (files / "compare.yaml").read_text())
    assert found == 1
    (files / "compare.yaml").write_text(plan)
    code, output = run(files, "compare", "compare.yaml", "--wandb", "disabled", timeout=800)
    assert code == 0, output
    runs = json.loads((files / "runs/decay/comparison.json").read_text())["runs"]
    assert {entry["status"] for entry in runs} == {"finished"}
    page = (files / "runs/decay/report.html").read_text(encoding="utf-8")
    assert "No difference found. With two seeds this test cannot reach p below 0.5." in page
