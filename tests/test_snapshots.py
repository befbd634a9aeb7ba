"""Kept texts: what is missing fails, what differs fails, and only the option renews."""

from __future__ import annotations

from pathlib import Path

import pytest
from snapshots import Snapshots


def test_a_text_that_was_never_kept_fails_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"a-run\.txt is not there; `pytest --renew-snapshots` keeps"):
        Snapshots(tmp_path, renew=False).compare("a run", "Three groups.")
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_differs_fails_until_it_is_renewed(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    Snapshots(folder, renew=True).compare("a run", "Three groups.")
    Snapshots(folder, renew=False).compare("a run", "Three groups.")
    with pytest.raises(AssertionError):
        Snapshots(folder, renew=False).compare("a run", "Two groups.")
    Snapshots(folder, renew=True).compare("a run", "Two groups.")
    assert (folder / "a-run.txt").read_text() == "Two groups.\n"
