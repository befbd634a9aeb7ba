"""Training strategies: one Lightning callback each, attached to a task through ``trainer.callbacks+`` in a config."""

from tasks.strategies.end_to_end import EndToEnd
from tasks.strategies.greedy import Greedy
from tasks.strategies.stage_end import StageEnd
from tasks.strategies.stage_supervised import StageSupervised

__all__ = ["EndToEnd", "Greedy", "StageEnd", "StageSupervised"]
