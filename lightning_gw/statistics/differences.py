"""How different two runs ended: by their groups, and by their similarity matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightning_gw.measures.agreement import adjusted_rand_index
from lightning_gw.statistics.results import Finding, FloatArray


def group_differences(findings: Sequence[Finding]) -> FloatArray:
    """One minus the adjusted Rand index of the groups of every two runs.

    Two runs without groups agree perfectly (0); one without and one with groups agree no better than chance (1).

    Args:
        findings: ``N`` runs with equally many layers.

    Returns:
        ``(N, N)``; NaN between runs that have fewer than two layers in groups in common.

    Raises:
        ValueError: If the runs have different numbers of layers.
    """
    labels = [finding.labels for finding in findings]
    kinds = sorted(set(labels))
    # Runs share few distinct groupings, and the index is the same for all that have them.
    between = np.array([[1.0 - adjusted_rand_index(one, other) for other in kinds] for one in kinds])
    which = [kinds.index(label) for label in labels]
    return between.reshape(len(kinds), len(kinds))[np.ix_(which, which)]


def matrix_differences(findings: Sequence[Finding]) -> FloatArray:
    """Root mean squared difference of the similarity matrices of every two runs.

    Args:
        findings: ``N`` runs with the same layers.

    Returns:
        ``(N, N)``, over the pairs of layers that were measured in both runs; NaN where there are none.
    """
    differences = np.zeros((len(findings), len(findings)))
    if not findings:
        return differences
    upper = np.triu_indices(len(findings[0].layers), 1)
    entries = np.array([finding.similarity[upper] for finding in findings])
    measured = np.isfinite(entries)
    entries = np.where(measured, entries, 0.0)
    for run in range(len(findings)):
        both = measured & measured[run]
        counts = both.sum(axis=1)
        squares = np.square(np.where(both, entries - entries[run], 0.0)).sum(axis=1)
        differences[run] = np.where(counts > 0, np.sqrt(squares / np.maximum(counts, 1)), np.nan)
    return differences


def comparable(differences: FloatArray) -> list[int]:
    """Runs that can be compared with each other: those with most gaps are left out until there are none.

    Args:
        differences: ``(N, N)``, NaN where two runs cannot be compared.

    Returns:
        Indices of the runs that remain, in order.
    """
    missing = np.isnan(differences)
    # A run that cannot be compared with itself, since nothing was measured in it, goes first.
    kept = [run for run in range(len(differences)) if not missing[run, run]]
    while kept and missing[np.ix_(kept, kept)].any():
        gaps = missing[np.ix_(kept, kept)].sum(axis=1)
        kept.pop(int(gaps.argmax()))
    return kept
