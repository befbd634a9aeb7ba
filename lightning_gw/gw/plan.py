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
class Plan:
    """The work of one effort.

    Attributes:
        promising: A start takes part if its loss is at most so many times that of the best start; on few inputs all do.
        assignments: Linear assignments followed from the identity to one more start.
        scout_rounds: Rounds of descent from each start before the best are kept.
        kept: Starts followed to their local optimum at 128 inputs; fewer for more inputs, one at least.
        through: Third layers whose composed permutations are tried after each stage.
        annealings: One after the other; of those at cluster temperatures (`hot` above 1) on many inputs, the descent
            starts from a solution on few of them instead.
        patience: Annealings in a row that may fail to improve a pair before it counts as settled.
        improvement: Share by which the loss must fall to count as an improvement.
    """

    promising: float
    assignments: int
    scout_rounds: int
    kept: int
    through: int
    annealings: tuple[Annealing, ...]
    patience: int
    improvement: float

    def promising_for(self, n: int) -> float:
        """`promising` for n inputs."""
        return self.promising if n >= USUAL_INPUTS // 2 else float("inf")

    def kept_for(self, n: int) -> int:
        """Starts followed to their local optimum for n inputs."""
        return max(1, self.kept * USUAL_INPUTS // n)


PLANS: dict[str, Plan] = {
    "fast": Plan(
        promising=1.5,
        assignments=0,
        scout_rounds=1,
        kept=3,
        through=3,
        annealings=(Annealing(0.7, 0.1, 16, moved=0.3),) * 3,
        patience=1,
        improvement=0.02,
    ),
    "default": Plan(
        promising=1.5,
        assignments=3,
        scout_rounds=1,
        kept=3,
        through=8,
        annealings=(
            Annealing(0.7, 0.1, 16, moved=0.3),
            Annealing(3.0, 0.03, 80, moved=0.9),
            Annealing(0.4, 0.1, 20),
            Annealing(0.7, 0.1, 40, moved=0.3),
            Annealing(0.4, 0.1, 40, moved=0.3),
        ),
        patience=2,
        improvement=0.003,
    ),
    "high": Plan(
        promising=float("inf"),
        assignments=30,
        scout_rounds=TO_THE_END,
        kept=10**9,
        through=64,
        annealings=(
            Annealing(0.5, 0.1, 80),
            Annealing(3.0, 0.03, 320),
            Annealing(0.3, 0.1, 80),
            Annealing(1.0, 0.1, 160),
        )
        * 5,
        patience=8,
        improvement=1e-5,
    ),
}

#: Work on pairs that have a matching from an earlier time which no longer stands.
WARM_PLANS: dict[str, Plan] = {
    "fast": PLANS["fast"],
    "default": replace(
        PLANS["default"],
        annealings=(Annealing(0.7, 0.1, 16), Annealing(0.4, 0.1, 20), Annealing(0.7, 0.1, 40, moved=0.3)),
    ),
    "high": PLANS["default"],
}
