"""Comparisons made from a script: strategies whose boundaries, matrices and contrasts are known beforehand."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from lightning_gw.statistics.results import (
    DIFFERENCES,
    Contrast,
    Estimate,
    Finding,
    Overall,
    StrategySummary,
    TaskComparison,
)

#: Strategy to (boundaries of its runs before noise, accuracy, step of convergence).
TOLD = {
    "end_to_end": ((1, 5), 0.95, 300),
    "stage_supervised": ((1, 5), 0.99, 120),
    "stage_end": ((1, 6), 0.97, 150),
    "greedy": ((4,), 0.71, 500),
    "greedy_by_layer": ((2, 4), 0.58, 640),
    "assembled": ((1, 5), 0.93, 900),
    "layerwise_rates": ((2, 6), 0.90, 420),
    "self_distillation": ((1, 5), 0.96, 330),
    "pruned": ((1,), 0.94, 700),
    "shuffled_labels": ((7,), 0.02, 880),
    "untrained": ((), 0.01, None),
}


def make_finding(strategy: str, seed: int, layers: int = 9) -> Finding:
    """A run of a told strategy; an odd seed moves its last boundary by one layer."""
    told, accuracy, converged = TOLD[strategy]
    boundaries = tuple(told[:-1]) + tuple(k - 1 if seed % 2 and k else k for k in told[-1:])
    labels = tuple(sum(layer > boundary for boundary in boundaries) for layer in range(layers))
    generator = np.random.default_rng([seed, list(TOLD).index(strategy)])
    depth = np.arange(layers) * (0.12 + 0.02 * generator.random()) + 0.8 * np.array(labels)
    return Finding(
        key=f"{strategy}/seed-{seed}",
        strategy=strategy,
        seed=seed,
        layers=tuple(f"model.blocks.{layer}" for layer in range(layers)),
        labels=labels,
        boundaries=boundaries,
        count=len(boundaries) + 1,
        strength="strong" if boundaries else "none",
        similarity=np.exp(-np.abs(depth[:, None] - depth[None, :])),
        converged=None if converged is None else converged + 20 * seed,
        accuracy=accuracy - 0.004 * seed,
        steps=960,
        seconds=100.0,
    )


def make_task_comparison(
    strategies: int = 11, seeds: int = 5, layers: int = 9, task: str = "algebra"
) -> TaskComparison:
    """The told strategies over seeds, with every second pair of them told apart beyond the noise between seeds."""
    summaries = tuple(
        _summary([make_finding(strategy, seed, layers) for seed in range(seeds)])
        for strategy in list(TOLD)[:strategies]
    )
    testable = strategies > 1 and seeds > 1
    contrasts = [
        Contrast(
            one=one.strategy,
            other=other.strategy,
            by=by,
            between=0.2 + 0.1 * (place % 7),
            within=0.15 if testable else float("nan"),
            effect=(0.05 + 0.1 * (place % 7)) / 0.2 if testable else float("nan"),
            p=(0.008 if place % 2 else 0.4) if testable else float("nan"),
            p_corrected=(0.012 if place % 2 else 0.8) if testable else float("nan"),
            smallest=0.008 if testable else float("nan"),
        )
        for by in DIFFERENCES
        for place, (one, other) in enumerate(combinations(summaries, 2))
    ]
    overall = {
        by: Overall(by, 0.5, 0.2, 0.6, 0.001 if testable else float("nan"), 999 if testable else 0)
        for by in DIFFERENCES
    }
    notes = () if testable else ("One run per strategy: nothing can be told from the noise between seeds.",)
    return TaskComparison(task, summaries[0].findings[0].layers, summaries, overall, tuple(contrasts), notes)


def _summary(findings: list[Finding]) -> StrategySummary:
    gaps = len(findings[0].layers) - 1
    matrices = np.stack([finding.similarity for finding in findings])
    return StrategySummary(
        strategy=findings[0].strategy,
        findings=tuple(findings),
        boundary_share=tuple(_share([k in finding.boundaries for finding in findings]) for k in range(gaps)),
        groups=_mean([finding.count for finding in findings]),
        converged=_mean([finding.converged for finding in findings if finding.converged is not None]),
        accuracy=_mean([finding.accuracy for finding in findings]),
        agreement=Estimate(0.8, 0.6, 1.0, len(findings)) if len(findings) > 1 else Estimate(*[float("nan")] * 3, 1),
        layers=findings[0].layers,
        mean_similarity=matrices.mean(0),
        spread_similarity=matrices.std(0, ddof=1) if len(findings) > 1 else np.full(matrices.shape[1:], np.nan),
    )


def _share(stands: list[bool]) -> Estimate:
    share, runs = float(np.mean(stands)), len(stands)
    half = 1.96 * np.sqrt(0.25 / (runs + 4))
    return Estimate(share, max(0.0, share - half), min(1.0, share + half), runs)


def _mean(values: list) -> Estimate:
    if not values:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    mean = float(np.mean(values))
    half = 2 * float(np.std(values, ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return Estimate(mean, mean - half, mean + half, len(values))
