"""Warm starts along a training run: what a callback pays from one look to the next."""

from __future__ import annotations

import time
from typing import Any, Literal

import numpy as np

from benchmarks.solvers.representations import training_sequence
from lightning_gw.gw import GWMatrix, gw_matrix

#: Bounds asked for; without them only the search is left.
BOUNDS: tuple[Literal["fast"] | None, ...] = ("fast", None)


def measure_warm_starts(inputs: int, repeats: int) -> dict[str, Any]:
    """Cold and warm, turn by turn, at every checkpoint of a real training run.

    Each warm start begins from the warm result before it, as a callback does; only the first look is cold.

    Args:
        inputs: Number of inputs.
        repeats: Times over; times are medians.

    Returns:
        By bounds, seconds of processor time of a cold and of a warm look (the first look left out), their ratio, and
        the mean and largest ratio of warm to cold objectives over pairs and checkpoints.
    """
    sequence = training_sequence(inputs)
    found: dict[str, Any] = {}
    for bounds in BOUNDS:
        cold_seconds, warm_seconds, ratios = [], [], []
        for _ in range(repeats):
            cold_total = warm_total = 0.0
            before: GWMatrix | None = None
            for representations in sequence:
                started = time.process_time()
                cold = gw_matrix(representations, bounds=bounds)
                between = time.process_time()
                if before is None:
                    before = cold
                    continue
                warm = gw_matrix(representations, warm_start=before, bounds=bounds)
                warm_total += time.process_time() - between
                cold_total += between - started
                upper = np.triu_indices(len(cold.layers), 1)
                ratios.append(warm.distortion[upper] / cold.distortion[upper])
                before = warm
            cold_seconds.append(cold_total / (len(sequence) - 1))
            warm_seconds.append(warm_total / (len(sequence) - 1))
        found[str(bounds)] = {
            "looks": len(sequence) - 1,
            "cold_seconds": float(np.median(cold_seconds)),
            "warm_seconds": float(np.median(warm_seconds)),
            "ratio": float(np.median(np.array(warm_seconds) / np.array(cold_seconds))),
            "mean_objective_ratio": float(np.mean(ratios)),
            "worst_objective_ratio": float(np.max(ratios)),
        }
    return found
