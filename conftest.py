"""What examples in docstrings get when pytest runs them: a folder of their own, seeds, and no advice from Lightning.

Modules without an example are not imported for it, so that finding the examples costs nothing.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = tuple(Path(__file__).parent / name for name in ("lightning_gw", "tasks"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what `--doctest-modules` would import for nothing: no test by name, no example in a package."""
    if collection_path.suffix != ".py" or collection_path.name.startswith("test_"):
        return None
    in_packages = any(collection_path.is_relative_to(package) for package in PACKAGES)
    return True if not in_packages or ">>> " not in collection_path.read_text(encoding="utf-8") else None


@pytest.fixture(autouse=True)
def _place_of_examples(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run an example in an empty folder, with seeded random numbers; a test is left as it is."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    import numpy as np
    import torch

    request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
    random.seed(0)
    np.random.seed(0)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(0)
        warnings.simplefilter("ignore")  # Lightning advises on trainings of four steps
        yield
