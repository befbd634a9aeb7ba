"""How far lower bounds stay below the best known values, and what they cost.

    python benchmarks/bounds.py                  # L = 7, n = 128, every pair: minutes
    python benchmarks/bounds.py --every 5        # one pair in five

The search has no part in it: bounds are given the best known values of `best_known.json`. Ratios are those of the mean
squared difference in the standardized geometry, best known over bound; times are processor time of one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.best_known import load_best_known
from benchmarks.solvers.measure import threads
from benchmarks.solvers.problem import FloatArray, Problem, load_problem
from benchmarks.solvers.representations import SETS
from lightning_gw.geometry.spaces import make_spaces
from lightning_gw.gw.bounds.permutations import Spectrum, spectral_bound
from lightning_gw.gw.bounds.tight import tight_bounds
from lightning_gw.gw.search.sorted_rows import sorted_rows_assignments


@dataclass(frozen=True)
class Tightness:
    """What was found of one problem.

    Attributes:
        pairs: ``(P,)`` numbers of the pairs.
        fast: ``(P,)`` best known value over the fast bound.
        tight: ``(P,)`` the same of the tight bound.
        seconds: ``(P,)`` processor time of the tight bound.
    """

    pairs: list[int]
    fast: FloatArray
    tight: FloatArray
    seconds: FloatArray


def measure_bounds(problem: Problem, best: FloatArray, pairs: Sequence[int]) -> Tightness:
    """Tight and fast bounds of some pairs of a problem.

    Args:
        problem: The problem.
        best: ``(P,)`` best known values of all its pairs, standardized.
        pairs: Numbers of the pairs to bound.

    Raises:
        AssertionError: If a bound lies above the best known value: it would be wrong.
    """
    matrices = make_spaces(problem.representations, "standardized").matrices
    chosen = torch.from_numpy(problem.pairs[list(pairs)])
    goal = best[list(pairs)]
    spectral = spectral_bound(Spectrum.of(matrices), chosen[:, 0], chosen[:, 1])
    fast = torch.maximum(spectral, sorted_rows_assignments(matrices, chosen[:, 0], chosen[:, 1])[1]).numpy()
    tight, seconds = np.zeros(len(pairs)), np.zeros(len(pairs))
    for k, (first, second) in enumerate(chosen):
        start = time.process_time()
        tight[k] = tight_bounds(matrices, first[None], second[None], torch.tensor(goal[k : k + 1]))
        seconds[k] = time.process_time() - start
    if not (tight <= goal * (1 + 1e-9)).all():
        raise AssertionError(f"{problem.name}: a bound lies above a best known value.")
    return Tightness(list(pairs), goal / fast, goal / tight, seconds)


def show(found: dict[str, Tightness], console: Console) -> None:
    """A row for every problem, and one for the mean over problems."""
    table = Table(title="best known value over bound")
    for header in ("set", "pairs", "fast", "tight", "tight, worst", "s a pair"):
        table.add_column(header, justify="left" if header == "set" else "right")
    for name, one in found.items():
        numbers = (one.fast.mean(), one.tight.mean(), one.tight.max(), one.seconds.mean())
        table.add_row(name, str(len(one.pairs)), *(f"{number:.2f}" for number in numbers))
    means = [np.mean([getattr(one, key).mean() for one in found.values()]) for key in ("fast", "tight", "seconds")]
    table.add_row("mean", "", f"{means[0]:.2f}", f"{means[1]:.2f}", "", f"{means[2]:.2f}")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(SETS), default=sorted(SETS))
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--inputs", type=int, default=128, help="inputs n of the matrices")
    parser.add_argument("--every", type=int, default=1, help="bound one pair in so many")
    options = parser.parse_args(arguments)
    console = Console()
    found: dict[str, Tightness] = {}
    with threads(1):
        for network in options.networks:
            problem = load_problem(network, options.layers, options.inputs)
            best = load_best_known(problem)
            if best is None:
                parser.error(f"no best known values of {problem.name}; see benchmarks/best_known.py")
            found[problem.name] = measure_bounds(problem, best, range(0, len(problem.pairs), options.every))
            console.print(f"{problem.name}: {found[problem.name].tight.mean():.3f}")
    show(found, console)


if __name__ == "__main__":
    main()
