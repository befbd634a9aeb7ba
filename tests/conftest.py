"""What all tests share."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import Any

import pytest
from snapshots import OPTION, snapshots  # noqa: F401 - the fixture
from tiers import mark_slow


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample the probe three times at a look, not a hundred: the same code, which takes most of a look's time."""
    from lightning_gw.analysis import analysis

    original = analysis.resampled

    def resampled(groups: Any, representations: Any, matrix: Any, draws: int, *args: Any, **options: Any) -> Any:
        return original(groups, representations, matrix, min(draws, 3), *args, **options)

    monkeypatch.setattr(analysis, "resampled", resampled)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help="keep the texts that tests find, instead of comparing with them")


def pytest_collection(session: pytest.Session) -> None:
    """Import Lightning first, where tests are run: not in the process that only hands them out to others.

    Its loggers write to the standard error that there is when a package is first imported. Within a test that would be
    one which is closed when the test ends, and every later message an error.
    """
    import pytorch_lightning  # noqa: F401

    with suppress(ImportError):
        import lightning.pytorch  # noqa: F401


@pytest.hookimpl(tryfirst=True)  # before marks decide what is run
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_slow(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spare the collector of garbage what stays to the end: a million objects, gone through many times in a test."""
    gc.collect()
    gc.freeze()
