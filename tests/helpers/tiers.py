"""The two tiers of tests: what `make test` runs, and what only `make test-all` does.

A test that takes long is marked ``slow`` as a whole. Of a parametrised one, ``@pytest.mark.representatives("a", "b*")``
names the cases, by the patterns of their ids, that stand for all of them in the first tier; the others are slow. What
holds on both machineries of the search is checked for torch's in the first tier on the square matrix, in one geometry.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest


def is_slow(case: str, patterns: tuple[str, ...]) -> bool:
    """Whether a case of a parametrised test is left to the second tier, by its id and those that represent it."""
    return not any(fnmatchcase(case, pattern) for pattern in patterns)


def mark_slow(items: list[Any]) -> None:
    """Mark every case that others represent."""
    for item in items:
        case = getattr(item, "callspec", None)
        if case is None:
            continue
        marker = item.get_closest_marker("representatives")
        geometry = case.params.get("result", case.params.get("geometry", "standardized"))
        stands_for_all = geometry == "standardized" and item.path.name == "test_matrix.py"
        twice = case.params.get("moves") == "batched torch" and not stands_for_all
        if twice or (marker is not None and is_slow(case.id, marker.args)):
            item.add_marker(pytest.mark.slow)
