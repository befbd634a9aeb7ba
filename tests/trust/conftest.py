"""What the tests of this folder share."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_gw.analysis import analysis


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample the probe three times at a look, not a hundred: the same code, which takes most of a look's time."""
    original = analysis.resampled

    def resampled(groups: Any, representations: Any, matrix: Any, draws: int, *args: Any, **options: Any) -> Any:
        return original(groups, representations, matrix, min(draws, 3), *args, **options)

    monkeypatch.setattr(analysis, "resampled", resampled)
