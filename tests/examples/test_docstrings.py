"""What examples in docstrings must be; pytest itself runs them (`--doctest-modules`, `conftest.py` at the root)."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import lightning_gw

ROOT = Path(__file__).parents[2]
FILES = sorted(
    file
    for package in ("lightning_gw", "tasks")
    for file in (ROOT / package).rglob("*.py")
    if ">>> " in file.read_text(encoding="utf-8")
)


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_every_example_stands_where_doctest_looks_and_is_run(file: Path) -> None:
    module = importlib.import_module(module_of(file))
    assert module.__file__ is not None
    assert Path(module.__file__).samefile(file), "another copy of the package was imported"
    examples = [example for test in doctest.DocTestFinder().find(module) for example in test.examples]
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(examples) == sum(line.strip().startswith(">>> ") for line in lines)
    assert not any(doctest.SKIP in example.options for example in examples)


def test_every_public_name_has_an_example() -> None:
    public = {name: getattr(lightning_gw, name) for name in lightning_gw.__all__ if not name.startswith("__")}
    lacking = [name for name, value in public.items() if ">>> " not in (inspect.getdoc(value) or "")]
    assert lacking == []
