"""Time and memory of one solver on one problem."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.solvers.peers import SOLVERS, Solver
from benchmarks.solvers.problem import FloatArray, Problem, load_problem, marginal_error, toy_problem

#: What a solver reports about a permutation must agree with our own value of it.
AGREEMENT = 1e-7


@dataclass(frozen=True)
class Measurement:
    """One solver, once, on some pairs of a problem.

    Attributes:
        wall: Seconds on the clock, for these pairs.
        cpu: Seconds of processor time of all threads.
        distortion: ``(pairs,)`` values in geometry ``euclidean``, computed by `Problem.distortion`.
        lower: ``(pairs,)`` lower bounds in ``standardized``, or None.
        marginal_error: Largest deviation of a plan's marginals from uniform.
    """

    wall: float
    cpu: float
    distortion: FloatArray
    lower: FloatArray | None
    marginal_error: float


@contextmanager
def threads(count: int) -> Iterator[None]:
    """`count` threads for torch, BLAS and OpenMP."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def measure(solver: Solver, problem: Problem, pairs: Sequence[int]) -> Measurement:
    """Solve `pairs` and value what comes; only the solving is timed.

    Raises:
        RuntimeError: If a solver claims another value than its permutation has.
    """
    wall = cpu = error = 0.0
    values: list[float] = []
    bounds: list[FloatArray] = []
    size = solver.chunk or len(pairs)
    for start in range(0, len(pairs), size):
        chunk = list(pairs[start : start + size])
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        found = solver.solve(problem, chunk)
        cpu += time.process_time() - cpu_before
        wall += time.perf_counter() - wall_before
        here = [problem.distortion(pair, coupling) for pair, coupling in zip(chunk, found.couplings, strict=True)]
        error = max(error, *(marginal_error(coupling) for coupling in found.couplings))
        if found.reported is not None:
            ours = problem.standardized(np.array(here), np.array(chunk))
            worst = float(np.abs(ours - found.reported).max())
            if not worst <= AGREEMENT:
                raise RuntimeError(f"{solver.name} on {problem.name} reports values that are off by {worst:.2g}.")
        if found.lower is not None:
            bounds.append(found.lower)
        values += here
    return Measurement(wall, cpu, np.array(values), np.concatenate(bounds) if bounds else None, error)


def warm_up(solver: Solver) -> None:
    """Have everything imported and compiled that is imported or compiled once."""
    toy = toy_problem()
    solver.solve(toy, range(len(toy.pairs)))


def peak_memory(solver: Solver, network: str, layers: int, inputs: int, pairs: Sequence[int], count: int) -> float:
    """MiB a solver needs at its peak beyond what the process held before, inputs included; in a process of its own.

    Args:
        solver: One of `SOLVERS`.
        network: Network of the problem.
        layers: Its ``L``.
        inputs: Its ``n``.
        pairs: Pairs to solve.
        count: Threads.

    Raises:
        RuntimeError: If that process ends without an answer, for want of memory perhaps.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    job = (there, solver.name, network, layers, inputs, list(pairs), count)
    process = context.Process(target=_measure_memory, args=job)
    process.start()
    there.close()
    try:
        peak: float = here.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{solver.name} ended with exit code {process.exitcode} on {network}.") from None
    process.join()
    return peak


def _measure_memory(
    connection: Connection,
    name: str,
    network: str,
    layers: int,
    inputs: int,
    pairs: list[int],
    count: int,
) -> None:
    problem = load_problem(network, layers, inputs)
    with threads(count):
        warm_up(SOLVERS[name])
        with high_water() as peak:
            SOLVERS[name].solve(problem, pairs)
    connection.send(peak[0])


@contextmanager
def high_water() -> Iterator[list[float]]:
    """Yields a list that afterwards holds the rise of resident memory at its peak, in MiB.

    Linux can reset its own high-water mark, which misses nothing. Elsewhere the rise of the process's mark is taken,
    which is too small where the process had held more before.
    """
    peak = [0.0]
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        unit = 2**20 if sys.platform == "darwin" else 2**10
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield peak
        peak[0] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit / 2**20
        return
    before = _status("VmRSS")
    yield peak
    peak[0] = (_status("VmHWM") - before) / 2**10


def _status(field: str) -> int:
    """A field of this process's status, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}.")
