"""What one run of a comparison ended with, read from its history."""

from __future__ import annotations

from lightning_gw.groups.tracking.tracker import converged_at
from lightning_gw.records.history import History
from lightning_gw.records.rows import similarities_of
from lightning_gw.statistics.results import Finding


def finding_of(
    history: History,
    *,
    key: str,
    strategy: str,
    seed: int,
    accuracy: str | None,
    seconds: float | None,
) -> Finding | None:
    """What a run ended with: the groups and the matrix of its last look, and the metric the comparison names.

    Args:
        history: All looks of the run.
        key: Names the run: its folder relative to the comparison's.
        strategy: Its training strategy.
        seed: Its seed.
        accuracy: Name of the metric to read, or None.
        seconds: What the run took, or None where that is not known.

    Returns:
        The finding, or None for a run without looks. Its ``converged`` is the latest `converged_at` of its groups.

    Raises:
        ValueError: If the geometry of the last look has no similarities, and there is no exact way to one that has.
    """
    if not history:
        return None
    last = history[-1]
    viewable = similarities_of(last.gw)
    if viewable is None:
        raise ValueError(f"geometry {last.gw.geometry!r} has no similarities")
    return Finding(
        key=key,
        strategy=strategy,
        seed=seed,
        layers=last.layers,
        labels=last.groups.labels,
        boundaries=last.groups.boundaries,
        count=last.groups.count,
        strength=last.groups.strength,
        similarity=viewable.similarity,
        converged=_converged(history),
        accuracy=None if accuracy is None else _last_known(history, accuracy),
        steps=last.step,
        seconds=seconds,
    )


def _converged(history: History) -> int | None:
    """The step after which no group changed any more."""
    # A single look cannot show that anything has stopped.
    if len(history) < 2 or history[-1].groups.strength == "none":
        return None
    stopped = [converged_at(history, group) for group in history[-1].group_ids]
    steps = [step for step in stopped if step is not None]
    return max(steps) if steps and len(steps) == len(stopped) else None


def _last_known(history: History, metric: str) -> float | None:
    """The value of the latest step at which the metric is known; a look's own is older than a validation's."""
    known = [(record.step, record.metrics[metric]) for record in history if metric in record.metrics]
    known += [(row["step"], row[metric]) for row in history.metrics if metric in row]
    # The sort is stable: among equal steps the validation's, which was made after the look, comes last.
    return float(sorted(known, key=lambda row: row[0])[-1][1]) if known else None
