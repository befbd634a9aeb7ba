"""Statistics of comparisons: what strategies differ in, by how much, and whether that is more than seed noise."""

from lightning_gw.statistics.compare import compare_strategies
from lightning_gw.statistics.findings import finding_of
from lightning_gw.statistics.results import (
    DIFFERENCES,
    Contrast,
    Estimate,
    Finding,
    Overall,
    StrategySummary,
    TaskComparison,
)

__all__ = [
    "DIFFERENCES",
    "Contrast",
    "Estimate",
    "Finding",
    "Overall",
    "StrategySummary",
    "TaskComparison",
    "compare_strategies",
    "finding_of",
]
