"""Statistics of comparisons: what strategies differ in, by how much, and whether that is more than seed noise."""

from lightning_gw.statistics.correspondence import (
    Correspondence,
    average_correspondence,
    correspondence,
    correspondence_sentence,
)
from lightning_gw.statistics.description import strategy_sentence, task_sentences
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
from lightning_gw.statistics.strategies import compare_strategies
from lightning_gw.statistics.verdict import headline_of_tasks, next_step, verdict

__all__ = [
    "DIFFERENCES",
    "Contrast",
    "Correspondence",
    "Estimate",
    "Finding",
    "Overall",
    "StrategySummary",
    "TaskComparison",
    "average_correspondence",
    "compare_strategies",
    "correspondence",
    "correspondence_sentence",
    "finding_of",
    "headline_of_tasks",
    "next_step",
    "strategy_sentence",
    "task_sentences",
    "verdict",
]
