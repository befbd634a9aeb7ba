"""What speaks for the groups of one look, and what they were held against, in phrases for sentences and tables."""

from __future__ import annotations

import numpy as np

from lightning_gw.groups.groups import Groups
from lightning_gw.records.record import Record
from lightning_gw.records.words.measure_names import measure_name
from lightning_gw.utilities.text import listed, plural


def paired_view_phrase(record: Record) -> str:
    """What groups the paired view sees, where it sees others."""
    ours, paired = record.groups, record.groups_paired
    if not np.isfinite(paired.adjacent).any():
        return "the paired view is missing"
    if paired.strength == "none":
        return "the paired view agrees" if ours.strength == "none" else "the paired view sees no groups"
    if ours.strength != "none" and ours.boundaries == paired.boundaries:
        return "the paired view agrees"
    many = plural(paired.count, f"{paired.strength} group")
    return f"the paired view sees {many} ({paired.ranges().replace(' | ', ', ')})"


def p_value_phrase(record: Record) -> str:
    """The p-value over all gaps and what it was held against, or why there is none."""
    if record.groups.p_value is None:
        reason = record.null.removeprefix("none: ").removeprefix("No p-value: ").split(" (")[0].split(";")[0]
        return f"no p-value, since {reason.rstrip('.')}" if reason else "no p-value computed"
    against = record.null or "the null"
    return f"p = {record.groups.p_value:.2g} for the largest step against {against}"


def stability_phrase(groups: Groups) -> str:
    """How often the least stable boundary returned when the probe was resampled, or that this was not tried."""
    if groups.stability is None:
        return "stability not measured"
    if not groups.stability:
        return "no boundary whose stability could be measured"
    if min(groups.stability) == 1:
        return "every boundary returned in every probe resample"
    return f"every boundary returned in at least {min(groups.stability):.0%} of probe resamples"


def agreement_phrase(record: Record) -> str:
    """How far the paired measures order the pairs of layers as Gromov-Wasserstein does; empty where it was not told."""
    told = [
        f"{measure_name(measure)} {values['spearman']:.2f}"
        for measure, values in sorted(record.agreement.items())
        if measure != "identity" and np.isfinite(values.get("spearman", np.nan))
    ]
    return f"rank correlation of the pairs of layers with Gromov-Wasserstein: {listed(told)}" if told else ""


def found_in_phrase(record: Record) -> str:
    """Which matrix the groups were found in, in words."""
    return {
        "gw": "the Gromov-Wasserstein matrix",
        "gw_anchored": "the anchored Gromov-Wasserstein matrix",
        "gw_unpaired": "the unpaired Gromov-Wasserstein matrix",
    }.get(record.found_in, record.found_in)


def own_steps_phrase(groups: Groups) -> str:
    """Which steps the architecture takes by itself."""
    if not groups.built_in:
        return "the architecture takes much the same step from each layer to the next"
    many = len(groups.built_in) > 1
    return (
        f"this architecture has its largest step{'s' if many else ''} after layer{'s' if many else ''} "
        f"{listed([str(k + 1) for k in groups.built_in])}"
    )


def contrast_sentence(groups: Groups) -> str:
    """What the contrast number of a look means."""
    if np.isnan(groups.contrast):
        return "No boundary was proposed, so there is no contrast to report."
    if np.isinf(groups.contrast):
        return "Layers inside groups are identical, so that there is no trend for a boundary to stand out from."
    return (
        f"The weakest boundary is {groups.contrast:.2f} times what the trend of gaps inside groups would give. "
        "Contrast alone proves nothing: untrained networks show some too."
    )
