"""The best values known of the benchmark's problems, from long runs of independent methods.

    python benchmarks/best_known.py --minutes 60                     # all sets, an hour in all
    python benchmarks/best_known.py --minutes 10 --networks minilm --layers 7 --inputs 128

Three methods take turns, each given the same time: this package at high effort with one seed after the other; simulated
annealing written here, on moves of its own, from other starts; and POT's conditional gradient from random permutations,
followed by the descent written here. None starts from what another found. The smallest value of a pair is kept with the
name of the method that reached it first; a run can only lower what ``best_known.json`` holds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from rich.console import Console
from scipy.optimize import linear_sum_assignment

from benchmarks.solvers.measure import threads
from benchmarks.solvers.peers import conditional_gradient
from benchmarks.solvers.problem import FloatArray, Problem, load_problem
from benchmarks.solvers.representations import SETS
from lightning_gw.gw import gw_matrix

FILE = Path(__file__).with_name("best_known.json")
#: Values are kept to this many significant digits, and replaced when lowered by more than that.
DIGITS = 10
IMPROVEMENT = 1e-9
#: Annealings of a pair, in turn: where from, the first temperature over the mean absolute gain there, the last over the
#: first. Near layers want a cool start from the identity, far ones a hot one; returning to one's own best refines it.
SCHEDULE = (
    ("identity", 0.1, 0.02),
    ("identity", 0.03, 0.1),
    ("random", 0.4, 0.02),
    ("own best", 0.03, 0.1),
    ("identity", 0.4, 0.02),
    ("own best", 0.1, 0.1),
)
#: Swaps tried per annealing, over n²; every full turn through `SCHEDULE` doubles it.
TRIES = 100

Permutation = NDArray[np.int64]
#: A number of a pair, and a permutation for it.
Candidates = Iterator[tuple[int, Permutation]]


def load_best_known(problem: Problem, path: Path = FILE) -> FloatArray | None:
    """Best known distortions of a problem.

    Args:
        problem: The problem; every pair is looked up by the hash of its inputs, whichever set it was searched in.
        path: The file of them.

    Returns:
        ``(P,)`` in geometry ``standardized``, pairs in row-major order; None unless all are known.
    """
    if not path.exists():
        return None
    entries = json.loads(path.read_text())
    keys = problem.keys
    return np.array([entries[key]["distortion"] for key in keys]) if all(key in entries for key in keys) else None


@dataclass
class Record:
    """Best values of one problem so far.

    Attributes:
        problem: The problem.
        distortion: ``(P,)`` in ``standardized``.
        method: For every pair the method that reached the value first.
        found: For every method the ``(P,)`` best values it reached itself in this run.
    """

    problem: Problem
    distortion: FloatArray
    method: list[str]
    found: dict[str, FloatArray] = field(default_factory=dict)

    @staticmethod
    def of(problem: Problem, entries: Mapping[str, Any]) -> Record:
        """From what the file holds, and the identity coupling where it holds nothing."""
        record = Record(problem, problem.standardized(problem.identity()), ["identity"] * len(problem.pairs))
        for pair, key in enumerate(problem.keys):
            if key in entries and entries[key]["distortion"] <= record.distortion[pair]:
                record.distortion[pair], record.method[pair] = entries[key]["distortion"], entries[key]["method"]
        return record

    def offer(self, method: str, pair: int, permutation: Permutation) -> None:
        """Keep a permutation's value if it is better."""
        value = self.problem.distortion(pair, permutation)
        value = float(self.problem.standardized(np.array([value]), np.array([pair]))[0])
        own = self.found.setdefault(method, np.full(len(self.method), np.inf))
        own[pair] = min(own[pair], value)
        if value < self.distortion[pair] * (1 - IMPROVEMENT):
            self.distortion[pair], self.method[pair] = value, method

    def entries(self) -> dict[str, Any]:
        """What the file holds of these pairs."""
        network, _, inputs = self.problem.name.split("/")
        layers = list(self.problem.representations)
        return {
            key: {
                "pair": f"{network}/{inputs}: {layers[i]} {layers[j]}",
                "distortion": float(f"{value:.{DIGITS}g}"),
                "method": method,
            }
            for key, (i, j), value, method in zip(
                self.problem.keys, self.problem.pairs, self.distortion, self.method, strict=True
            )
        }


def this_package(problem: Problem, pairs: Sequence[int]) -> Candidates:
    """`gw_matrix` at high effort, seed after seed: the whole matrix at once, of which `pairs` are looked at."""
    seed = 0
    while True:
        result = gw_matrix(problem.representations, effort="high", bounds=None, seed=seed)
        for pair in pairs:
            i, j = problem.pairs[pair]
            yield pair, result.couplings[i, j]
        seed += 1


def annealing(problem: Problem, pairs: Sequence[int]) -> Candidates:
    """Simulated annealing of random swaps, by `SCHEDULE`."""
    own = {pair: np.arange(problem.inputs) for pair in pairs}
    values = problem.identity()
    restart = 0
    while True:
        source, hot, fall = SCHEDULE[restart % len(SCHEDULE)]
        tries = TRIES * 2 ** (restart // len(SCHEDULE)) * problem.inputs**2
        for pair in pairs:
            generator = np.random.default_rng((restart, pair))
            start = own[pair] if source == "own best" else np.arange(problem.inputs)
            if source == "random":
                start = generator.permutation(problem.inputs)
            a, b = _centred(problem, pair)
            found = anneal(a, b, start, hot, hot * fall, tries, int(generator.integers(2**31)))
            value = problem.distortion(pair, found)
            if value < values[pair]:
                own[pair], values[pair] = found, value
            yield pair, found
        restart += 1


def conditional_gradients(problem: Problem, pairs: Sequence[int]) -> Candidates:
    """POT's exact solver, from the product coupling once and then from random permutations, and a descent by swaps."""
    restart = 0
    while True:
        for pair in pairs:
            generator = np.random.default_rng((restart, pair))
            n = problem.inputs
            start = None if restart == 0 else np.eye(n)[generator.permutation(n)] / n
            plan, _ = conditional_gradient(*problem.of_pair(pair), start)
            a, b = _centred(problem, pair)
            # Its solutions are permutations up to rounding; where one is not, the largest entries decide.
            yield pair, descend(a, b, _to_permutation(plan))
        restart += 1


METHODS: dict[str, Callable[[Problem, Sequence[int]], Candidates]] = {
    "gw_matrix, high effort": this_package,
    "simulated annealing": annealing,
    "conditional gradient and descent": conditional_gradients,
}


def improve(record: Record, seconds: float, pairs: Sequence[int], methods: Sequence[str] = tuple(METHODS)) -> None:
    """Let the methods take turns for about `seconds`; each finishes at least its first candidate of every pair."""
    if not pairs:
        return
    running = {method: METHODS[method](record.problem, pairs) for method in methods}
    spent = dict.fromkeys(methods, 0.0)
    given = dict.fromkeys(methods, 0)
    while sum(spent.values()) < seconds or min(given.values()) < len(pairs):
        unfinished = [method for method in methods if given[method] < len(pairs)]
        open_to = unfinished if sum(spent.values()) >= seconds else list(methods)
        method = min(open_to, key=lambda each: spent[each])
        started = time.perf_counter()
        record.offer(method, *next(running[method]))
        spent[method] += time.perf_counter() - started
        given[method] += 1


def _centred(problem: Problem, pair: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both matrices less their off-diagonal mean: the same best permutation, and smaller numbers to round."""
    found = []
    for matrix in problem.of_pair(pair):
        n = len(matrix)
        centred = matrix - matrix.sum() / (n * (n - 1))
        np.fill_diagonal(centred, 0)
        found.append((centred / centred.std()).astype(np.float32))
    return found[0], found[1]


def _to_permutation(plan: FloatArray) -> Permutation:
    return np.asarray(linear_sum_assignment(-plan)[1], dtype=np.int64)


def anneal(
    a: NDArray[np.float32], b: NDArray[np.float32], start: Permutation, hot: float, cold: float, tries: int, seed: int
) -> Permutation:
    """Simulated annealing of ``Σ A ∘ B[p][:, p]`` with swaps of two inputs drawn at random, and a descent at the end.

    Args:
        a: ``(n, n)`` symmetric with zero diagonal.
        b: The same of the other layer.
        start: ``(n,)`` permutation.
        hot: First temperature over the mean absolute gain of a swap at the start.
        cold: Last temperature over the same; the temperature falls geometrically.
        tries: Swaps tried.
        seed: Seed.

    Returns:
        ``(n,)`` permutation no single swap improves.
    """
    p = start.astype(np.int64)
    _anneal(a, np.ascontiguousarray(b[np.ix_(p, p)]), p, hot, cold, tries, seed)
    return descend(a, b, p)


def descend(a: NDArray[np.float32], b: NDArray[np.float32], start: Permutation) -> Permutation:
    """Make improving swaps, the first one met, until there is none."""
    p = start.astype(np.int64)
    _descend(a, np.ascontiguousarray(b[np.ix_(p, p)]), p)
    return p


@njit(cache=True, fastmath=True)
def _gain(a, b, u, v):  # type: ignore[no-untyped-def]
    """Half the gain of swapping ``u`` and ``v``, ``b`` being in permuted order."""
    total = np.float32(0)
    for k in range(len(a)):
        total += (a[u, k] - a[v, k]) * (b[v, k] - b[u, k])
    # The sum counts k = u and k = v as −(a_uv b_uv) each; a swap leaves that entry where it is.
    return total + 2 * a[u, v] * b[u, v]


@njit(cache=True)
def _swap(b, p, u, v):  # type: ignore[no-untyped-def]
    for k in range(len(b)):
        b[u, k], b[v, k] = b[v, k], b[u, k]
    for k in range(len(b)):
        b[k, u], b[k, v] = b[k, v], b[k, u]
    p[u], p[v] = p[v], p[u]


@njit(cache=True)
def _anneal(a, b, p, hot, cold, tries, seed):  # type: ignore[no-untyped-def]
    np.random.seed(seed)
    n = len(a)
    scale = 0.0
    for _ in range(1000):
        scale += abs(_gain(a, b, np.random.randint(n), np.random.randint(n))) / 1000
    for turn in range(tries):
        u = np.random.randint(n)
        v = np.random.randint(n - 1)
        v += v >= u
        gain = _gain(a, b, u, v)
        if gain > 0 or gain > scale * hot * (cold / hot) ** (turn / tries) * np.log(np.random.random()):
            _swap(b, p, u, v)


@njit(cache=True)
def _descend(a, b, p):  # type: ignore[no-untyped-def]
    n = len(a)
    tolerance = 1e-5 * np.sqrt(n)
    improved = True
    while improved:
        improved = False
        for u in range(n):
            for v in range(u):
                if _gain(a, b, u, v) > tolerance:
                    _swap(b, p, u, v)
                    improved = True


def write(entries: dict[str, Any], path: Path) -> None:
    """Write all or nothing, one pair per line."""
    body = ",\n".join(f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in entries.items())
    unfinished = path.with_suffix(".part")
    unfinished.write_text("{\n" + body + "\n}\n")
    unfinished.replace(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Improve the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="in all; shared by the sets as their work grows")
    parser.add_argument("--networks", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--layers", nargs="+", type=int, default=[7, 13, 25], help="2 for the single far pairs")
    parser.add_argument("--inputs", nargs="+", type=int, default=[128, 256, 512])
    parser.add_argument("--missing", action="store_true", help="only pairs that the file does not hold yet")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    console = Console()
    sets = [
        (network, layers, inputs)
        for inputs in options.inputs
        for layers in options.layers
        for network in options.networks
        if layers in SETS[network] or layers == 2
    ]
    # The square root of the work of one method: small sets, the ones looked at most, get more than their part.
    weights = [(layers * (layers - 1) / 2 * inputs**2.5) ** 0.5 for _, layers, inputs in sets]
    entries: dict[str, Any] = json.loads(options.output.read_text()) if options.output.exists() else {}
    with threads(options.threads):
        for (network, layers, inputs), weight in zip(sets, weights, strict=True):
            problem = load_problem(network, layers, inputs)
            record = Record.of(problem, entries)
            before = record.distortion.copy()
            pairs = [pair for pair, key in enumerate(problem.keys) if not (options.missing and key in entries)]
            started = time.perf_counter()
            improve(record, 60 * options.minutes * weight / sum(weights), pairs, options.methods)
            entries |= record.entries()
            write(entries, options.output)
            lowered = int(np.sum(record.distortion < before * (1 - IMPROVEMENT)))
            ratios = {method: (found / record.distortion)[pairs] for method, found in record.found.items() if pairs}
            worst = ", ".join(
                f"{method} {np.mean(ratio):.5f} / {np.max(ratio):.4f}" for method, ratio in ratios.items()
            )
            console.print(
                f"{problem.name}: {lowered} of {len(pairs)} pairs lowered in {time.perf_counter() - started:.0f} s; "
                f"mean / worst ratio to the best: {worst}",
                highlight=False,
            )


if __name__ == "__main__":
    main()
