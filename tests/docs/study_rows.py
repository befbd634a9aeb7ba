"""Made-up measurements of the study, with answers that are known."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

NETWORKS = ("one", "two")
SEEDS = range(5)


def blocks(seeds: int = 5) -> Iterator[tuple[str, int]]:
    return itertools.product(NETWORKS, range(seeds))


def row(network: str, seed: int, case: str, **found: Any) -> dict[str, Any]:
    return {"network": network, "seed": seed, "case": case, "settings": "x", "took": 1.0, **found}


def removals(lost: Callable[[str, str, int], float], seeds: int = 5) -> list[Mapping[str, Any]]:
    """One layer and three layers removed; `lost` tells rule, when and seed apart: accuracy lost for each layer."""
    rows: list[Mapping[str, Any]] = [row(n, s, "look", forced=s == 0, first_forced=False) for n, s in blocks(seeds)]
    for (network, seed), count in itertools.product(blocks(seeds), (1, 3)):
        for rule in ("interiors", "boundaries", "cka", "cosine", "random"):
            accuracy = {"whole": 0.9}
            accuracy |= {when: 0.9 - count * lost(rule, when, seed) for when in ("removed", "healed")}
            rows.append(row(network, seed, f"removal/{rule}/{count}/0", accuracy=accuracy))
    return rows


def tunings(
    accuracy: Callable[[str, int], float], seconds: Callable[[str], float] = lambda arm: 1.0, seeds: int = 5
) -> list[Mapping[str, Any]]:
    """Every arm rises in a straight line from .5 at time 0."""
    rows: list[Mapping[str, Any]] = [row(n, s, "look", forced=False, first_forced=s == 0) for n, s in blocks(seeds)]
    for network, seed in blocks(seeds):
        for arm in ("group", "random block", "LoRA on the group", "LoRA on a random block", "everything"):
            end, took = accuracy(arm, seed), seconds(arm)
            curve = [
                {"step": 10.0 * k, "seconds": took * k, "accuracy": 0.5 + (end - 0.5) * k, "loss": 1.0} for k in (0, 1)
            ]
            rows.append(row(network, seed, f"fine-tuning/{arm}", accuracy=end, seconds=took, curve=curve))
    return rows


def freezings(found: Callable[[str, int], tuple[float, float]], seeds: int = 5) -> list[Mapping[str, Any]]:
    """`found` gives accuracy and seconds of what was frozen."""
    rows: list[Mapping[str, Any]] = []
    for network, seed in blocks(seeds):
        for what in ("settled groups", "random layers", "nothing"):
            accuracy, seconds = found(what, seed)
            frozen = {} if what == "nothing" else {"a": 10, "b": 20}
            rows.append(
                row(network, seed, f"freezing/{what}", accuracy=accuracy, seconds=seconds, looking=0.5, frozen=frozen)
            )
    return rows


def looks(end: Any, untrained: Any, seeds: int = 5) -> list[Mapping[str, Any]]:
    """Looks with these distances between neighbours, each shaken a little by the seed."""
    rows: list[Mapping[str, Any]] = []
    for network, seed in blocks(seeds):
        random = np.random.default_rng(seed)

        def profile(adjacent: Any, random: np.random.Generator = random) -> dict[str, Any]:
            shaken = np.asarray(adjacent) * np.exp(0.02 * random.normal(size=len(adjacent)))
            return {"adjacent": shaken.tolist(), "noise": [0.05] * len(adjacent), "boundaries": [2]}

        profiles = {"end": profile(end), "start": None, "untrained": profile(untrained)}
        rows.append(row(network, seed, "look", forced=False, first_forced=False, profiles=profiles))
    return rows
