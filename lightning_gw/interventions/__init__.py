"""Acting on groups: layers left out, removed, frozen or trained alone, each beside a random choice of as many."""

from __future__ import annotations

from lightning_gw.interventions.drop_layers import DropLayers
from lightning_gw.interventions.dropped import DroppedLayer, drop_layers, expect_dropped_layers
from lightning_gw.interventions.freeze_settled import FreezeSettledGroups
from lightning_gw.interventions.skip_test import skip_test
from lightning_gw.interventions.skips import Control, GroupSkip, LayerSkip, SkipTest
from lightning_gw.interventions.train_group import TrainGroup

__all__ = [
    "Control",
    "DropLayers",
    "DroppedLayer",
    "FreezeSettledGroups",
    "GroupSkip",
    "LayerSkip",
    "SkipTest",
    "TrainGroup",
    "drop_layers",
    "expect_dropped_layers",
    "skip_test",
]
