"""The benchmark's yardstick: values, conversions, its own search, and the bookkeeping around them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import ot
import pytest
import torch
from rich.console import Console

pytest.importorskip("numba")
pytest.importorskip("sklearn")

from benchmarks import best_known, gw_matrix
from benchmarks.solvers import judging, peers, table
from benchmarks.solvers.measure import high_water, measure
from benchmarks.solvers.problem import KEY_LENGTH, Problem, marginal_error, toy_problem
from benchmarks.solvers.representations import BITS, _rounded


@pytest.fixture(scope="module")
def problem() -> Problem:
    return toy_problem(layers=3, inputs=7)


def brute_force(problem: Problem, pair: int) -> float:
    every = itertools.permutations(range(problem.inputs))
    return min(problem.distortion(pair, np.array(permutation)) for permutation in every)


def test_a_permutation_and_its_plan_have_the_value_pot_gives_them(problem: Problem) -> None:
    permutation = np.random.default_rng(0).permutation(7)
    plan = np.eye(7)[permutation] / 7
    weights = ot.unif(7)
    start_only = {"max_iter": 0, "G0": plan, "log": True}
    _, log = ot.gromov.gromov_wasserstein(*problem.of_pair(1), weights, weights, **start_only)
    assert problem.distortion(1, permutation) == pytest.approx(log["gw_dist"], rel=1e-9)
    assert problem.distortion(1, plan) == pytest.approx(problem.distortion(1, permutation), rel=1e-9)


def test_no_permutation_no_value(problem: Problem) -> None:
    with pytest.raises(ValueError, match="no permutation of 7"):
        problem.distortion(0, np.zeros(7, dtype=np.int64))


def test_the_two_geometries_convert_back_and_forth(problem: Problem) -> None:
    identity = problem.identity()
    assert problem.euclidean(problem.standardized(identity)) == pytest.approx(identity, rel=1e-12)


@pytest.mark.representatives("ours default", "POT batch")
@pytest.mark.parametrize("name", ["ours default", peers.POT_DEFAULT, peers.POT_IDENTITY, "POT batch", "SciPy faq"])
def test_every_solver_returns_couplings_no_better_than_the_best(problem: Problem, name: str) -> None:
    pairs = [0, 2]
    found = measure(peers.SOLVERS[name], problem, pairs)
    assert found.wall > 0
    assert found.distortion.shape == (2,)
    # The batched solver leaves its marginals where they are when it stops, so its values may be a little too low.
    slack = 1e-9 if found.marginal_error < 1e-9 else 0.05
    assert (found.distortion >= np.array([brute_force(problem, pair) for pair in pairs]) * (1 - slack)).all()


def test_a_wrong_claim_stops_the_benchmark(problem: Problem) -> None:
    def lie(problem: Problem, pairs: object) -> peers.Found:
        return peers.Found([np.arange(7)] * 3, reported=np.zeros(3))

    with pytest.raises(RuntimeError, match="values that are off"):
        measure(peers.Solver("liar", lie, chunk=None), problem, range(3))


def test_marginal_error_is_the_mass_in_the_wrong_place() -> None:
    assert marginal_error(np.arange(4)) == 0
    assert marginal_error(np.eye(4) / 4) == 0
    assert marginal_error(np.diag([0.5, 0.0, 0.25, 0.25])) == pytest.approx(0.25)


@pytest.mark.slow
def test_annealing_finds_the_best_permutation_of_small_problems(problem: Problem) -> None:
    for pair in range(3):
        candidates = best_known.annealing(problem, [pair])
        found = [next(candidates) for _ in range(4)]
        assert {at for at, _ in found} == {pair}
        value = min(problem.distortion(pair, permutation) for _, permutation in found)
        assert value == pytest.approx(brute_force(problem, pair), rel=1e-6)


@pytest.mark.slow
def test_the_descent_ends_where_no_swap_helps() -> None:
    problem = toy_problem(layers=2, inputs=20)
    a, b = best_known._centred(problem, 0)
    found = best_known.descend(a, b, np.random.default_rng(0).permutation(20))
    value = problem.distortion(0, found)
    for u, v in itertools.combinations(range(20), 2):
        swapped = found.copy()
        swapped[[u, v]] = swapped[[v, u]]
        assert problem.distortion(0, swapped) >= value - 1e-6


@pytest.mark.slow
def test_best_known_values_can_only_be_lowered(problem: Problem, tmp_path: Path) -> None:
    path = tmp_path / "best_known.json"
    record = best_known.Record.of(problem, {})
    best_known.improve(record, seconds=0, pairs=range(3))
    best_known.write(record.entries(), path)
    known = best_known.load_best_known(problem, path)
    assert known is not None
    expected = problem.standardized(np.array([brute_force(problem, pair) for pair in range(3)]))
    assert known == pytest.approx(expected, rel=1e-6)
    assert (known <= problem.standardized(problem.identity()) * (1 + 1e-9)).all()
    again = best_known.Record.of(problem, json.loads(path.read_text()))
    again.offer("something worse", 0, np.arange(7))
    assert again.entries() == record.entries()


def test_only_the_pairs_asked_for_are_searched(problem: Problem) -> None:
    record = best_known.Record.of(problem, {})
    before = record.distortion.copy()
    best_known.improve(record, seconds=0, pairs=[1])
    assert record.distortion[1] < before[1]
    assert (record.distortion[[0, 2]] == before[[0, 2]]).all()
    assert list(record.found) == list(best_known.METHODS)
    assert all(np.isinf(found[[0, 2]]).all() for found in record.found.values())


def test_best_known_values_are_found_by_pair(problem: Problem, tmp_path: Path) -> None:
    path = tmp_path / "best_known.json"
    assert best_known.load_best_known(problem, path) is None
    record = best_known.Record.of(problem, {})
    best_known.write(record.entries(), path)
    part = Problem.of("part", {name: problem.representations[name] for name in ("0", "2")})
    known = best_known.load_best_known(part, path)
    assert known == pytest.approx(record.distortion[1:2], rel=1e-9)
    other = Problem.of("other", {name: x + 1 for name, x in part.representations.items()})
    assert best_known.load_best_known(other, path) is None


def test_other_inputs_have_another_key(problem: Problem) -> None:
    first = dict(problem.representations)
    first["0"] = first["0"].clone()
    first["0"][0, 0] += 1e-6
    assert Problem.of("changed", first).digest != problem.digest


def test_committed_values_are_sound() -> None:
    entries = json.loads(best_known.FILE.read_text())
    assert entries
    for key, entry in entries.items():
        assert len(key) == KEY_LENGTH
        assert 0 <= entry["distortion"] < 2, entry["pair"]
        assert entry["method"] in {"identity", *best_known.METHODS}, entry["pair"]


def test_representations_are_rounded_alike_on_every_processor() -> None:
    exact = torch.randn(50, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rounded = _rounded({"layer": exact})["layer"]
    assert torch.equal(rounded, _rounded({"layer": exact * (1 + 1e-12)})["layer"])
    unit = 2.0 ** (np.ceil(np.log2(float(exact.abs().max()))) - BITS)
    assert (rounded - exact).abs().max() <= unit / 2


def test_quality_counts_what_is_worse(problem: Problem) -> None:
    identity = problem.identity()
    values = {"identity": identity, "mine": identity * np.array([0.5, 1.0, 2.0])}
    found = judging.quality(problem, values, "mine", identity)
    assert found["worse_than identity"] == [1, 3]
    assert found["below_best"] == 1
    assert found["worst_ratio_euclidean"] == pytest.approx(2.0)


def test_growth_is_the_slope_in_logarithms() -> None:
    sets = {
        f"net/L{layers}/n{n}": {
            "inputs": n,
            "pairs": layers * (layers - 1) // 2,
            "solvers": {"s": {"matrix_seconds": layers * (layers - 1) * n**2.5}},
        }
        for layers in (7, 13)
        for n in (128, 256, 512)
    }
    growth = table.growths(sets)["s"]
    assert growth["n"] == pytest.approx([2.5, 2.5])
    assert growth["pairs"] == pytest.approx([1.0, 1.0, 1.0])


def test_memory_is_seen(problem: Problem) -> None:
    seen = []
    for _ in range(3):  # what the system takes away from the process meanwhile hides as much of a rise
        with high_water() as peak:
            np.ones(2**23).sum()  # 64 MiB, gone again at once
        seen.append(peak[0])
    assert max(seen) >= 60


def test_one_set_from_measuring_to_the_table(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (gw_matrix, judging):
        monkeypatch.setattr(module, "load_problem", lambda *_: problem)
    output = tmp_path / "results.json"
    command = ["--networks", "algebra", "--peers", "ours fast", "--no-memory", "--no-warm", "--large"]
    command += ["--layers", "7", "--inputs", "128", "--repeats", "2", "--output", str(output)]
    gw_matrix.main(command)
    held = json.loads(output.read_text())["sets"]["algebra/L7/n128"]
    assert held["reference"] == "best of this run"
    assert held["solvers"]["ours default"]["worse_than identity"] == [0, 3]
    assert len(held["solvers"]["ours default"]["seconds_per_pair"]) == 2
    written = output.stat().st_mtime_ns
    capsys.readouterr()
    gw_matrix.main(command)
    assert "0 sets to measure, 1 measured before" in " ".join(capsys.readouterr().out.split())
    assert output.stat().st_mtime_ns == written
    console = Console(width=table.WIDTH, record=True)
    table.show(json.loads(output.read_text()), console)
    assert "ours default" in console.export_text()
