"""What the referee plants: the grid, its data, and networks that are trained once and kept."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch

pytest.importorskip("sklearn")

from tiny_planted import TINY, TINY_ASIDE

from benchmarks.planted import cache
from benchmarks.planted.grid import families, networks, strategies, training
from benchmarks.planted.grid import specification as spec
from benchmarks.planted.grid.recipes import Recipe
from benchmarks.planted.grid.specification import Specification, grid
from benchmarks.planted.grid.training import train, untrained_look

# --- what is planted ---------------------------------------------------------------------------------------------


def test_nothing_that_is_set_aside_is_in_development() -> None:
    development, aside = grid("development"), grid("set aside")
    assert set(development) | set(aside) == set(grid())
    assert not {one.family for one in development} & families.SET_ASIDE_FAMILIES
    assert {one.family for one in aside} >= families.SET_ASIDE_FAMILIES
    kinds = {type(families.FAMILIES[name]) for name in families.SET_ASIDE_FAMILIES}
    assert kinds == {families.Algebra, families.Digits}
    shared = [name for name in families.FAMILIES if name not in families.SET_ASIDE_FAMILIES]
    assert not [one for one in development if one.seed % 2]
    assert not [one for one in aside if one.family in shared and one.seed % 2 == 0]


def test_the_grid_covers_what_it_promises_and_stays_small() -> None:
    assert len({one.name for one in grid()}) == len(grid())
    for split in ("development", "set aside"):
        nets = grid(split)
        assert sum(one.strategy != spec.UNTRAINED for one in nets) <= 120
        for architecture in ("mlp", "transformer", "convnet"):
            mine = [one for one in nets if one.architecture == architecture]
            assert {one.strategy for one in mine} >= {*spec.PLANTED_STRATEGIES, spec.UNTRAINED, spec.RANDOM}
            counts = {len(one.lengths) for one in mine if one.strategy == spec.EVERY_LAYER}
            assert counts >= ({1, 2, 3, 4} if architecture == "transformer" else {1, 2, 3, 4, 5, 6}), architecture


def test_blocks_are_never_equal_and_a_shift_moves_a_boundary() -> None:
    for one in grid():
        if one.planted and len(one.lengths) > 1:
            assert len(set(one.lengths)) > 1, one.name
            assert len(set(one.boundaries)) == len(one.lengths) - 1
        if one.shifted is not None:
            assert sum(one.shifted) == sum(one.lengths)
            assert one.boundaries != one.boundaries_before
        if not one.planted:
            assert one.boundaries == ()


@pytest.mark.parametrize("name", families.FAMILIES)
def test_neighbouring_stages_have_different_numbers_of_classes_that_all_occur(name: str) -> None:
    stages = len(families.FAMILIES[name].classes)
    assert all(one != other for one, other in pairwise(families.FAMILIES[name].classes))
    data = families.load_family(name, stages)
    assert data.y.shape == (len(data.x), stages)
    occurring = [len(column.unique()) for column in data.y.T]
    # With few operands a stage may miss classes; neighbours must differ all the same.
    assert all(one != other for one, other in pairwise(occurring))


def test_answers_follow_from_each_other_and_held_out_tuples_are_new() -> None:
    data = families.load_family("products", 4)
    for x, y in zip(data.held_x[:50].tolist(), data.held_y[:50].tolist(), strict=True):
        first = (x[0] + x[1]) % 5
        second = (first * x[2]) % 9
        third = (second + x[3]) % 4
        assert y == [first, second, third, (third - x[4]) % 7]
    trained = {tuple(x) for x in data.x.tolist()}
    assert len(trained) == len(data.x)
    assert not trained & {tuple(x) for x in data.held_x.tolist()}


def test_the_probe_is_balanced_over_every_stage() -> None:
    data = families.load_family("sums", 3)
    chosen = families.balanced_probe(data.held_y, data.classes)
    assert len(chosen.unique()) == families.PROBE_INPUTS
    for stage, classes in enumerate(data.classes):
        counts = Counter(data.held_y[chosen, stage].tolist())
        assert len(counts) == classes
        assert max(counts.values()) - min(counts.values()) <= 3, counts
    with pytest.raises(ValueError, match="only 10 are held out"):
        families.balanced_probe(data.held_y[:10], data.classes)


def test_unknown_families_and_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="Unknown family 'sum'; expected one of sums"):
        families.load_family("sum", 1)
    with pytest.raises(ValueError, match="has 1 to 6 stages; 7 were asked for"):
        families.load_family("narrowing", 7)


# --- networks and training ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "transformer", "convnet"])
def test_what_is_spread_over_a_state_is_what_is_read_from_it(name: str) -> None:
    x = torch.rand(5, 1, 8, 8) if name == "convnet" else torch.randint(11, (5, 4))
    net = networks.ARCHITECTURES[name](2, x.shape[1], (3, 2))
    h, code = net.stem(x), torch.randn(5, net.width)
    assert torch.allclose(net.pooled(net.spread(h, code)), net.pooled(h) + code, atol=1e-5)
    assert net.read(net(x)[1], 1, 1).shape == (5, 2)


def test_training_repeats_itself_and_leaves_global_randomness_alone(few_steps: None) -> None:
    before = torch.random.get_rng_state()
    first, second = train(TINY), train(TINY)
    assert torch.equal(before, torch.random.get_rng_state())
    assert list(first.looks) == [0, 4]
    for step, look in first.looks.items():
        assert list(look) == ["layer 1", "layer 2", "layer 3"]
        assert all(torch.equal(x, second.looks[step][name]) for name, x in look.items())
    assert not torch.equal(first.looks[0]["layer 1"], first.looks[4]["layer 1"])


def test_the_start_of_training_is_the_untrained_net_of_that_seed(few_steps: None) -> None:
    start = train(TINY).looks[0]
    assert torch.equal(start["layer 3"], untrained_look(TINY, TINY.seed)["layer 3"])
    assert not torch.equal(start["layer 3"], untrained_look(TINY, 5)["layer 3"])


@pytest.mark.parametrize("name", ["mlp", "transformer", "convnet"])
def test_greedy_blocks_are_frozen_once_they_are_trained(few_steps: None, name: str) -> None:
    family = "narrowing" if name == "convnet" else "sums"
    found = train(Specification(name, family, spec.GREEDY, (2, 1), 0))
    after_first, end = found.looks[4], found.looks[8]
    assert torch.equal(after_first["layer 2"], end["layer 2"])
    assert not torch.equal(after_first["layer 3"], end["layer 3"])


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_assembled_blocks_leave_the_embedding_alone(few_steps: None, name: str) -> None:
    family = "narrowing" if name == "convnet" else "sums"
    found = train(Specification(name, family, spec.ASSEMBLED, (1, 2), 0))
    assert list(found.looks) == [0, 8]
    assert len(found.accuracy) == 2


def test_a_shift_is_looked_at_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "recipe_of", lambda one: Recipe(steps=6, batch=16, warmup=2))
    monkeypatch.setattr(strategies, "SHIFT_LOOKS", (-2, 0, 2))
    found = train(Specification("mlp", "sums", spec.SHIFT, (1, 2), 0, shifted=(2, 1)))
    assert list(found.looks) == [0, 2, 4, 6]
    assert found.notes["shift_step"] == 4


@pytest.mark.slow
def test_a_head_on_every_layer_learns_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "recipe_of", lambda one: Recipe(steps=120, batch=64, rate=4e-3))
    found = train(Specification("convnet", "widening", spec.EVERY_LAYER, (1, 1), 0))
    assert min(found.accuracy) > 0.7, found.accuracy  # half and two fifths of the digits are in the largest classes


def test_networks_are_trained_once_and_come_back_as_they_were(few_steps: None, tmp_path: Path) -> None:
    path = cache.train_and_keep(TINY, tmp_path)
    written = path.stat().st_mtime_ns
    assert cache.train_and_keep(TINY, tmp_path).stat().st_mtime_ns == written
    net, trained = cache.load(TINY, tmp_path), train(TINY)
    assert net.specification == TINY
    assert list(net.representations) == list(trained.looks[4])
    assert all(
        torch.equal(x, net.looks[step][name]) for step, look in trained.looks.items() for name, x in look.items()
    )
    assert net.metadata["boundaries"] == [0]
    assert net.metadata["split"] == "development"
    with pytest.raises(FileNotFoundError, match="--only mlp-sums"):
        cache.load(TINY_ASIDE, tmp_path)


def test_another_recipe_is_another_network(few_steps: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = cache.path_of(TINY, tmp_path)
    monkeypatch.setattr(training, "recipe_of", lambda one: Recipe(steps=5, batch=16, warmup=2))
    assert cache.path_of(TINY, tmp_path) != path
