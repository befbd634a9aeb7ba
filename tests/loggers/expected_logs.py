"""What loggers are to hold of a record, worked out from the record itself."""

from __future__ import annotations

import math

import numpy as np

from lightning_gw.records.record import Record

PACKAGES = ("pytorch_lightning", "lightning.pytorch")
CONFIG = {"geometry": "standardized", "probe": {"hash": "0f3a", "size": 6}, "layers": ("embedding", "head")}


def expected_scalars(record: Record, prefix: str = "gw/") -> dict[str, float]:
    """The keys of the design, written out from the record once more."""
    size = len(record.layers)
    paired = [1 - record.gw.identity[i, j] / 2 for i in range(size) for j in range(i + 1, size)]
    scalars = {
        "groups/count": len(record.groups.boundaries) + 1,
        "groups/strength": ("none", "weak", "strong").index(record.groups.strength),
        "groups/roughness": record.groups.roughness,
        "paired/groups/count": len(record.groups_paired.boundaries) + 1,
        "paired/similarity": np.nanmean(paired),
        "seconds": record.seconds,
    }
    if record.changed is not None:
        scalars["changed/count"] = len(record.changed.boundaries) + 1
        scalars["changed/strength"] = ("none", "weak", "strong").index(record.changed.strength)
    if record.groups.p_value is not None:
        scalars["groups/p_value"] = record.groups.p_value
    for k, boundary in enumerate(record.groups.boundaries):
        scalars[f"boundary/{k + 1}"] = boundary + 1
    for gap in range(size - 1):
        scalars[f"adjacent/{record.layers[gap]}"] = math.sqrt(record.gw.distortion[gap, gap + 1])
        scalars[f"growth/{record.layers[gap]}"] = record.growth[gap]
    return {prefix + key: value for key, value in scalars.items() if math.isfinite(value)}
