"""Every example in a docstring is run, and every public name has one.

Modules without an example are not imported, so that finding the examples costs nothing.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import warnings
from pathlib import Path
from types import ModuleType

import pytest

import lightning_gw

ROOT = Path(__file__).parents[2]
FILES = sorted(
    file
    for package in ("lightning_gw", "tasks")
    for file in (ROOT / package).rglob("*.py")
    if ">>> " in file.read_text()
)


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def examples_of(module: ModuleType) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_examples_in_docstrings_are_true(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = module_of(file)
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).samefile(file), "another copy of the package was imported"
    tests = examples_of(module)
    assert sum(len(test.examples) for test in tests) == sum(
        line.strip().startswith(">>> ") for line in file.read_text(encoding="utf-8").splitlines()
    ), "an example stands where doctest does not look"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises on trainings of four steps
        for test in tests:
            assert not any(doctest.SKIP in example.options for example in test.examples), f"{test.name} is not run"
            runner.run(test)
    assert runner.summarize(verbose=False).failed == 0, capsys.readouterr().out


def test_every_public_name_has_an_example() -> None:
    public = {name: getattr(lightning_gw, name) for name in lightning_gw.__all__ if not name.startswith("__")}
    lacking = [name for name, value in public.items() if ">>> " not in (inspect.getdoc(value) or "")]
    assert lacking == []
