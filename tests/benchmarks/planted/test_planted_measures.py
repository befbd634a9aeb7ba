"""What the referee judges with: scores, detectors and measures, on answers that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from sklearn.metrics import adjusted_rand_score
from tiny_planted import blocks

from benchmarks.planted import measures
from benchmarks.planted.detectors import CEILING, DETECTORS
from benchmarks.planted.measures import Distances, MatrixCache
from benchmarks.planted.scores import adjusted_rand_index, boundary_f1, interval

# --- scores and detectors ----------------------------------------------------------------------------------------


def test_the_adjusted_rand_index_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        layers = int(generator.integers(3, 12))
        one, other = (tuple(np.flatnonzero(generator.random(layers - 1) < 0.3).tolist()) for _ in range(2))
        expected = adjusted_rand_score(*(np.searchsorted(cut, np.arange(layers), side="left") for cut in (one, other)))
        assert adjusted_rand_index(one, other, layers) == pytest.approx(expected)


def test_known_boundary_scores() -> None:
    assert boundary_f1((1, 5), (1, 5)) == 1
    assert boundary_f1((2, 5), (1, 5)) == pytest.approx(0.5)
    assert boundary_f1((2, 5), (1, 5), tolerance=1) == 1
    # Two boundaries beside one planted boundary are one hit and one false alarm.
    assert boundary_f1((2, 4), (3,), tolerance=1) == pytest.approx(2 / 3)
    assert boundary_f1((), ()) == 1
    assert boundary_f1((), (3,)) == boundary_f1((3,), ()) == 0


def test_the_interval_holds_the_mean_and_narrows() -> None:
    values = np.random.default_rng(1).normal(size=200)
    low, high = interval(values)
    assert low < values.mean() < high
    wide_low, wide_high = interval(values[:20])
    assert high - low < wide_high - wide_low
    assert interval([0.3]) == (0.3, 0.3)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_finds_what_nobody_could_miss(name: str) -> None:
    found = DETECTORS[name](blocks((2, 4, 3)), 3, blocks((9,)))
    assert found.boundaries == (1, 5)
    assert found.strength == "strong"


def test_only_the_ceiling_uses_the_number_of_groups() -> None:
    matrix = blocks((2, 4, 3))
    for name, detect in DETECTORS.items():
        counts = {len(detect(matrix, count, None).boundaries) for count in (2, 3)}
        assert counts == ({1, 2} if name == CEILING else {2}), name


# --- measures ----------------------------------------------------------------------------------------------------


def test_a_rotated_copy_is_at_distance_0_by_every_measure() -> None:
    generator = torch.Generator().manual_seed(0)
    x, other = (torch.randn(24, 4, generator=generator) for _ in range(2))
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator))
    found = measures.distances({"a": x, "b": x @ rotation, "c": other})
    assert set(found) == set(measures.MEASURE_NAMES)
    for name, one in found.items():
        assert one.matrix[0, 1] == pytest.approx(0, abs=1e-3), name
        assert one.matrix[0, 2] > 0.1, name


def test_free_matching_sees_through_a_relabelling_that_paired_measures_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 4, generator=generator)
    found = measures.distances({"a": x, "b": x.flip(0)}, ["gw dcor", "paired dcor"])
    assert found["gw dcor"].matrix[0, 1] == pytest.approx(0, abs=1e-6)
    assert found["paired dcor"].matrix[0, 1] > 0.5


def test_matrices_are_kept_and_old_ones_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    looks = {0: {name: torch.randn(12, 3, generator=generator) for name in "ab"}}
    names = ["paired cka"]
    first = MatrixCache(tmp_path, "fast").get("net", looks, names)
    monkeypatch.setattr(measures, "distances", lambda *_: pytest.fail("computed again"))
    again = MatrixCache(tmp_path, "fast")
    assert np.array_equal(again.get("net", looks, names)[0]["paired cka"].matrix, first[0]["paired cka"].matrix)
    assert again.stale == 0
    monkeypatch.setattr(measures, "solver_digest", lambda: "another")
    stale = MatrixCache(tmp_path, "fast")
    stale.get("net", looks, names)
    assert stale.stale == 1
    monkeypatch.setattr(measures, "distances", lambda *_: {"paired cka": Distances(np.ones((2, 2)), 0.0)})
    fresh = MatrixCache(tmp_path, "fast", fresh=True).get("net", looks, names)
    assert (fresh[0]["paired cka"].matrix == 1).all()
