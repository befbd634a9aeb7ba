"""From representations to a record, here or in a process beside the training."""

from __future__ import annotations

from lightning_gw.analysis.analysis import ANCHOR, DRAWS, MEASURES_KEPT, Analysis

__all__ = ["ANCHOR", "DRAWS", "MEASURES_KEPT", "Analysis"]
