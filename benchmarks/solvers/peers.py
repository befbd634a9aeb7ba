"""The solvers that are compared: ours, and every other one that takes two equally large metric-measure spaces.

Ours is given representations and makes its matrices itself, lower bounds included; the others are given matrices that
are made already, in geometry ``euclidean``, float64, which is what POT computes in.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ot
import torch
from ot.batch import solve_gromov_batch
from scipy.optimize import quadratic_assignment

from benchmarks.solvers.problem import Coupling, FloatArray, Problem, toy_problem
from lightning_gw.gw import gw_matrix

#: Regularisations of entropic GW, on matrices with mean 1. Of 0.1 … 0.001 the ones that ended lowest on MiniLM layers
#: at n = 128 within seconds; 0.1, POT's default, returns nearly the product coupling.
PROJECTED_EPSILON = 0.002
PROXIMAL_EPSILON = 0.01
BAPG_EPSILON = 1.0
#: Of 0.1 … 0.0001 the best that keeps the marginals within about one percent, and POT's default.
BATCH_EPSILON = 0.01
BATCH_PAIRS = 16
OTT_EPSILON = 0.002
RESTARTS = 10


@dataclass(frozen=True)
class Found:
    """What a solver returns for some pairs.

    Attributes:
        couplings: One per pair asked for.
        lower: ``(pairs,)`` certified lower bounds in ``standardized``, where the solver gives any.
        reported: ``(pairs,)`` distortions in ``standardized`` that the solver itself claims, where it gives any.
    """

    couplings: list[Coupling]
    lower: FloatArray | None = None
    reported: FloatArray | None = None


@dataclass(frozen=True)
class Solver:
    """A solver under one name.

    Attributes:
        name: What tables show.
        solve: Problem and numbers of pairs to `Found`.
        chunk: Pairs it is given at a time; None: always all pairs of the problem.
        unavailable: Reason why it cannot run here, or None.
        milliseconds: About what a pair takes at n = 128 on one core, for estimates alone.
        most_inputs: Problems with more inputs are left out: a single pair would take an hour or more.
    """

    name: str
    solve: Callable[[Problem, Sequence[int]], Found]
    chunk: int | None = 1
    unavailable: Callable[[], str | None] = lambda: None
    milliseconds: float = 10.0
    most_inputs: int | None = None

    def estimate(self, pairs: int, inputs: int) -> float:
        """About how many seconds `pairs` pairs take."""
        return self.milliseconds / 1000 * pairs * (inputs / 128) ** 2.5

    @property
    def ours(self) -> bool:
        """Whether it is this package's."""
        return self.name.startswith("ours")


def our_solver(name: str, milliseconds: float, **options: Any) -> Solver:
    """`gw_matrix` with some options; unavailable where it does not know them."""

    def solve(problem: Problem, pairs: Sequence[int]) -> Found:
        result = gw_matrix(problem.representations, **options)
        if result.degenerate:
            raise RuntimeError(f"{problem.name}: {result.degenerate}")
        first, second = problem.pairs[list(pairs)].T
        return Found(
            list(result.couplings[first, second]), result.lower[first, second], result.distortion[first, second]
        )

    def unavailable() -> str | None:
        toy = toy_problem()
        try:
            gw_matrix(toy.representations, **options)
        except ValueError as problem:
            return str(problem)
        return None

    return Solver(name, solve, chunk=None, unavailable=unavailable, milliseconds=milliseconds)


def pairwise(
    name: str, milliseconds: float, one: Callable[[FloatArray, FloatArray], Coupling], **fields: Any
) -> Solver:
    """A solver that takes one pair of matrices at a time."""

    def solve(problem: Problem, pairs: Sequence[int]) -> Found:
        return Found([one(*problem.of_pair(pair)) for pair in pairs])

    return Solver(name, solve, milliseconds=milliseconds, **fields)


def conditional_gradient(a: FloatArray, b: FloatArray, start: FloatArray | None = None) -> tuple[FloatArray, float]:
    """POT's exact solver with its own defaults: plan and the value POT gives it."""
    weights = ot.unif(len(a))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan, log = ot.gromov.gromov_wasserstein(a, b, weights, weights, G0=start, log=True)
    return np.asarray(plan), float(log["gw_dist"])


def _from_identity(a: FloatArray, b: FloatArray) -> Coupling:
    return conditional_gradient(a, b, np.eye(len(a)) / len(a))[0]


def _from_restarts(a: FloatArray, b: FloatArray) -> Coupling:
    generator = np.random.default_rng(0)
    starts = [None, *(np.eye(len(a))[generator.permutation(len(a))] / len(a) for _ in range(RESTARTS - 1))]
    return min((conditional_gradient(a, b, start) for start in starts), key=lambda found: found[1])[0]


def _entropic(a: FloatArray, b: FloatArray, epsilon: float, solver: str) -> Coupling:
    weights = ot.unif(len(a))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(ot.gromov.entropic_gromov_wasserstein(a, b, weights, weights, epsilon=epsilon, solver=solver))


def _alternating(a: FloatArray, b: FloatArray) -> Coupling:
    weights = ot.unif(len(a))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = ot.gromov.BAPG_gromov_wasserstein(a, b, weights, weights, epsilon=BAPG_EPSILON, marginal_loss=True)
    return np.asarray(plan)


def _batch(problem: Problem, pairs: Sequence[int]) -> Found:
    first, second = problem.pairs[list(pairs)].T
    a, b = torch.from_numpy(problem.matrices[first]), torch.from_numpy(problem.matrices[second])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        solved = solve_gromov_batch(a, b, reg=BATCH_EPSILON, symmetric=True, grad="detach")
    return Found(list(solved.plan.numpy()))


def _quadratic_assignment(a: FloatArray, b: FloatArray, method: str) -> Coupling:
    options = {"maximize": True, "rng": np.random.default_rng(0)}
    return np.asarray(quadratic_assignment(a, b, method=method, options=options).col_ind, dtype=np.int64)


def _ott_unavailable() -> str | None:
    if importlib.util.find_spec("ott") is None or importlib.util.find_spec("jax") is None:
        return "ott-jax is not installed"
    return None


@functools.cache
def _ott_solver() -> Callable[[FloatArray, FloatArray], Any]:
    # JAX reads this once, at import: one thread, like everybody else.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax
    from ott.geometry.geometry import Geometry
    from ott.problems.quadratic.quadratic_problem import QuadraticProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn
    from ott.solvers.quadratic.gromov_wasserstein import GromovWasserstein

    solver = GromovWasserstein(Sinkhorn(), epsilon=OTT_EPSILON)
    return jax.jit(lambda a, b: solver(QuadraticProblem(Geometry(a), Geometry(b))).matrix)


def _ott(a: FloatArray, b: FloatArray) -> Coupling:
    return np.asarray(_ott_solver()(a.astype(np.float32), b.astype(np.float32)), dtype=np.float64)


POT_DEFAULT = "POT product start"
POT_IDENTITY = "POT identity start"
SOLVERS: dict[str, Solver] = {
    solver.name: solver
    for solver in (
        our_solver("ours fast", 12, effort="fast"),
        our_solver("ours default", 35, effort="default"),
        our_solver("ours high", 3000, effort="high"),
        our_solver("ours default, tight bounds", 100, effort="default", bounds="tight"),
        pairwise(POT_DEFAULT, 7, lambda a, b: conditional_gradient(a, b)[0]),
        pairwise(POT_IDENTITY, 4, _from_identity),
        pairwise(f"POT best of {RESTARTS} starts", 70, _from_restarts, most_inputs=1024),
        Solver("POT batch", _batch, chunk=BATCH_PAIRS, milliseconds=200, most_inputs=1024),
        pairwise("POT entropic", 1000, lambda a, b: _entropic(a, b, PROJECTED_EPSILON, "PGD"), most_inputs=512),
        pairwise("POT proximal", 1500, lambda a, b: _entropic(a, b, PROXIMAL_EPSILON, "PPA"), most_inputs=512),
        pairwise("POT BAPG", 700, _alternating, most_inputs=512),
        pairwise("SciPy faq", 8, lambda a, b: _quadratic_assignment(a, b, "faq")),
        pairwise("SciPy 2opt", 65_000, lambda a, b: _quadratic_assignment(a, b, "2opt"), most_inputs=128),
        pairwise("OTT-JAX", 600, _ott, unavailable=_ott_unavailable, most_inputs=512),
    )
}
#: What is left out unless asked for: far more work than the rest.
ON_REQUEST = frozenset({"ours high"})
#: What is left out of a quick run.
SLOW = frozenset({"ours high", "SciPy 2opt"})
