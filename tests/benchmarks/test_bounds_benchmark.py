"""What the benchmark of bounds says: ratios at least 1, and an error where a bound is above a value."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("numba")
pytest.importorskip("sklearn")

from benchmarks.bounds import measure_bounds, show
from benchmarks.solvers.problem import Problem, toy_problem


def best_of_all(problem: Problem) -> np.ndarray:
    every = [np.array(one) for one in itertools.permutations(range(problem.inputs))]
    best = [min(problem.distortion(pair, one) for one in every) for pair in range(len(problem.pairs))]
    return problem.standardized(np.array(best))


def test_ratios_of_the_chosen_pairs() -> None:
    problem = toy_problem(layers=3, inputs=6)
    found = measure_bounds(problem, best_of_all(problem), [0, 2])
    assert found.pairs == [0, 2]
    assert (found.tight >= 1 - 1e-9).all()
    assert (found.fast >= found.tight - 1e-9).all()
    assert (found.seconds > 0).all()
    console = Console(record=True, width=100)
    show({"toy/L3/n6": found}, console)
    text = console.export_text()
    assert f"{found.tight.mean():.2f}" in text
    assert "toy/L3/n6" in text


def test_a_bound_above_a_value_is_an_error() -> None:
    problem = toy_problem(layers=2, inputs=6)
    with pytest.raises(AssertionError, match="toy/L2/n6: a bound lies above"):
        measure_bounds(problem, 0.01 * best_of_all(problem), [0])
