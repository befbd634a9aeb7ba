"""What one could do next, given what a run found: one sentence, with the command or option that does it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightning_gw.records.record import Record

#: Fewer looks are too few to tell since when groups have stood.
_FEW_LOOKS = 4
#: Fewer steps from layer to layer have no p-value.
_FEWEST_STEPS = 3
#: Words of the reasons for no p-value that go away where more networks with fresh weights are asked for.
_TOO_FEW_NETWORKS = ("no null was asked for", "too few for one", "of several processes no null is made")
#: Words of a reason that no function that builds the network anew takes away.
_TOO_LARGE = "it is too large to be copied"


def next_step(history: Sequence[Record]) -> str:
    """What to do next, tied to what was found; empty for a run without a look.

    Args:
        history: Every look of one run.
    """
    if not history:
        return ""
    last, groups = history[-1], history[-1].groups
    steps = np.count_nonzero(np.isfinite(groups.adjacent))
    if not steps:
        return "Next: choose layers that follow one another and tell inputs apart: GWSimilarity(layers=[...])."
    copies = _TOO_LARGE not in last.null + last.reference
    if groups.strength == "none":
        if len(history) < _FEW_LOOKS:
            return "Next: more looks show whether groups came and went: GWSimilarity(when='log', looks=10)."
        return (
            "Next: to see whether that depends on how one looks, try other probe sizes, poolings and layers on a "
            "checkpoint: lightning-gw probe-report CHECKPOINT -c CONFIG (in a script lgw.probe_report_of)."
        )
    if not groups.reference and copies:
        return (
            "Next: to see whether the architecture has these groups by itself, hold them against networks with fresh "
            "weights: GWSimilarity(null_samples=19, untrained=...)."
        )
    if (groups.p_value is None or groups.p_values is None) and copies and steps >= _FEWEST_STEPS:
        if last.null.startswith("none: ") and not any(words in last.null for words in _TOO_FEW_NETWORKS):
            return (
                "Next: for a p-value of every boundary, give a function that builds the network with fresh weights, "
                "which could not be had otherwise: GWSimilarity(untrained=..., null_samples=99)."
            )
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
