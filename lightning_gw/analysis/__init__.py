"""From representations to a record, here or in a process beside the training."""

from __future__ import annotations

from lightning_gw.analysis.analysis import Analysis
from lightning_gw.analysis.config import ANCHOR, BOOTSTRAP_SAMPLES, MEASURES_KEPT, AnalysisConfig

__all__ = ["ANCHOR", "BOOTSTRAP_SAMPLES", "MEASURES_KEPT", "Analysis", "AnalysisConfig"]
