"""What is written in and beside pictures of a comparison: names, values with their intervals, numbers of runs."""

from __future__ import annotations

import math
import re

from lightning_gw.statistics.results import Estimate, StrategySummary, TaskComparison


def estimate_text(estimate: Estimate, digits: int = 2) -> str:
    """``0.95 (0.93–0.97)``; the value alone where there are too few runs for an interval, "–" where there is none."""
    if not math.isfinite(estimate.value):
        return "–"
    text = f"{estimate.value:.{digits}f}"
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return text
    low, high = f"{estimate.low:.{digits}f}", f"{estimate.high:.{digits}f}"
    told = text if low == text == high else f"{text} ({low}–{high})"
    return told.replace("-", "−")


def convergence_text(summary: StrategySummary) -> str:
    """Since when the groups stood, and in how many runs they did: ``step 300 (280–320), in 4 of 5 runs``."""
    runs = len(summary.findings)
    if not math.isfinite(summary.converged.value):
        return "not yet" if any(finding.strength != "none" for finding in summary.findings) else "no groups"
    of = "" if summary.converged.runs == runs else f", in {summary.converged.runs} of {runs} runs"
    return f"step {estimate_text(summary.converged, 0)}{of}"


def p_text(p: float) -> str:
    """``p = 0.012``, ``p < 0.001``, or "no test" where nothing could be tested."""
    if not math.isfinite(p):
        return "no test"
    if p < 0.001:
        return "p < 0.001"
    text = f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
    return "p < 0.05" if text == "0.05" and p < 0.05 else f"p = {text}"  # rounding must not change the side


def effect_text(effect: float) -> str:
    """``1.8``, ``−0.3``, or "–" where it is not known how far seeds vary, so that there is no unit to measure in."""
    return f"{effect:.1f}".replace("-0.0", "0.0").replace("-", "−") if math.isfinite(effect) else "–"


def runs_text(comparison: TaskComparison) -> str:
    """``55 runs, 5 of each strategy``, or the least and the most where they differ."""
    counts = [len(summary.findings) for summary in comparison.strategies]
    runs = "1 run" if sum(counts) == 1 else f"{sum(counts)} runs"
    if len(counts) < 2:
        return runs
    each = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f"{runs}, {each} of each strategy"


def wrapped(name: str, width: int = 18) -> str:
    """A strategy's name on several lines, each broken after a separator, so that it fits beside its row."""
    lines = [""]
    for part in re.split(r"(?<=[_\-\s/.])", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
