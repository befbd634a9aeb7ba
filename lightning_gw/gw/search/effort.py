"""How much work each effort spends on a pair of layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Effort = Literal["fast", "default", "high"]

#: More rounds than any descent needs.
TO_THE_END = 1000
#: Number of inputs for which sweeps are stated.
USUAL_INPUTS = 128
#: Fewest sweeps of an annealing, and the most, over those at `USUAL_INPUTS`.
MINIMUM_SWEEPS = 4
MOST_SWEEPS = 4
#: Fewest rounds of a reassignment.
MINIMUM_ROUNDS = 3


@dataclass(frozen=True)
class Annealing:
    """One annealing from the best permutation so far.

    Attributes:
        hot: First temperature, in units of the loss per input, by how much `moves.ceiling` is missed: below 1 it
            refines a matching, at 2 or 3 it finds out which clusters of inputs correspond.
        cooling: Last temperature over the first.
        sweeps: Sweeps at 128 inputs.
        moved: Only pairs take part whose share of inputs matched to another than themselves is at least this: layers
            that still pair their inputs need less.
    """

    hot: float
    cooling: float
    sweeps: int
    moved: float = 0.0

    def sweeps_for(self, n: int) -> int:
        """Sweeps for n inputs: fewer where each costs more and there is less to gain from it."""
        share = USUAL_INPUTS / n
        return max(MINIMUM_SWEEPS, round(self.sweeps * (min(share, MOST_SWEEPS) if n <= USUAL_INPUTS else share**1.5)))


@dataclass(frozen=True)
class Reassignment:
    """Noisy assignments of all inputs from the best permutation so far (see `assignments`).

    Attributes:
        rounds: Assignments at 128 inputs.
        noise: First width of the noise on the gradient, in units of the loss per input.
        moved: As for `Annealing`.
    """

    rounds: int
    noise: float
    moved: float = 0.0

    def rounds_for(self, n: int) -> int:
        """Rounds for n inputs: fewer where each costs more."""
        return max(MINIMUM_ROUNDS, round(self.rounds * min(1.0, (USUAL_INPUTS / n) ** 0.5)))


@dataclass(frozen=True)
class EffortPlan:
    """The work of one effort.

    Attributes:
        promising: A start takes part if its loss is at most so many times that of the best start; on few inputs all do.
        scout_rounds: Rounds of descent from each start before the best are kept.
        kept: Starts followed to their local optimum at 128 inputs; fewer for more inputs, one at least.
        through: Third layers whose composed permutations are tried after each stage.
        shakes: One after the other, each from the best so far. Of annealings at cluster temperatures (`hot` above 1) on
            many inputs, the descent starts from a solution on few of them instead.
        patience: Shakes in a row that may fail to improve a pair before it counts as settled.
        improvement: Share by which the loss must fall to count as an improvement.
    """

    promising: float
    scout_rounds: int
    kept: int
    through: int
    shakes: tuple[Annealing | Reassignment, ...]
    patience: int
    improvement: float

    def promising_for(self, n: int) -> float:
        """`promising` for n inputs."""
        return self.promising if n >= USUAL_INPUTS // 2 else float("inf")

    @property
    def coarse(self) -> tuple[Annealing | Reassignment, ...]:
        """What is done on a sample of many inputs, where the question is only which clusters correspond."""
        hot = next(shake for shake in self.shakes if isinstance(shake, Annealing) and shake.hot > 1)
        return (hot, next(shake for shake in self.shakes if isinstance(shake, Reassignment)))

    def kept_for(self, n: int) -> int:
        """Starts followed to their local optimum for n inputs."""
        return max(1, self.kept * USUAL_INPUTS // n)


PLANS: dict[str, EffortPlan] = {
    "fast": EffortPlan(
        promising=1.2,
        scout_rounds=1,
        kept=1,
        through=3,
        shakes=(Annealing(2.0, 0.05, 20, moved=0.9), Reassignment(4, 1.0)),
        patience=1,
        improvement=0.02,
    ),
    "default": EffortPlan(
        promising=1.5,
        scout_rounds=1,
        kept=3,
        through=8,
        shakes=(
            Annealing(2.5, 0.04, 30, moved=0.9),
            Reassignment(8, 1.0),
            Annealing(2.5, 0.04, 30, moved=0.9),
            Reassignment(8, 1.0, moved=0.3),
            Annealing(0.4, 0.1, 40, moved=0.3),
        ),
        patience=2,
        improvement=0.003,
    ),
    "high": EffortPlan(
        promising=float("inf"),
        scout_rounds=TO_THE_END,
        kept=10**9,
        through=64,
        shakes=(
            Reassignment(30, 1.0),
            Annealing(2.5, 0.04, 160),
            Reassignment(30, 2.0),
            Annealing(0.4, 0.1, 80),
            Reassignment(30, 0.5),
            Annealing(1.0, 0.1, 160),
        )
        * 4,
        patience=8,
        improvement=1e-5,
    ),
}

#: Work on pairs whose layers moved since they were last searched: a rival from the cheap starts, and then on from the
#: better of it and the earlier matching.
WARM_PLANS: dict[str, EffortPlan] = {
    "fast": PLANS["fast"],
    "default": replace(PLANS["fast"], shakes=(Annealing(2.0, 0.05, 20, moved=0.9), Reassignment(8, 1.0)), through=8),
    "high": PLANS["default"],
}

#: Work on anchored pairs beyond descents from what the plain search found.
ANCHORED = replace(PLANS["fast"], shakes=(Reassignment(4, 1.0),))
