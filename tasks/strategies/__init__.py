"""Training strategies: one Lightning callback each, attached to a task through ``trainer.callbacks+`` in a config."""

from tasks.strategies.end_to_end import EndToEnd
from tasks.strategies.freeze_lower import FreezeLower
from tasks.strategies.full import Full
from tasks.strategies.greedy import Greedy
from tasks.strategies.stage_end import StageEnd
from tasks.strategies.stage_supervised import StageSupervised
from tasks.strategies.train_lower import TrainLower

__all__ = ["EndToEnd", "FreezeLower", "Full", "Greedy", "StageEnd", "StageSupervised", "TrainLower"]
