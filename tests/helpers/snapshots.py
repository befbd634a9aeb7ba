"""Kept texts: what a test says in words is compared with a file beside it, and renewed only when asked.

``pytest --renew-snapshots`` writes what the tests find; what changed shows in the commit. A text that was never kept
fails, so that nothing passes because nothing was there to compare with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

OPTION = "--renew-snapshots"


class Snapshots:
    """The kept texts of one folder of tests: ``snapshots/<name>.txt``."""

    def __init__(self, folder: Path, renew: bool) -> None:
        self.folder = folder
        self.renew = renew

    def compare(self, name: str, text: str) -> None:
        """Fail unless `text` is what is kept under `name`, in words or as a file's name."""
        file = self.folder / f"{name.replace(',', '').replace(' ', '-')}.txt"
        text = text.rstrip("\n") + "\n"
        if self.renew:
            self.folder.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        if not file.exists():
            pytest.fail(f"{file} is not there; `pytest {OPTION}` keeps what the test found:\n{text}", pytrace=False)
        assert text == file.read_text(encoding="utf-8")


def error_of(call: Any) -> str:
    """The exception of a call in one line, as its user reads it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is in the text that is compared
        call()
    return f"{type(caught.value).__name__}: {caught.value}"


@pytest.fixture
def snapshots(request: pytest.FixtureRequest) -> Snapshots:
    return Snapshots(request.path.parent / "snapshots", request.config.getoption(OPTION))
