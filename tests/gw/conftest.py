"""Every invariant holds on both machineries of the search."""

from __future__ import annotations

import pytest

from lightning_gw.gw.moves.choice import BatchedMoves


@pytest.fixture(params=["compiled", "batched torch"])
def moves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "compiled":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr("lightning_gw.gw.search.pairs.choose_moves", BatchedMoves)
    return str(request.param)
