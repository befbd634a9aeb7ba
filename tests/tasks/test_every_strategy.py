"""What every strategy promises, held against every strategy class of the package.

A contract says what trains at each of nine steps, what has moved in the end, and what is refused. A strategy without a
contract fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from pytorch_lightning import Callback
from small_task import blocks, heads

import tasks.strategies as package
from tasks.algebra import StagedArithmetic

STEPS = 9
STEM, ALL = {"embedding"}, {"embedding"} | blocks(*range(9))
EVERY_HEAD = heads(*range(9))


class Pretrained(StagedArithmetic):
    """The small task as one that begins with weights learnt before, which is all but its heads."""

    @property
    def pretrained(self) -> torch.nn.Module:
        return self.model.blocks


@dataclass(frozen=True)
class Contract:
    """What a strategy promises on the small task of nine layers in three blocks.

    Attributes:
        make: A fresh instance.
        trains: Step to the parts that require gradients at it.
        moved: Parts that are not as they were in the end.
        broken_off: Steps at which a run is interrupted, and resumed.
        needs: The first thing that a task without layers is said to lack; None where any task is served.
        refused: Bad arguments by name, and the words they are refused with, at once or before the first step.
        start: Whether the run starts from the weights that the task was made with.
        task: How a task that it serves is made from a seed.
    """

    make: Callable[[], Callback]
    trains: Callable[[int], set[str]]
    moved: set[str]
    broken_off: tuple[int, ...] = (2,)
    needs: str | None = "`stem`"
    refused: dict[str, tuple[Callable[[], Callback], str]] = field(default_factory=dict)
    start: bool = True


def always(*given: set[str]) -> Callable[[int], set[str]]:
    return lambda step: set().union(*given)


def in_thirds(first: set[str], second: set[str], third: set[str]) -> Callable[[int], set[str]]:
    return lambda step: (first, second, third)[3 * step // STEPS]


def layers_between(name: str) -> dict[str, tuple[Callable[[], Callback], str]]:
    made = getattr(package, name)
    return {
        f"layers={count}": (lambda: made(count), f"{name} was given layers={count}.*9 layers: choose 1 to 8")
        for count in (0, 9)
    }


CONTRACTS: dict[str, Contract] = {}
