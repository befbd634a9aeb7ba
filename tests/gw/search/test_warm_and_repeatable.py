"""Warm starts, and that one seed gives one result however the work is cut up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drifting_layers import layers

from lightning_gw.geometry.spaces import make_spaces
from lightning_gw.gw import gw_matrix
from lightning_gw.gw.moves.batched.swaps import SearchMatrices
from lightning_gw.gw.moves.choice import BatchedMoves, CompiledMoves


def test_warm_start_never_loses_to_the_start_it_was_given() -> None:
    cold = gw_matrix(layers())
    warm = gw_matrix(layers(), warm_start=cold)
    assert (warm.distortion <= cold.distortion + 1e-12).all()


def test_a_warm_start_of_layers_that_moved_on_is_no_worse_than_a_cold_one() -> None:
    before, now = layers(n=64), layers(n=64, seed=1)
    cold = gw_matrix(now)
    warm = gw_matrix(now, warm_start=gw_matrix(before))
    off = np.triu_indices(4, 1)
    assert (warm.distortion[off] / cold.distortion[off]).mean() < 1.03


def test_a_warm_start_that_lacks_a_layer_searches_it_from_cold() -> None:
    reps = layers()
    part = gw_matrix({name: x for name, x in reps.items() if name != "layer.2"})
    warm = gw_matrix(reps, warm_start=part)
    assert (torch.from_numpy(warm.couplings).sort(dim=-1).values == torch.arange(40)).all()
    np.testing.assert_allclose(warm.distortion, gw_matrix(reps).distortion, rtol=0.05)


def test_warm_start_of_other_size_is_refused() -> None:
    with pytest.raises(ValueError, match="40 inputs, but the representations have 30"):
        gw_matrix(layers(n=30), warm_start=gw_matrix(layers(), effort="fast"))


def test_same_seed_same_result_and_no_global_randomness() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, other = gw_matrix(layers(), seed=5), gw_matrix(layers(), seed=5)
    np.testing.assert_array_equal(one.couplings, other.couplings)
    np.testing.assert_array_equal(one.distortion, other.distortion)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_result_does_not_depend_on_how_pairs_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_gw.gw.search.pairs.choose_moves", BatchedMoves)
    together = gw_matrix(layers(n=64))
    monkeypatch.setattr("lightning_gw.gw.moves.choice.chunk_size", lambda *_: 1)
    single = gw_matrix(layers(n=64))
    assert single.solver == "batched torch"
    np.testing.assert_array_equal(together.couplings, single.couplings)
    np.testing.assert_array_equal(together.distortion, single.distortion)


def test_result_does_not_depend_on_threads() -> None:
    threads = torch.get_num_threads()
    same = layers(n=64)  # made once: on some processors their matrix products round otherwise with more threads
    try:
        results = []
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(gw_matrix(same))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(results[0].couplings, results[1].couplings)
    np.testing.assert_array_equal(results[0].distortion, results[1].distortion)


@pytest.mark.parametrize("geometry", ["standardized", "dcor"])
def test_both_machineries_climb_the_same_objective(geometry: str) -> None:
    pytest.importorskip("numba")
    matrices = make_spaces(layers(n=33), geometry).matrices
    search = SearchMatrices.of(matrices)
    batched, compiled = BatchedMoves(search, anchor=0.3), CompiledMoves(search, anchor=0.3)
    first, second = torch.tensor([0, 1]), torch.tensor([2, 3])
    generator = torch.Generator().manual_seed(0)
    starts = torch.stack([torch.randperm(33, generator=generator) for _ in range(6)]).view(2, 3, 33)
    torch.testing.assert_close(
        batched.values(first, second, starts), compiled.values(first, second, starts), rtol=1e-5, atol=1e-2
    )
    for moves in (batched, compiled):
        found, converged = moves.descend(first, second, starts, 1000)
        assert converged.all()
        assert (moves.values(first, second, found) > moves.values(first, second, starts)).all()
        # Where the one has nothing left to gain, neither has the other.
        again, _ = (compiled if moves is batched else batched).descend(first, second, found, 1000)
        torch.testing.assert_close(
            batched.values(first, second, again), batched.values(first, second, found), rtol=1e-5, atol=1e-2
        )
