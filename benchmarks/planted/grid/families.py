"""Task families with stages: what each planted block of layers is to compute.

Every stage is a way of sorting the inputs into classes. Neighbouring stages have different numbers of classes, because
Gromov-Wasserstein cannot tell apart two stages that sort inputs into equally many equal classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from tasks.algebra.data import OPERATIONS

#: Operands run from 0 to OPERANDS − 1, and less far where there are many stages, which would take long to learn.
OPERANDS = 11
FEWER_OPERANDS = {4: 7, 5: 5, 6: 5}
#: Tuples kept of an algebra family, of which `HELD_OUT` are never trained on.
TUPLES = 22_000
HELD_OUT = 2_000
#: Digits kept for the probe and for accuracy; scikit-learn ships 1 797.
HELD_OUT_DIGITS = 400
#: Stages that exist in every algebra family's data, whether planted or not: with fewer operands there would be so few
#: tuples that held-out ones have nothing in common with those trained on.
FEWEST_STAGES = 3
PROBE_INPUTS = 96
#: Families that development never sees.
SET_ASIDE_FAMILIES = frozenset({"products", "loops"})


@dataclass(frozen=True)
class Algebra:
    """Staged modular arithmetic: stage k is (answer of stage k − 1, operand k) → operation, modulo modulus k.

    Attributes:
        moduli: Modulus of each stage: its number of classes.
        operations: Key of `tasks.algebra.data.OPERATIONS` for each stage.
    """

    moduli: tuple[int, ...]
    operations: tuple[str, ...]

    @property
    def classes(self) -> tuple[int, ...]:
        """Classes of each stage."""
        return self.moduli


@dataclass(frozen=True)
class Digits:
    """Handwritten digits sorted in several ways.

    Attributes:
        sortings: For each stage the class of each digit from 0 to 9.
    """

    sortings: tuple[tuple[int, ...], ...]

    @property
    def classes(self) -> tuple[int, ...]:
        """Classes of each stage."""
        return tuple(max(sorting) + 1 for sorting in self.sortings)


DIGIT = tuple(range(10))
PARITY = tuple(k % 2 for k in range(10))
LARGE = tuple(int(k >= 5) for k in range(10))
LOOPED = tuple(int(k in (0, 6, 8, 9)) for k in range(10))
THIRDS = tuple(k % 3 for k in range(10))
QUARTERS = tuple(k % 4 for k in range(10))
FIFTHS = tuple(k % 5 for k in range(10))
PAIRS = tuple(k // 2 for k in range(10))
TRIPLES = tuple(k // 3 for k in range(10))

FAMILIES: Mapping[str, Algebra | Digits] = {
    "sums": Algebra((11, 5, 2, 7, 3, 5), ("add",) * 6),
    "zigzag": Algebra((3, 11, 3, 7, 2, 5), ("add", "add", "subtract", "add", "add", "subtract")),
    "mixed": Algebra((7, 2, 5, 3, 8, 2), ("subtract", "add", "add", "subtract", "add", "add")),
    "products": Algebra((5, 9, 4, 7, 2, 6), ("add", "multiply", "add", "subtract", "add", "add")),
    "narrowing": Digits((DIGIT, PARITY, FIFTHS, THIRDS, PAIRS, LARGE)),
    "widening": Digits((LARGE, THIRDS, DIGIT, PARITY, PAIRS, QUARTERS)),
    "loops": Digits((QUARTERS, LOOPED, DIGIT, TRIPLES, PARITY, FIFTHS)),
}


@dataclass(frozen=True)
class Data:
    """Inputs with the class of every stage.

    Attributes:
        x: Inputs to train on: int64 ``(N, positions)`` operands or float32 ``(N, 1, 8, 8)`` images.
        y: int64 ``(N, stages)``.
        held_x: Inputs that are not trained on.
        held_y: Their classes.
        classes: Classes of each stage.
    """

    x: Tensor
    y: Tensor
    held_x: Tensor
    held_y: Tensor
    classes: tuple[int, ...]

    def with_random_labels(self, seed: int) -> Data:
        """The same inputs, every stage's labels drawn at random, evenly over its classes."""
        generator = torch.Generator().manual_seed(seed)

        def draw(count: int) -> Tensor:
            return torch.stack([torch.randint(c, (count,), generator=generator) for c in self.classes], dim=1)

        return Data(self.x, draw(len(self.x)), self.held_x, draw(len(self.held_x)), self.classes)

    def first(self, count: int) -> Data:
        """The same data with only the first `count` inputs to train on."""
        return Data(self.x[:count], self.y[:count], self.held_x, self.held_y, self.classes)


@lru_cache(maxsize=4)
def load_family(name: str, stages: int) -> Data:
    """Data of a family.

    Args:
        name: Key of `FAMILIES`.
        stages: Stages that are planted, from 1. An algebra family has one operand more than stages, and at least four.

    Raises:
        ValueError: For an unknown family, or more stages than it has.
    """
    if name not in FAMILIES:
        raise ValueError(f"Unknown family {name!r}; expected one of {', '.join(FAMILIES)}.")
    family = FAMILIES[name]
    if not 1 <= stages <= len(family.classes):
        raise ValueError(f"Family {name!r} has 1 to {len(family.classes)} stages; {stages} were asked for.")
    if isinstance(family, Digits):
        return _digits(family, stages)
    return _algebra(family, max(stages, FEWEST_STAGES))


def operands_of(stages: int) -> int:
    """How many values an operand of an algebra family takes."""
    return FEWER_OPERANDS.get(stages, OPERANDS)


def _algebra(family: Algebra, stages: int) -> Data:
    operands = operands_of(stages)
    every = operands ** (stages + 1)
    # Tuples are numbers in base `operands`. Drawing with replacement and keeping each once needs no list of all.
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(every, (2 * TUPLES,), generator=generator).unique() if every > TUPLES else torch.arange(every)
    numbers = drawn[torch.randperm(len(drawn), generator=generator)][:TUPLES]
    places = operands ** torch.arange(stages + 1)
    x = numbers[:, None] // places % operands
    answer, answers = x[:, 0], []
    for stage in range(stages):
        answer = OPERATIONS[family.operations[stage]](answer, x[:, stage + 1]) % family.moduli[stage]
        answers.append(answer)
    y = torch.stack(answers, dim=1)
    return Data(x[HELD_OUT:], y[HELD_OUT:], x[:HELD_OUT], y[:HELD_OUT], family.moduli[:stages])


def _digits(family: Digits, stages: int) -> Data:
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8)[order] / 16
    y = torch.tensor(family.sortings[:stages]).T[torch.tensor(digits)[order]]  # (N, stages)
    held, rest = slice(HELD_OUT_DIGITS), slice(HELD_OUT_DIGITS, None)
    return Data(x[rest], y[rest], x[held], y[held], family.classes[:stages])


def balanced_probe(y: Tensor, classes: tuple[int, ...], count: int = PROBE_INPUTS, seed: int = 0) -> Tensor:
    """Chooses inputs so that every stage's classes are about equally frequent.

    One after another the input is taken whose classes have been taken least so far, summed over stages.

    Args:
        y: int64 ``(N, stages)``.
        classes: Classes of each stage.
        count: Inputs to choose.
        seed: Decides between inputs that are equally good.

    Returns:
        int64 ``(count,)`` indices.

    Raises:
        ValueError: If there are fewer inputs than are to be chosen.
    """
    if len(y) < count:
        raise ValueError(f"{count} probe inputs were asked for, but only {len(y)} are held out.")
    jitter = 1e-3 * torch.rand(len(y), generator=torch.Generator().manual_seed(seed))
    taken = [torch.zeros(c) for c in classes]
    chosen: list[int] = []
    for _ in range(count):
        # A class's share of what its stage should have by now: few classes do not outvote many.
        cost = jitter + torch.stack([taken[k][y[:, k]] * c for k, c in enumerate(classes)]).sum(dim=0)
        cost[chosen] = float("inf")
        best = int(cost.argmin())
        chosen.append(best)
        for k in range(len(classes)):
            taken[k][y[best, k]] += 1
    return torch.tensor(chosen)
