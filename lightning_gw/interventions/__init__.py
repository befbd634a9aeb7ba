"""Acting on groups: layers left out, removed, frozen or trained alone, each beside a random choice of as many."""

from __future__ import annotations

from lightning_gw.interventions.skip_test import skip_test
from lightning_gw.interventions.skips import Control, GroupSkip, LayerSkip, SkipTest

__all__ = ["Control", "GroupSkip", "LayerSkip", "SkipTest", "skip_test"]
