"""Warm starts search again what moved, and only that; in turn they look at the rest, so that they do not drift."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gw.analysis.analysis import Analysis
from lightning_gw.gw import GWMatrix, gw_matrix
from lightning_gw.gw.drift import SAMPLES, Drift
from lightning_gw.gw.search import pairs
from lightning_gw.gw.search.search import Best, PairSolver
from lightning_gw.records.context import LookContext


def layers(shift: float = 0.0, only: tuple[int, ...] = (0, 1, 2, 3)) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    points, drift = torch.randn(40, 6, generator=generator), torch.randn(4, 40, 6, generator=generator)
    away = torch.randn(4, 40, 6, generator=generator)
    return {
        str(k): points + 0.4 * drift[: k + 1].sum(dim=0) + (shift * away[k] if k in only else 0.0) for k in range(4)
    }


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[set[tuple[int, int]]]:
    """The pairs of every search, appended as it begins."""
    seen: list[set[tuple[int, int]]] = []
    solve = PairSolver.solve

    def watched(self: PairSolver, *given: Tensor, known: Best | None = None) -> Best:
        seen.append(set(zip(self.first.tolist(), self.second.tolist(), strict=True)))
        return solve(self, *given, known=known)

    monkeypatch.setattr(PairSolver, "solve", watched)
    return seen


def test_layers_that_stand_still_are_not_searched_again(searched: list[set[tuple[int, int]]]) -> None:
    look = gw_matrix(layers())
    assert len(searched.pop()) == 6
    for count in range(1, 2 * pairs.TURNS):
        look = gw_matrix(layers(), warm_start=look)
        assert look.warm_looks == count
    assert searched == []


def test_a_pair_is_searched_again_once_one_of_its_layers_moved(searched: list[set[tuple[int, int]]]) -> None:
    look = gw_matrix(layers())
    searched.clear()
    look = gw_matrix(layers(0.5, only=(2,)), warm_start=look)
    assert searched == [{(0, 2), (1, 2), (2, 3)}]
    searched.clear()
    gw_matrix(layers(1.0), warm_start=look)
    assert searched == [{(i, j) for i in range(4) for j in range(i + 1, 4)}]


def test_small_steps_add_up_and_the_turn_comes_to_every_pair(
    searched: list[set[tuple[int, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = 0.002
    monkeypatch.setattr(pairs, "REACH", 10.0)
    monkeypatch.setattr(pairs, "IN_TURN", 0.0)
    look = gw_matrix(layers())
    searched.clear()
    for k in range(1, pairs.TURNS + 1):
        look = gw_matrix(layers(k * step), warm_start=look)
    assert set().union(*searched) == {(i, j) for i in range(4) for j in range(i + 1, 4)}
    assert sum(map(len, searched)) == 6  # each when its turn came
    monkeypatch.setattr(pairs, "REACH", 0.1)
    monkeypatch.setattr(pairs, "IN_TURN", 1.0)  # by what they came together alone
    look = gw_matrix(layers())
    searched.clear()
    for k in range(1, 100):
        look = gw_matrix(layers(k * step), warm_start=look)
        if searched:
            break
    assert 3 < k < 99


def test_without_the_drift_everything_counts_as_moved(searched: list[set[tuple[int, int]]]) -> None:
    look = gw_matrix(layers())
    known = {name: getattr(look, name) for name in ("layers", "geometry", "distortion", "lower", "identity")}
    before = GWMatrix(**known, couplings=look.couplings, converged=look.converged)
    searched.clear()
    again = gw_matrix(layers(), warm_start=before)
    assert len(searched[0]) == 6
    assert (again.distortion <= look.distortion + 1e-12).all()


@pytest.mark.parametrize("effort", ["fast", "default"])
def test_a_search_from_a_warm_start_is_never_worse_than_descending_from_it(effort: str) -> None:
    look = gw_matrix(layers(), effort="high")
    before = GWMatrix(**{**vars(look), "drift": None})
    again = gw_matrix(layers(), effort=effort, warm_start=before)
    assert (again.distortion <= look.distortion + 1e-12).all()


def test_drift_is_the_root_mean_square_change_and_infinite_where_unknown() -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(2, 200, 200, generator=generator)
    matrices = (matrices + matrices.transpose(1, 2)) / 2**0.5
    first = Drift.of(("a", "b"), matrices.double(), matrices, None)
    assert first.still.tolist() == [False, False]
    assert first.samples.shape == (2, SAMPLES)
    assert np.isinf(first.since).all()
    searched = first.searched(torch.tensor([0]), torch.tensor([1]))
    moved = torch.stack([matrices[0], 1.3 * matrices[1], matrices[0]])
    then = Drift.of(("a", "b", "new"), moved.double(), moved, searched)
    assert then.still.tolist() == [True, False, False]
    assert then.since[0, 1] == pytest.approx(0.3, rel=0.1)
    assert np.isinf(then.since[2, :2]).all()
    back = Drift.from_state(then.state_dict())
    assert back.layers == then.layers
    assert torch.equal(back.samples, then.samples)
    np.testing.assert_array_equal(back.since, then.since)
    assert back.digests == then.digests


def test_an_anchored_matrix_from_the_plain_one_is_valid_and_as_good_as_a_search() -> None:
    analysis = Analysis(effort="default", anchor=0.4)
    now = {name: x[:40] for name, x in layers(0.3).items()}
    record = analysis.look(now, LookContext(step=0, epoch=0, probe={}, metrics={}, notes=()))
    anchored = analysis._previous_anchored
    assert anchored is not None
    alone = gw_matrix(now, anchor=0.4, effort="fast", bounds=None)
    assert (anchored.distortion <= anchored.identity + 1e-12).all()
    off = np.triu_indices(4, 1)
    assert (anchored.distortion[off] / alone.distortion[off]).mean() < 1.01
    # No value lies above that of the plain matching.
    assert (anchored.distortion <= record.gw.distortion + 0.4 * record.gw.moved + 1e-9).all()
    for i in range(4):
        for j in range(4):
            p = anchored.couplings[i, j]
            assert sorted(p) == list(range(40))


def test_a_look_goes_on_from_a_state_as_from_the_look_itself(searched: list[set[tuple[int, int]]]) -> None:
    def look(analysis: Analysis, step: int) -> np.ndarray:
        record = analysis.look(layers(0.05 * step), LookContext(step=step, epoch=0, probe={}, metrics={}, notes=()))
        return record.gw.couplings

    one = Analysis()
    for step in range(3):
        look(one, step)
    other = Analysis()
    other.load_state_dict(one.state_dict())
    for step in range(3, 6):
        searched.clear()
        ours = look(one, step)
        by_one = list(searched)
        searched.clear()
        np.testing.assert_array_equal(ours, look(other, step))
        assert searched == by_one
