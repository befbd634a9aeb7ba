"""Trainings of a few steps, of networks of the planted grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from benchmarks.planted.grid.specification import Specification


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.planted.grid import training  # needs packages that tests of other things do without
    from benchmarks.planted.grid.recipes import Recipe

    monkeypatch.setattr(training, "recipe_of", lambda one: Recipe(steps=4, batch=16, warmup=2))


@pytest.fixture
def tiny_grid(monkeypatch: pytest.MonkeyPatch, few_steps: None) -> None:
    from tiny_planted import TINY, TINY_ASIDE, TINY_NULL, TINY_NULL_ASIDE

    from benchmarks import planted_groups
    from benchmarks.planted import cache, train

    def tiny(split: str | None = None) -> list[Specification]:
        return [one for one in (TINY, TINY_NULL, TINY_NULL_ASIDE, TINY_ASIDE) if split in (None, one.split)]

    for module in (planted_groups, cache, train):
        monkeypatch.setattr(module, "grid", tiny)
