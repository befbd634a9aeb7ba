"""The examples run as a stranger would run them, and print and write what they promise."""

from __future__ import annotations

import base64
import os
import re
import runpy
import subprocess
import sys
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import lightning_gw as lgw
from lightning_gw.figures.objects import sentence_of

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PNG = b"\x89PNG"


def here(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The same as `run`, in this process, which has imported already what the example imports."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [str(EXAMPLES / name), "--out", str(folder / "out")])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return checked(capsys.readouterr().out, folder)


def run(name: str, folder: Path) -> str:
    """What the example prints when it is run in an empty folder, told to write to `folder` / "out"."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(EXAMPLES / name), "--out", str(folder / "out")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return checked(done.stdout, folder)


def checked(printed: str, folder: Path) -> str:
    """What an example printed, if it wrote nothing but `folder` / "out" and points to what is there."""
    assert [path.name for path in folder.iterdir()] == ["out"], "something was written elsewhere"
    assert "\nNext: " in printed
    for document in re.findall(r"(?:docs|examples)/[\w.-]+\.(?:md|py)", printed):
        assert (ROOT / document).is_file(), f"it points to {document}, which is not there"
    return printed


def test_the_matrix_without_lightning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = here("matrix_without_lightning.py", tmp_path, monkeypatch, capsys)
    rows = re.findall(r"^layer \d((?: +[01]\.\d\d){6})$", printed, re.MULTILINE)
    assert len(rows) == 6
    assert all(float(row.split()[place]) == 1 for place, row in enumerate(rows))
    assert "fall into 2 groups: 1–2 | 3–6 (weak)" in printed
    assert "the architecture itself takes a large step after layer 2." in printed
    assert "The largest step is from layer 2 to layer 3." in printed
    assert (tmp_path / "out/similarity.png").read_bytes().startswith(PNG)


@pytest.mark.slow
def test_two_models_that_saw_different_inputs(tmp_path: Path) -> None:
    printed = run("compare_two_models.py", tmp_path)
    assert printed.count("  early  ") == 3  # three tables
    assert "'late' of the first model is nearest to 'late' of the second." in printed
    assert "CKA cannot be computed" in printed
    assert (tmp_path / "out/layers_of_two_models.png").read_bytes().startswith(PNG)


@pytest.mark.slow
def test_attaching_to_a_training(tmp_path: Path) -> None:
    printed = run("attach_to_training.py", tmp_path)
    assert "7 looks, from step 0 to step 192." in printed
    pages = list((tmp_path / "out").rglob("report.html"))
    assert len(pages) == 1
    assert str(pages[0]) in printed
    history = lgw.load_history(pages[0].parent)
    assert f"What was found: {lgw.describe(history)}" in printed
    accuracy = float(re.findall(r"Held-out accuracy: kind ([01]\.\d\d)", printed)[0])
    assert accuracy > 0.8


@pytest.mark.slow
def test_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook: Any = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) == 5
    assert "%matplotlib" not in "".join(cell.source for cell in cells)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells), "stored outputs"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(tmp_path)}}).execute()
    history = lgw.load_history(tmp_path / "runs/examples/notebook")
    for cell, thing in ((cells[2], history), (cells[3], history[-1])):
        (shown, *_) = [output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {})]
        drawn = re.search(r'src="data:image/png;base64,([^"]+)"', shown)
        assert drawn is not None
        assert base64.b64decode(drawn[1]).startswith(PNG)
        assert escape(sentence_of(thing)) in shown
    assert history.to_dataframe()["val_acc_kind"].iloc[-1] > 0.8
    assert (tmp_path / "runs/examples/notebook/report.html").is_file()
