"""A comparison as plain tables, for W&B, files and pages."""

from __future__ import annotations

import math
from typing import Any

from lightning_gw.statistics.results import Estimate, TaskComparison

Row = dict[str, Any]


def comparison_tables(comparison: TaskComparison) -> dict[str, list[Row]]:
    """Everything a task's comparison holds, as rows of plain values; what is not known is None.

    Returns:
        ``runs``: what each run ended with. ``strategies``: each strategy over its seeds. ``boundaries``: how often a
        boundary stood after each layer (1-based). ``pairs``: each pair of strategies, by groups and by matrices. A
        value with a 95 % interval is three columns, the ends named ``…, low`` and ``…, high``.
    """
    runs: list[Row] = []
    strategies: list[Row] = []
    boundaries: list[Row] = []
    for summary in comparison.strategies:
        runs += [
            {
                "strategy": found.strategy,
                "seed": found.seed,
                "strength": found.strength,
                "groups": 0 if found.strength == "none" else found.count,
                "boundaries after layers": ", ".join(str(k + 1) for k in found.boundaries),
                "converged at step": found.converged,
                "accuracy": found.accuracy,
                "steps": found.steps,
                "seconds": found.seconds,
                "folder": found.key,
            }
            for found in summary.findings
        ]
        strategies.append(
            {
                "strategy": summary.strategy,
                "runs": len(summary.findings),
                **_columns("groups (1 where there are none)", summary.groups),
                **_columns("converged at step", summary.converged),
                **_columns("accuracy", summary.accuracy),
                **_columns("agreement of seeds", summary.agreement),
            }
        )
        boundaries += [
            {"strategy": summary.strategy, "after layer": gap, **_columns("share of runs", share), "runs": share.runs}
            for gap, share in enumerate(summary.boundary_share, start=1)
        ]
    pairs = [
        {
            "one": pair.one,
            "other": pair.other,
            "by": pair.by,
            "difference between": _known(pair.between),
            "difference within": _known(pair.within),
            "effect": _known(pair.effect),
            "p": _known(pair.p),
            "p, corrected": _known(pair.p_corrected),
            "smallest p possible": _known(pair.smallest),
        }
        for pair in comparison.contrasts
    ]
    return {"runs": runs, "strategies": strategies, "boundaries": boundaries, "pairs": pairs}


def _columns(name: str, estimate: Estimate) -> Row:
    return {name: _known(estimate.value), f"{name}, low": _known(estimate.low), f"{name}, high": _known(estimate.high)}


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
