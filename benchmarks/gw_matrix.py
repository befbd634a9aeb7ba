"""Gromov-Wasserstein matrices of trained networks: this package's solver beside all others, on the same inputs.

    python benchmarks/gw_matrix.py            # everything: hours
    python benchmarks/gw_matrix.py --quick    # three small sets: a minute or two

Within a run every solver takes its turn in every repeat, so that a machine that slows down slows down everybody.
Results are written as they come; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.result_file import open_results, write
from benchmarks.solvers.judging import judge, judge_again
from benchmarks.solvers.measure import Measurement, measure, peak_memory, threads, warm_up
from benchmarks.solvers.peers import ON_REQUEST, POT_DEFAULT, POT_IDENTITY, SLOW, SOLVERS, Solver
from benchmarks.solvers.problem import Problem, load_problem
from benchmarks.solvers.representations import SETS
from benchmarks.solvers.table import show, wide_console
from benchmarks.solvers.warm import measure_warm_starts

OUTPUT = Path(__file__).parents[1] / "runs/benchmarks/gw_matrix.json"
#: One far pair each, for growth.
LARGE_INPUTS = (1024, 2048)
LARGE_NETWORKS = ("minilm", "algebra")


@dataclass(frozen=True, order=True)
class SetName:
    """Which layers of which network on how many inputs."""

    inputs: int
    layers: int
    network: str

    def __str__(self) -> str:
        return f"{self.network}/L{self.layers}/n{self.inputs}"

    @property
    def pairs(self) -> int:
        """Pairs of layers."""
        return self.layers * (self.layers - 1) // 2


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--layers", nargs="+", type=int, default=[7, 13, 25])
    parser.add_argument("--inputs", nargs="+", type=int, default=[128, 256, 512], help="inputs n of the matrices")
    parser.add_argument("--large", nargs="*", type=int, default=list(LARGE_INPUTS), help="inputs n of the single pairs")
    parser.add_argument("--peers", nargs="+", choices=list(SOLVERS), help="solvers; ours and POT always take part")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--budget", type=float, default=30, help="seconds another solver gets per set and repeat")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory, which solves once more")
    parser.add_argument("--no-warm", action="store_true", help="leave out warm starts along a training run")
    parser.add_argument("--fresh", action="store_true", help="measure again what the output file holds already")
    parser.add_argument("--quick", action="store_true", help="L = 7, n = 128, one repeat, no slow peers, no memory")
    parser.add_argument("--show", action="store_true", help="print the tables of the output file; measure nothing")
    options = parser.parse_args(arguments)
    if options.quick:
        options.layers, options.inputs, options.large = [7], [128], []
        options.repeats, options.budget, options.no_memory, options.no_warm = 1, 5.0, True, True
    return options


def chosen_solvers(options: argparse.Namespace) -> list[Solver]:
    """Those asked for, in fixed order; ours and the two references of POT always."""
    if options.peers:
        names = {*options.peers, "ours fast", "ours default", POT_DEFAULT, POT_IDENTITY}
    else:
        names = set(SOLVERS) - (SLOW if options.quick else ON_REQUEST)
    return [solver for name, solver in SOLVERS.items() if name in names]


def chosen_sets(options: argparse.Namespace) -> list[SetName]:
    """Small ones first, so that something is there early."""
    matrices = [
        SetName(n, count, network)
        for network in options.networks
        for count in options.layers
        if count in SETS[network]
        for n in options.inputs
    ]
    large = [SetName(n, 2, network) for network in options.networks if network in LARGE_NETWORKS for n in options.large]
    return sorted(matrices) + sorted(large)


def estimate(solver: Solver, name: SetName, options: argparse.Namespace) -> float:
    """About how many seconds a solver takes on a set, all repeats."""
    if solver.most_inputs is not None and name.inputs > solver.most_inputs:
        return 0.0
    once = solver.estimate(name.pairs, name.inputs)
    if not solver.ours:
        once = min(once, max(options.budget, solver.estimate(1, name.inputs)))
    return once * (options.repeats + (0 if options.no_memory or not solver.ours else 1))


def run_set(
    name: SetName,
    solvers: Sequence[Solver],
    options: argparse.Namespace,
    progress: Progress,
    earlier_peaks: dict[str, float],
) -> dict[str, Any]:
    """Measure all solvers on one set.

    Args:
        name: The set.
        solvers: In the order in which they take turns.
        options: Of the command line.
        progress: Where to say what is going on.
        earlier_peaks: Peak memory of solvers that go pair by pair; added to.

    Returns:
        What the output file holds under the set's name.
    """
    problem = load_problem(name.network, name.layers, name.inputs)
    skipped: dict[str, str] = {}
    samples: dict[str, list[int]] = {}
    runs: dict[str, list[Measurement]] = {}
    bar = progress.add_task(str(name), total=None)
    for solver in solvers:
        progress.update(bar, description=f"{name}: {solver.name}, trial")
        reason = _left_out(solver, problem)
        if reason is not None:
            skipped[solver.name] = reason
            continue
        warm_up(solver)
        runs[solver.name] = []
        samples[solver.name] = list(range(len(problem.pairs)))
        if solver.chunk is not None:
            samples[solver.name], trial = _sample(solver, problem, options.budget)
            if trial is not None:  # so slow that the trial has to serve as its only repeat
                runs[solver.name].append(trial)
    slow = {key for key, measured in runs.items() if measured}
    for repeat in range(options.repeats):
        for key in (key for key in runs if key not in slow):
            progress.update(bar, description=f"{name}: {key}, repeat {repeat + 1} of {options.repeats}")
            runs[key].append(measure(SOLVERS[key], problem, samples[key]))
    peaks: dict[str, float] = {}
    for key in [] if options.no_memory else [key for key in runs if key not in slow]:
        # What goes pair by pair needs as much in every set of this n.
        solver, known = SOLVERS[key], earlier_peaks.get(f"{key}, n = {name.inputs}")
        if known is None:
            progress.update(bar, description=f"{name}: {key}, memory")
            pairs = samples[key] if solver.chunk is None else samples[key][: solver.chunk]
            known = peak_memory(solver, name.network, name.layers, name.inputs, pairs, options.threads)
            if solver.chunk is not None:
                earlier_peaks[f"{key}, n = {name.inputs}"] = known
        peaks[key] = known
    progress.remove_task(bar)
    return summarise(problem, runs, samples, skipped, peaks)


def _left_out(solver: Solver, problem: Problem) -> str | None:
    if solver.most_inputs is not None and problem.inputs > solver.most_inputs:
        return f"left out above n = {solver.most_inputs}: a single pair takes too long"
    return solver.unavailable()


def _sample(solver: Solver, problem: Problem, budget: float) -> tuple[list[int], Measurement | None]:
    """As many pairs, drawn with a fixed seed, as fit the budget; and the trial where not even that fits."""
    assert solver.chunk is not None
    order = [int(pair) for pair in np.random.default_rng(0).permutation(len(problem.pairs))]
    first = order[: solver.chunk]
    trial = measure(solver, problem, first)
    if trial.wall > budget:
        return first, trial
    count = int(len(first) * budget / max(trial.wall, 1e-6))
    return sorted(order[: max(count, len(first))]), None


def summarise(
    problem: Problem,
    runs: dict[str, list[Measurement]],
    samples: dict[str, list[int]],
    skipped: dict[str, str],
    peaks: dict[str, float],
) -> dict[str, Any]:
    """Numbers of one set from its measurements."""
    entries: dict[str, Any] = {}
    for key, measured in runs.items():
        wall, cpu = ([getattr(run, clock) / len(samples[key]) for run in measured] for clock in ("wall", "cpu"))
        lower = measured[0].lower
        entries[key] = {
            "pairs_timed": len(samples[key]),
            "seconds_per_pair": wall,
            "cpu_seconds_per_pair": cpu,
            "matrix_seconds": float(np.median(wall)) * len(problem.pairs),
            "peak_mib": peaks.get(key),
            "marginal_error": measured[0].marginal_error,
            "sample": samples[key],
            # The best of the repeats would flatter: the first one counts. Solvers are seeded, so they rarely differ.
            "distortion": measured[0].distortion.tolist(),
            "lower": None if lower is None else lower.tolist(),
        }
        if POT_DEFAULT in runs:
            for clock, mine in (("wall", wall), ("cpu", cpu)):
                pot = [getattr(run, clock) / len(samples[POT_DEFAULT]) for run in runs[POT_DEFAULT]]
                # A trial that had to serve as the only repeat is compared with the median.
                against = pot if len(pot) == len(mine) else [float(np.median(pot))] * len(mine)
                entries[key][f"{clock}_ratio_to_pot"] = float(np.median(np.array(mine) / np.array(against)))
    found = {
        "digest": problem.digest,
        "pairs": len(problem.pairs),
        "inputs": problem.inputs,
        "solvers": entries,
        "skipped": skipped,
    }
    judge(problem, found)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    console = wide_console()
    if options.show:
        results = json.loads(options.output.read_text())
        judge_again(results)
        show(results, console)
        return
    solvers, names = chosen_solvers(options), chosen_sets(options)
    results = open_results(options, console)
    wanted = {solver.name for solver in solvers}

    def done(name: SetName) -> bool:
        held = results["sets"].get(str(name))
        return held is not None and wanted <= {*held["solvers"], *held["skipped"]}

    todo = [name for name in names if not done(name)]
    costs = {name: sum(estimate(solver, name, options) for solver in solvers) for name in todo}
    console.print(
        f"{len(todo)} sets to measure, {len(names) - len(todo)} measured before; "
        f"about {max(1, round(sum(costs.values()) / 60))} minutes. Results: {options.output}"
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with threads(options.threads), Progress(*columns, console=console) as progress:
        whole = progress.add_task("all sets", total=sum(costs.values()) or 1)
        for name in todo:
            results["sets"][str(name)] = run_set(name, solvers, options, progress, results["peaks"])
            write(results, options.output)
            progress.advance(whole, costs[name])
        for inputs in [] if options.no_warm else options.inputs:
            if str(inputs) not in results["warm"]:
                bar = progress.add_task(f"warm starts, n = {inputs}", total=None)
                results["warm"][str(inputs)] = measure_warm_starts(inputs, options.repeats)
                write(results, options.output)
                progress.remove_task(bar)
    measured = json.dumps(results)
    judge_again(results)
    if json.dumps(results) != measured:
        write(results, options.output)
    show(results, console)


if __name__ == "__main__":
    main()
