"""What one could do next, given what a run found: one sentence, with the command or option that does it."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_gw.records.record import Record

#: Fewer looks are too few to tell since when groups have stood.
_FEW_LOOKS = 4


def next_step(history: Sequence[Record]) -> str:
    """What to do next, tied to what was found; empty for a run without a look.

    Args:
        history: Every look of one run.
    """
    if not history:
        return ""
    groups = history[-1].groups
    if groups.strength == "none":
        if len(history) < _FEW_LOOKS:
            return "Next: more looks show whether groups came and went: GWSimilarity(when='log', looks=10)."
        return (
            "Next: to see whether that depends on how one looks, try other probe sizes, poolings and layers on a "
            "checkpoint: lightning-gw probe-report CHECKPOINT -c CONFIG (in a script lgw.probe_report_of)."
        )
    if not groups.reference:
        return (
            "Next: to see whether the architecture has these groups by itself, hold them against networks with fresh "
            "weights: GWSimilarity(null_samples=19, untrained=...)."
        )
    if groups.p_value is None or groups.p_values is None:
        return (
            "Next: for a p-value of every boundary, hold them against 99 networks with fresh weights: "
            "lightning-gw test CHECKPOINT -c CONFIG (in a script lgw.p_values), or null_samples=99 in a run to come."
        )
    if groups.strength == "weak" or (groups.stability and min(groups.stability) < 0.9):
        return (
            "Next: to see whether these groups hold with other inputs and poolings: "
            "lightning-gw probe-report CHECKPOINT -c CONFIG (in a script lgw.probe_report_of)."
        )
    return "Next: to see whether another way of training moves these groups: lightning-gw compare CONFIG."
