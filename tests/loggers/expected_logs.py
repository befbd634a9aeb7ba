"""What loggers are to hold of a record, worked out from the record itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lightning_gw.groups.groups import Groups
from lightning_gw.records.record import Record

PACKAGES = ("pytorch_lightning", "lightning.pytorch")
CONFIG = {"geometry": "standardized", "probe": {"hash": "0f3a", "size": 6}, "layers": ("embedding", "head")}


def standing(groups: Groups) -> int:
    """Groups that stand out."""
    return 0 if groups.strength == "none" else len(groups.boundaries) + 1


def expected_scalars(record: Record, prefix: str = "gw/") -> dict[str, float]:
    """The keys of the design, written out from the record once more."""
    size = len(record.layers)
    paired = [1 - record.gw.identity[i, j] / 2 for i in range(size) for j in range(i + 1, size)]
    scalars = {
        "groups/count": standing(record.groups),
        "groups/strength": ("none", "weak", "strong").index(record.groups.strength),
        "groups/roughness": record.groups.roughness,
        "paired/groups/count": standing(record.groups_paired),
        "paired/similarity": np.nanmean(paired),
        "seconds": record.seconds,
    }
    if record.changed is not None:
        scalars["changed/count"] = standing(record.changed)
        scalars["changed/strength"] = ("none", "weak", "strong").index(record.changed.strength)
    if record.groups.p_value is not None:
        scalars["groups/p_value"] = record.groups.p_value
    for k, boundary in enumerate(record.groups.boundaries):
        scalars[f"boundary/{k + 1}"] = boundary + 1
    for gap in range(size - 1):
        scalars[f"adjacent/{record.layers[gap]}"] = math.sqrt(record.gw.distortion[gap, gap + 1])
        scalars[f"growth/{record.layers[gap]}"] = record.growth[gap]
    return {prefix + key: value for key, value in scalars.items() if math.isfinite(value)}


def expected_in_wandb(record: Record, prefix: str = "gw/") -> dict[str, Any]:
    """The same as W&B gets it: no scalars per layer, which its charts hold, and strength as a word."""
    numbers = expected_scalars(record, prefix)
    per_layer = f"{prefix}adjacent/", f"{prefix}growth/"
    kept: dict[str, Any] = {key: value for key, value in numbers.items() if not key.startswith(per_layer)}
    kept[f"{prefix}groups/strength"] = record.groups.strength
    if record.changed is not None:
        kept[f"{prefix}changed/strength"] = record.changed.strength
    return kept
