"""Findings with chosen boundaries and matrices, for tests that need a comparison without training one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lightning_gw.statistics import Finding

LAYERS = 6


def finding(
    strategy: str,
    seed: int,
    boundaries: Sequence[int] = (),
    noise: float = 0.0,
    generator: np.random.Generator | None = None,
    layers: int = LAYERS,
    **changes: Any,
) -> Finding:
    """A run whose matrix is bright inside its groups, with noise of a given size on every entry."""
    boundaries = tuple(sorted(set(boundaries)))
    labels = np.array([sum(layer > boundary for boundary in boundaries) for layer in range(layers)])
    similarity = 0.9 - 0.3 * np.abs(np.subtract.outer(labels, labels)).astype(float)
    if generator is not None:
        similarity = similarity + noise * generator.standard_normal((layers, layers))
    similarity = (similarity + similarity.T) / 2
    np.fill_diagonal(similarity, 1.0)
    made = Finding(
        key=f"{strategy}/seed-{seed}",
        strategy=strategy,
        seed=seed,
        layers=tuple(f"block.{layer}" for layer in range(layers)),
        labels=tuple(int(label) for label in labels),
        boundaries=boundaries,
        count=len(boundaries) + 1,
        strength="strong" if boundaries else "none",
        similarity=similarity,
        converged=100 if boundaries else None,
        accuracy=0.9,
        steps=400,
        seconds=2.0,
    )
    return replace(made, **changes)


def seeds_decide(generator: np.random.Generator, strategies: int, seeds: int, shared: float = 0.8) -> list[Finding]:
    """Runs whose groups and matrices follow their seed, with some noise, and never their strategy."""
    usual = [tuple(generator.choice(LAYERS - 1, 2, replace=False)) for _ in range(seeds)]
    tone = generator.standard_normal((seeds, LAYERS, LAYERS))
    runs = []
    for strategy in range(strategies):
        for seed in range(seeds):
            own = generator.random() < shared
            cut = usual[seed] if own else tuple(generator.choice(LAYERS - 1, 2, replace=False))
            run = finding(f"strategy-{strategy}", seed, [int(k) for k in cut], 0.05, generator)
            runs.append(replace(run, similarity=run.similarity + 0.2 * (tone[seed] + tone[seed].T)))
    return runs


def planted(generator: np.random.Generator, places: Sequence[int], seeds: int, noise: float = 0.05) -> list[Finding]:
    """One strategy per place, whose runs all have a boundary there, and noise in their matrices."""
    return [
        finding(f"strategy-{number}", seed, [place], noise, generator)
        for number, place in enumerate(places)
        for seed in range(seeds)
    ]
