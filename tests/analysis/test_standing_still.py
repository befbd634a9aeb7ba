"""Layers that are the same to the bit cost next to nothing, and a look of them alone is what the one before was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from same_records import assert_same
from torch import Tensor

from lightning_gw.analysis import Analysis
from lightning_gw.analysis.config import AnalysisConfig
from lightning_gw.gw import gw_matrix
from lightning_gw.gw.search.search import PairSolver
from lightning_gw.records.context import LookContext
from lightning_gw.records.record import Record

CONFIG = AnalysisConfig(bootstrap_samples=20)


def layers(trained: float = 0.0) -> dict[str, Tensor]:
    """Six layers; the last two are moved by training."""
    generator = torch.Generator().manual_seed(0)
    x, found = torch.randn(48, 6, generator=generator), {}
    for k in range(6):
        x = x + 0.5 * torch.randn(48, 6, generator=generator)
        found[f"layer{k}"] = x + trained * torch.randn(48, 6, generator=generator) if k > 3 else x
    return found


def at(step: int, note: str = "") -> LookContext:
    return LookContext(step=step, epoch=0, probe={"hash": "0f"}, notes=(note,) if note else ())


def timeless(record: Record) -> Record:
    """All that is kept of a record but how long it took."""
    return replace(record, seconds=0.0, gw=replace(record.gw, seconds=0.0, drift=None))


@pytest.fixture
def descents(monkeypatch: pytest.MonkeyPatch) -> list[set[tuple[int, int]]]:
    """The pairs of every descent."""
    found: list[set[tuple[int, int]]] = []
    descend = PairSolver._descended

    def watched(self: PairSolver, starts: Tensor) -> object:
        found.append(set(zip(self.first.tolist(), self.second.tolist(), strict=True)))
        return descend(self, starts)

    monkeypatch.setattr(PairSolver, "_descended", watched)
    return found


def test_only_pairs_of_a_layer_that_moved_are_touched(descents: list[set[tuple[int, int]]]) -> None:
    before = gw_matrix(layers())
    descents.clear()
    matrix = gw_matrix(layers(0.3), warm_start=before)
    touched = set().union(*descents)
    assert {(i, j) for i in range(6) for j in range(i + 1, 6) if j > 3} <= touched
    still = np.ix_(range(4), range(4))
    for kept in ("distortion", "lower", "identity", "converged"):
        np.testing.assert_array_equal(getattr(matrix, kept)[still], getattr(before, kept)[still])
    assert matrix.lower[0, 5] != before.lower[0, 5] > 0
    descents.clear()
    again = gw_matrix(layers(0.3), warm_start=matrix)
    assert descents == []
    for kept in ("distortion", "lower", "identity", "couplings", "converged"):
        np.testing.assert_array_equal(getattr(again, kept), getattr(matrix, kept))


@pytest.mark.parametrize("what", ["anchor", "geometry", "bounds"])
def test_what_was_asked_otherwise_is_not_known(what: str, descents: list[set[tuple[int, int]]]) -> None:
    before = gw_matrix(layers(), bounds=None)
    descents.clear()
    changed: dict[str, object] = {"anchor": {"anchor": 0.4}, "geometry": {"geometry": "cka"}, "bounds": {}}[what]
    matrix = gw_matrix(layers(), warm_start=before, **changed)  # type: ignore[arg-type]
    assert bool(descents) == (what != "bounds")
    fresh = gw_matrix(layers(), **changed)  # type: ignore[arg-type]
    if what == "bounds":
        np.testing.assert_array_equal(matrix.lower, fresh.lower)
    np.testing.assert_array_equal(matrix.identity, fresh.identity)


def test_a_look_at_layers_that_stand_still_is_the_one_before(descents: list[set[tuple[int, int]]]) -> None:
    analysis = Analysis(CONFIG)
    analysis.look(layers(), at(0))
    one = analysis.look(layers(0.3), at(1))
    descents.clear()
    two, three = analysis.look(layers(0.3), at(2)), analysis.look(layers(0.3), at(3))
    assert descents == []
    assert (one.gw.warm_looks, two.gw.warm_looks, three.gw.warm_looks) == (1, 2, 3)
    for later in (two, three):
        assert later.groups is one.groups
        assert later.growth is one.growth
    assert (two.step, three.step) == (2, 3)


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("bounded", [True, False])
def test_nobody_can_tell_it_from_a_look_that_was_worked_out(resumed: bool, bounded: bool) -> None:
    looks = [layers(), layers(0.3), layers(0.3), layers(0.3), layers(0.6)]
    remembering, other = Analysis(CONFIG), Analysis(CONFIG)
    for step, look in enumerate(looks):
        one = remembering.look(look, at(step))
        if resumed:
            state = other.state_dict()
            if not bounded:  # as checkpoints of earlier versions are
                for key in ("lower", "converged", "anchored_converged"):
                    state.pop(key, None)
            other = Analysis(CONFIG)
            other.load_state_dict(state)
        else:
            other._answer = None
        two = other.look(look, at(step))
        if resumed and not bounded:
            np.testing.assert_array_equal(one.gw.distortion, two.gw.distortion)
            np.testing.assert_allclose(one.gw.lower, two.gw.lower, rtol=5e-6)
        else:
            assert_same(timeless(one), timeless(two))


@pytest.mark.parametrize("what", ["note", "weights", "null"])
def test_a_look_of_the_same_layers_that_asks_something_else_is_worked_out(what: str) -> None:
    analysis = Analysis(CONFIG)
    analysis.look(layers(), at(0))
    one = analysis.look(layers(0.3), at(1), weights={"layer0": "a"})
    null = {"reason": "none: there is another one"} if what == "null" else None
    context = at(2, "something is missing") if what == "note" else at(2)
    two = analysis.look(layers(0.3), context, null, weights={"layer0": "b" if what == "weights" else "a"})
    assert two.groups is not one.groups
    assert two.notes == (("something is missing",) if what == "note" else one.notes)
    assert (two.null == "none: there is another one") == (what == "null")
