"""The referee: what it plants, what it keeps, how it scores, and that it counts looks at what is set aside."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

pytest.importorskip("sklearn")

from sklearn.metrics import adjusted_rand_score

from benchmarks import planted_groups
from benchmarks.planted import cache, evaluation, families, measures, networks, training
from benchmarks.planted import specification as spec
from benchmarks.planted import train as train_command
from benchmarks.planted.cache import Net
from benchmarks.planted.detectors import CEILING, DETECTORS, SHIPPED
from benchmarks.planted.measures import Distances, MatrixCache
from benchmarks.planted.scores import adjusted_rand_index, boundary_f1, interval
from benchmarks.planted.specification import Specification, grid
from benchmarks.planted.training import Recipe, train, untrained_look

TINY = Specification("mlp", "sums", spec.EVERY_LAYER, (1, 2), 0)
TINY_NULL = Specification("linear", spec.REGRESSION, spec.UNTRAINED, (3,), 0)
TINY_NULL_ASIDE = Specification("linear", spec.REGRESSION, spec.UNTRAINED, (3,), 1)
TINY_ASIDE = Specification("mlp", "sums", spec.EVERY_LAYER, (2, 1), 1)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "recipe_of", lambda one: Recipe(steps=4, batch=16, warmup=2))


@pytest.fixture
def tiny_grid(monkeypatch: pytest.MonkeyPatch, few_steps: None) -> None:
    def tiny(split: str | None = None) -> list[Specification]:
        return [one for one in (TINY, TINY_NULL, TINY_NULL_ASIDE, TINY_ASIDE) if split in (None, one.split)]

    for module in (planted_groups, cache, train_command):
        monkeypatch.setattr(module, "grid", tiny)


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
        assert sum(one.strategy != spec.UNTRAINED for one in nets) <= 90
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
    monkeypatch.setattr(training, "SHIFT_LOOKS", (-2, 0, 2))
    found = train(Specification("mlp", "sums", spec.SHIFT, (1, 2), 0, shifted=(2, 1)))
    assert list(found.looks) == [0, 2, 4, 6]
    assert found.notes["shift_step"] == 4


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


def blocks(lengths: tuple[int, ...], near: float = 0.1, far: float = 1.0) -> np.ndarray:
    groups = np.repeat(np.arange(len(lengths)), lengths)
    return np.where(groups[:, None] == groups, near, far) * (1 - np.eye(len(groups)))


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_finds_what_nobody_could_miss(name: str) -> None:
    found = DETECTORS[name](blocks((2, 4, 3)), 3)
    assert found.boundaries == (1, 5)
    assert found.strength == "strong"


def test_only_the_ceiling_uses_the_number_of_groups() -> None:
    matrix = blocks((2, 4, 3))
    for name, detect in DETECTORS.items():
        counts = {len(detect(matrix, count).boundaries) for count in (2, 3)}
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


# --- verdicts ----------------------------------------------------------------------------------------------------


def net_of(one: Specification, steps: tuple[int, ...] = (0,), **notes: int) -> Net:
    return Net(one, {step: {} for step in steps}, {"notes": notes}, Path("net"))


def test_a_shift_is_followed_only_if_it_was_quiet_before_and_quick_after() -> None:
    one = Specification("mlp", "sums", spec.SHIFT, (2, 4, 3), 0, shifted=(4, 2, 3))
    before, after = blocks((2, 4, 3)), blocks((4, 2, 3))

    def verdict(**at: np.ndarray) -> evaluation.ShiftRow:
        looks = {int(step[1:]): Distances(matrix, 0.0) for step, matrix in at.items()}
        rows = evaluation.judge_shift(net_of(one, shift_step=100), "measure", looks)
        return next(row for row in rows if row.detector == SHIPPED)

    good = verdict(s20=blocks((4, 5)), s40=before, s100=before, s120=before, s140=after)
    assert (good.settled, good.spurious, good.delay, good.followed) == (40, 0, 40, True)
    late = verdict(s40=before, s100=before, s180=after)
    assert (late.delay, late.followed) == (80, False)
    noisy = verdict(s40=before, s60=blocks((4, 5)), s80=before, s100=before, s140=after)
    assert (noisy.spurious, noisy.followed) == (2, False)
    assert not verdict(s40=blocks((4, 5)), s100=blocks((4, 5)), s140=after).followed
    unsettled = verdict(s40=blocks((4, 5)), s100=blocks((4, 5)), s120=before, s140=after)  # settled, but too late
    assert (unsettled.settled, unsettled.followed) == (None, False)
    assert verdict(s40=before, s100=before, s140=before).delay is None


def test_nulls_count_false_positives_and_planted_nets_are_scored() -> None:
    one = Specification("mlp", "sums", spec.EVERY_LAYER, (2, 4, 3), 0)
    null = Specification("mlp", "sums", spec.UNTRAINED, (9,), 0)
    rows = evaluation.judge(net_of(one), "m", Distances(blocks((2, 4, 3)), 1.0))
    rows += evaluation.judge(net_of(null), "m", Distances(blocks((2, 4, 3)), 1.0))
    summary = {(row["strategy"], row["detector"]): row for row in evaluation.summarise(rows)}
    assert summary[spec.EVERY_LAYER, SHIPPED]["ari"] == 1
    assert summary[spec.UNTRAINED, SHIPPED]["called_strong"] == 1
    assert summary[spec.UNTRAINED, SHIPPED]["ari"] == 0
    assert (spec.UNTRAINED, CEILING) not in summary


def test_the_difference_to_cka_is_taken_net_by_net() -> None:
    good, bad = blocks((2, 4, 3)), blocks((4, 5))
    rows = []
    for seed, mine in ((0, good), (2, bad)):
        one = Specification("mlp", "sums", spec.EVERY_LAYER, (2, 4, 3), seed)
        rows += evaluation.judge(net_of(one), "mine", Distances(mine, 0.0))
        rows += evaluation.judge(net_of(one), measures.PAIRED_CKA, Distances(good, 0.0))
    (found,) = evaluation.against_cka(rows)
    expected = (adjusted_rand_index((3,), (1, 5), 9) - 1) / 2
    assert (found["measure"], found["nets"]) == ("mine", 2)
    assert found["difference"] == pytest.approx(expected)


# --- the two commands --------------------------------------------------------------------------------------------


def test_from_training_to_the_final_table(
    tiny_grid: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "results.json"
    arguments = ["--folder", str(tmp_path / "nets"), "--output", str(output)]
    arguments += ["--measures", "paired cka", "gw dcor", "--effort", "fast"]
    with pytest.raises(SystemExit, match="Train them first"):
        planted_groups.main(arguments)
    train_command.main(["--split", "development", "--folder", str(tmp_path / "nets")])
    train_command.main(["--list", "--folder", str(tmp_path / "nets")])
    assert "not trained yet" in " ".join(capsys.readouterr().out.split())
    planted_groups.main(arguments)  # four steps teach nothing: only the null is judged
    held = json.loads(output.read_text())["splits"]["development"]
    assert (held["nets"], held["not_learned"]) == (1, [TINY.name])
    monkeypatch.setattr(cache, "LEARNED", 0.0)
    planted_groups.main(arguments)
    held = json.loads(output.read_text())
    assert held["final_looks"] == 0
    assert held["splits"]["development"]["nets"] == 2
    shown = " ".join(capsys.readouterr().out.split())
    assert "head on every layer (1 mlp)" in shown
    assert "looked at 0 times" in shown

    for refusal in ("None of 2 set aside networks", "to be taken once, at all 2"):  # refused looks are not counted
        with pytest.raises(SystemExit, match=refusal):
            planted_groups.main([*arguments, "--final"])
        assert json.loads(output.read_text())["final_looks"] == 0
        cache.train_and_keep(TINY_NULL_ASIDE, tmp_path / "nets")
    train_command.main(["--folder", str(tmp_path / "nets")])
    for looks in (1, 2):
        planted_groups.main([*arguments, "--final"])
        assert json.loads(output.read_text())["final_looks"] == looks
    assert f"looked at {looks} times" in " ".join(capsys.readouterr().out.split())
    planted_groups.main([*arguments, "--show"])
    assert json.loads(output.read_text())["final_looks"] == 2


def test_disjoint_halves_are_judged_both_ways(tiny_grid: None, tmp_path: Path) -> None:
    cache.train_and_keep(TINY, tmp_path)
    rows = evaluation.evaluate_unpaired(cache.load_nets("development", tmp_path))
    expected = {f"{kind} {geometry}" for kind in ("gw", "identity") for geometry in measures.UNPAIRED_GEOMETRIES}
    assert {row.measure for row in rows} == expected
    summary = evaluation.summarise(rows)
    console = Console(width=150, record=True)
    empty = {
        "summary": summary,
        "split": "development",
        "nets": 1,
        "nets_in_grid": 1,
        "not_learned": [],
        "effort": "fast",
    }
    planted_groups.show({**empty, "final_looks": 0, "unpaired": summary}, console)
    assert "disjoint halves of the probe" in console.export_text()
