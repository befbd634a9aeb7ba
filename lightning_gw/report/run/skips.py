"""The skip test of a run on its page: what the network loses without each layer, and what measures had said of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lightning_gw.figures.style import OKABE_ITO, axis_names, group_identities
from lightning_gw.groups.groups import layer_ranges
from lightning_gw.interventions.passing import PASSING_MEASURES
from lightning_gw.interventions.skips import WORDS, GroupSkip, SkipTest
from lightning_gw.records.record import Record
from lightning_gw.report.axes import compact
from lightning_gw.report.run.afterwards import KeptSkipTest


def skips_payload(kept: KeptSkipTest, last: Record) -> dict[str, Any]:
    """What the page's script draws of a skip test.

    Args:
        kept: What was found.
        last: The last look of the run, whose groups lend their colours where they are those of the skip test.
    """
    found = kept.found
    ids = group_identities(last) if found.labels == last.groups.labels else range(len(found.layers))
    grouped = found.labels is not None and max(found.labels, default=0) > 0
    labels = found.labels if grouped and found.labels else (-1,) * len(found.layers)
    suffers = "rise" if found.mode == "min" else "fall"
    return {
        "labels": list(axis_names([row.layer for row in found.layers])),
        "metric": found.metric,
        "what": f"{suffers} of {found.metric} without it",
        "damage": compact(found.damage),
        "error": compact([row.error for row in found.layers]),
        "colours": [ids[label] % len(OKABE_ITO) if label >= 0 else None for label in labels],
        "reasons": [row.reason for row in found.layers],
        "measures": _measures(found),
        "groups": [_group(group, found, ids) for group in found.groups if not group.reason],
        "words": f"At step {kept.step}: {' '.join(found.sentences())}",
    }


def _measures(found: SkipTest) -> list[dict[str, Any]]:
    correlations = found.correlations()
    told = []
    for measure in PASSING_MEASURES:
        values = np.array([getattr(row, measure) for row in found.layers])
        values[~np.isfinite(values)] = np.nan
        rank = correlations[measure]
        if np.isfinite(values).any() and np.nanmax(values) > 0:
            ranked = f", rank correlation {rank:.2f}" if np.isfinite(rank) else ""
            told.append({"name": f"{WORDS[measure]}{ranked}", "share": compact(values / np.nanmax(values))})
    return told


def _group(group: GroupSkip, found: SkipTest, ids: Any) -> dict[str, Any]:
    label = found.labels[group.members[0]] if found.labels else -1
    return {
        "name": layer_ranges(group.members),
        "interior": len(group.interior),
        "damage": compact(found.harm([group.rise]))[0],
        "colour": ids[label] % len(OKABE_ITO) if label >= 0 else None,
        "controls": [
            {"layers": ", ".join(control.layers), "damage": compact(found.harm([control.rise]))[0]}
            for control in group.controls
        ],
    }
