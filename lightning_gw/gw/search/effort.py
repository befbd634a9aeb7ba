"""How much work each effort spends on a pair of layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Effort = Literal["fast", "default", "high"]

#: More rounds than any descent needs.
TO_THE_END = 1000
#: Number of inputs for which sweeps, rounds and starts are stated.
USUAL_INPUTS = 128
#: Most sweeps of a heat bath over those at `USUAL_INPUTS`.
MOST_SWEEPS = 4
#: Fewest rounds of a reassignment.
MINIMUM_ROUNDS = 3


@dataclass(frozen=True)
class HeatBath:
    """One heat bath at temperatures at which whole clusters of inputs change partners (see `batched.heat_bath`).

    Attributes:
        hot: First temperature, in units of the loss per input, by how much `ceiling` is missed.
        sweeps: Sweeps at 128 inputs or more; more on fewer inputs, where they cost little.
        moved: Only pairs take part whose share of inputs matched to another than themselves is at least this: layers
            that still pair their inputs gain by reassignment instead.
        cooling: Last temperature over the first.
    """

    hot: float
    sweeps: int
    moved: float = 0.9
    cooling: float = 0.05

    def sweeps_for(self, n: int) -> int:
        """Sweeps for n inputs."""
        return round(self.sweeps * max(1.0, min(USUAL_INPUTS / n, MOST_SWEEPS)))


@dataclass(frozen=True)
class Reassignment:
    """Noisy assignments of all inputs from the best permutation so far (see `batched.assignments`).

    Attributes:
        rounds: Assignments at 128 inputs.
        noise: First width of the noise on the gradient, in units of the loss per input.
        moved: As for `HeatBath`.
    """

    rounds: int
    noise: float = 1.0
    moved: float = 0.0

    def rounds_for(self, n: int) -> int:
        """Rounds for n inputs: fewer where each costs more."""
        return max(MINIMUM_ROUNDS, round(self.rounds * min(1.0, (USUAL_INPUTS / n) ** 0.5)))


@dataclass(frozen=True)
class EffortPlan:
    """The work of one effort.

    Attributes:
        kept: Starts followed to their local optimum at 128 inputs; more on fewer inputs.
        clusters: Heat bath from the best of these and from the sorted rows, or None.
        baths: Number of such heat baths; all but the first begin at the sorted rows. Their best end is gone on from: a
            single one ends in a wrong basin more often.
        through: Third layers whose composed permutations are tried after each stage.
        shakes: One after the other, each from the best so far.
        patience: Shakes in a row that may fail to improve a pair before it counts as settled.
        improvement: Share by which the loss must fall to count as an improvement.
    """

    kept: int
    clusters: HeatBath | None
    baths: int
    through: int
    shakes: tuple[HeatBath | Reassignment, ...]
    patience: int
    improvement: float

    def kept_for(self, n: int) -> int:
        """Starts followed to their local optimum for n inputs."""
        return round(self.kept * max(1.0, (USUAL_INPUTS / n) ** 2))


PLANS: dict[str, EffortPlan] = {
    "fast": EffortPlan(
        kept=1,
        clusters=HeatBath(3.0, 20),
        baths=3,
        through=8,
        shakes=(Reassignment(8),),
        patience=1,
        improvement=0.02,
    ),
    "default": EffortPlan(
        kept=1,
        clusters=HeatBath(5.0, 30),
        baths=3,
        through=8,
        shakes=(Reassignment(10), HeatBath(1.0, 20), Reassignment(10)),
        patience=2,
        improvement=0.003,
    ),
    "high": EffortPlan(
        kept=10**9,
        clusters=HeatBath(4.0, 160, moved=0.0),
        baths=3,
        through=64,
        shakes=(
            Reassignment(30),
            HeatBath(2.5, 160, moved=0.0),
            Reassignment(30, 2.0),
            HeatBath(0.4, 80, moved=0.0),
            Reassignment(30, 0.5),
            HeatBath(1.0, 160, moved=0.0),
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
    "default": replace(PLANS["fast"], shakes=(Reassignment(4),)),
    "high": PLANS["default"],
}

#: Work on anchored pairs beyond descents from what the plain search found.
ANCHORED = replace(PLANS["fast"], clusters=None, shakes=(Reassignment(4),))
