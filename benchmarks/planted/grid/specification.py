"""Which networks are trained: what decides a network's training, and the grid of both splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Literal

from benchmarks.planted.grid import shape_grid
from benchmarks.planted.grid.families import SET_ASIDE_FAMILIES

Split = Literal["development", "set aside"]

EVERY_LAYER = "head on every layer"
STAGE_END = "stage end"
GREEDY = "greedy"
ASSEMBLED = "assembled"
SHIFT = "planted shift"
UNTRAINED = "untrained"
DRIFT = "smooth drift"
RANDOM = "random labels"
RANDOM_STAGED = "random labels on every layer"
MEMORISED = "memorised labels"
PLANTED_STRATEGIES = (EVERY_LAYER, STAGE_END, GREEDY, ASSEMBLED, SHIFT)
NULL_STRATEGIES = (UNTRAINED, DRIFT, RANDOM, RANDOM_STAGED, MEMORISED)
#: Families of the smooth drift nets: what they learn (see `benchmarks.planted.grid.training`).
REGRESSION = "regression"
CLASSIFICATION = "classification"

#: Lengths of the planted blocks by their number; a seed takes the one at its remainder, so that the splits, which go by
#: odd and even seeds, hold different ones. Never equal: an untrained net, which merely drifts, is cut into equal parts.
LENGTHS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((7,), (9,), (6,), (8,)),
    2: ((3, 5), (6, 3), (5, 2), (2, 6)),
    3: ((2, 4, 3), (4, 3, 2), (3, 2, 4), (2, 3, 5)),
    4: ((3, 2, 4, 2), (2, 4, 2, 3), (3, 1, 4, 2), (2, 3, 2, 4)),
    5: ((2, 3, 2, 4, 2), (3, 2, 4, 2, 2), (2, 4, 2, 2, 3), (2, 2, 3, 2, 4)),
    6: ((2, 3, 2, 2, 4, 2), (2, 2, 3, 4, 2, 2), (3, 2, 2, 2, 3, 2), (2, 3, 2, 4, 2, 2)),
}
#: What a planted shift moves to, by where it starts.
SHIFTED: dict[tuple[int, ...], tuple[int, ...]] = {
    (2, 4, 3): (4, 2, 3),
    (4, 3, 2): (2, 5, 2),
    (3, 2, 4): (3, 4, 2),
    (2, 3, 5): (2, 5, 3),
}


@dataclass(frozen=True)
class Specification:
    """Everything that decides a network's training but the recipe.

    Attributes:
        architecture: Key of `networks.ARCHITECTURES` or `shapes.BUILDERS`.
        family: Key of `families.FAMILIES`, or `REGRESSION` or `CLASSIFICATION` for smooth drift.
        strategy: One of `PLANTED_STRATEGIES` or `NULL_STRATEGIES`.
        lengths: Layers of each planted block. Nulls have the depth of it but nothing planted.
        seed: Of initial weights and batches. Odd seeds are set aside.
        shifted: Lengths that a planted shift moves to; None for all others.
    """

    architecture: str
    family: str
    strategy: str
    lengths: tuple[int, ...]
    seed: int
    shifted: tuple[int, ...] | None = None

    @property
    def split(self) -> Split:
        """Odd seeds and two whole task families are set aside."""
        return "set aside" if self.seed % 2 or self.family in SET_ASIDE_FAMILIES else "development"

    @property
    def planted(self) -> bool:
        """Whether groups were planted; if not, the right answer is one group."""
        return self.strategy in PLANTED_STRATEGIES

    @property
    def layers(self) -> int:
        """Number of blocks, L."""
        return sum(self.lengths)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Each ``k`` such that a planted group ends after layer ``k`` (from 0), after a shift if there is one."""
        if not self.planted:
            return ()
        return tuple(end - 1 for end in accumulate(self.shifted or self.lengths))[:-1]

    @property
    def boundaries_before(self) -> tuple[int, ...]:
        """The same before a shift."""
        return tuple(end - 1 for end in accumulate(self.lengths))[:-1] if self.planted else ()

    @property
    def name(self) -> str:
        """What people read and files are called, unique within the grid."""
        lengths = ".".join(map(str, self.lengths))
        parts = (self.architecture, self.family, self.strategy.replace(" ", "_"), lengths, f"seed{self.seed}")
        return "-".join(parts)

    def digest(self, recipe: dict[str, Any]) -> str:
        """Key of the cached network: the same only for the same specification and recipe."""
        text = json.dumps([asdict(self), recipe], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def stage_of_layer(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """The stage, from 0, that each layer is planted with."""
    return tuple(stage for stage, length in enumerate(lengths) for _ in range(length))


def stage_ends(lengths: tuple[int, ...]) -> dict[int, int]:
    """The last layer of every block, with its stage."""
    return {end - 1: stage for stage, end in enumerate(accumulate(lengths))}


#: Rows of the grid: strategy, architecture, family, seed, numbers of planted blocks.
Row = tuple[str, str, str, int, tuple[int, ...]]
_PLANTED: tuple[Row, ...] = (
    # Development.
    (EVERY_LAYER, "mlp", "sums", 0, (1, 2, 3, 4, 5, 6)),
    (EVERY_LAYER, "mlp", "zigzag", 2, (1, 2, 3, 4, 5, 6)),
    (EVERY_LAYER, "mlp", "mixed", 4, (1, 2, 3, 4, 5, 6)),
    # Transformers learn no more than four stages in as few steps as there is time for.
    (EVERY_LAYER, "transformer", "sums", 0, (1, 2, 3, 4)),
    (EVERY_LAYER, "transformer", "zigzag", 2, (2, 3, 4)),
    (EVERY_LAYER, "convnet", "narrowing", 0, (1, 2, 3, 4, 5, 6)),
    (EVERY_LAYER, "convnet", "widening", 2, (2, 3, 4)),
    *(
        row
        for strategy in (STAGE_END, GREEDY, ASSEMBLED)
        for row in (
            (strategy, "mlp", "sums", 0, (2, 3, 4)),
            (strategy, "mlp", "zigzag", 2, (3,)),
            (strategy, "transformer", "sums", 0, (2, 3)),
            (strategy, "convnet", "narrowing", 0, (2, 3)),
        )
    ),
    (SHIFT, "mlp", "sums", 0, (3,)),
    (SHIFT, "mlp", "zigzag", 2, (3,)),
    (SHIFT, "mlp", "mixed", 4, (3,)),
    (SHIFT, "transformer", "sums", 0, (3,)),
    (SHIFT, "convnet", "widening", 2, (3,)),
    # Set aside.
    (EVERY_LAYER, "mlp", "products", 0, (1, 2, 3, 4, 5, 6)),
    (EVERY_LAYER, "mlp", "sums", 1, (1, 2, 3, 4, 5, 6)),
    (EVERY_LAYER, "mlp", "zigzag", 3, (3, 5)),
    (EVERY_LAYER, "mlp", "mixed", 5, (3, 6)),
    (EVERY_LAYER, "transformer", "products", 1, (1, 2, 3, 4)),
    (EVERY_LAYER, "transformer", "sums", 1, (2, 3)),
    (EVERY_LAYER, "transformer", "zigzag", 3, (3, 4)),
    (EVERY_LAYER, "convnet", "loops", 0, (1, 2, 3, 4, 5)),
    (EVERY_LAYER, "convnet", "narrowing", 1, (2, 3, 6)),
    (EVERY_LAYER, "convnet", "widening", 3, (4,)),
    *(
        row
        for strategy in (STAGE_END, GREEDY, ASSEMBLED)
        for row in (
            (strategy, "mlp", "products", 0, (3, 4)),
            (strategy, "mlp", "sums", 1, (2, 3)),
            (strategy, "transformer", "products", 1, (3,)),
            (strategy, "transformer", "sums", 3, (2,)),
            (strategy, "convnet", "loops", 0, (3,)),
            (strategy, "convnet", "narrowing", 1, (2,)),
        )
    ),
    (SHIFT, "mlp", "products", 0, (3,)),
    (SHIFT, "mlp", "sums", 1, (3,)),
    (SHIFT, "mlp", "zigzag", 3, (3,)),
    (SHIFT, "transformer", "products", 1, (3,)),
    (SHIFT, "convnet", "loops", 2, (3,)),
)


def _planted() -> Iterator[Specification]:
    for strategy, architecture, family, seed, counts in _PLANTED:
        for count in counts:
            lengths = LENGTHS[count][seed % len(LENGTHS[count])]
            shifted = SHIFTED[lengths] if strategy == SHIFT else None
            yield Specification(architecture, family, strategy, lengths, seed, shifted)


def _shapes() -> Iterator[Specification]:
    for architecture, family, seed, lengths in shape_grid.rows():
        yield Specification(architecture, family, EVERY_LAYER, lengths, seed)


def _nulls() -> Iterator[Specification]:
    depths = ((9,), (7,), (11,), (6,), (13,), (8,))
    # Even seeds are development's, odd ones set aside, and both get every depth.
    seeded = [(seed, depths[seed // 2 % len(depths)]) for seed in range(12)]
    untrained = {"mlp": "sums", "transformer": "zigzag", "convnet": "narrowing", "linear": REGRESSION}
    untrained |= {"residual": REGRESSION, "plain": REGRESSION}
    for seed, depth in seeded:
        for architecture, family in untrained.items():
            yield Specification(architecture, family, UNTRAINED, depth, seed)
        if seed < 8:
            yield Specification("linear", REGRESSION, DRIFT, depth, seed)
            yield Specification("residual", REGRESSION, DRIFT, depth, seed)
        if seed < 4:
            yield Specification("residual", CLASSIFICATION, DRIFT, depth, seed)
            for strategy in (RANDOM, RANDOM_STAGED, MEMORISED):
                lengths = LENGTHS[3][seed] if strategy == RANDOM_STAGED else depth
                yield Specification("mlp", "sums", strategy, lengths, seed)
                yield Specification("convnet", "narrowing", strategy, lengths, seed)
        if seed < 2:
            for strategy in (RANDOM, RANDOM_STAGED, MEMORISED):
                lengths = LENGTHS[3][seed] if strategy == RANDOM_STAGED else depth
                yield Specification("transformer", "zigzag", strategy, lengths, seed)


def grid(split: Split | None = None) -> list[Specification]:
    """All networks, or those of one split; every strategy's first ones early, so that something is there soon.

    Raises:
        ValueError: For an unknown split.
    """
    if split not in ("development", "set aside", None):
        raise ValueError(f"Unknown split {split!r}; expected 'development' or 'set aside'.")
    every = [one for one in (*_planted(), *_nulls(), *_shapes()) if split in (None, one.split)]
    seen: dict[tuple[str, str], int] = {}
    turn: dict[Specification, int] = {}
    for one in every:
        key = (one.architecture, one.strategy)
        turn[one] = seen[key] = seen.get(key, -1) + 1
    return sorted(every, key=lambda one: (one.split != "development", turn[one]))
