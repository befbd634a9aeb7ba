"""Training strategies: one Lightning callback each, attached to a task through ``trainer.callbacks+`` in a config."""

from tasks.strategies.assembled import Assembled
from tasks.strategies.end_to_end import EndToEnd
from tasks.strategies.freeze_lower import FreezeLower
from tasks.strategies.from_scratch import FromScratch
from tasks.strategies.full import Full
from tasks.strategies.greedy import Greedy
from tasks.strategies.greedy_by_layer import GreedyByLayer
from tasks.strategies.head_only import HeadOnly
from tasks.strategies.layerwise_rates import LayerwiseRates
from tasks.strategies.lora import Lora
from tasks.strategies.planted_shift import PlantedShift
from tasks.strategies.pruned import Pruned
from tasks.strategies.self_distillation import SelfDistillation
from tasks.strategies.shuffled_labels import ShuffledLabels
from tasks.strategies.stage_end import StageEnd
from tasks.strategies.stage_supervised import StageSupervised
from tasks.strategies.train_lower import TrainLower
from tasks.strategies.unfreeze_bottom_up import UnfreezeBottomUp
from tasks.strategies.unfreeze_top_down import UnfreezeTopDown
from tasks.strategies.untrained import Untrained

__all__ = [
    "Assembled",
    "EndToEnd",
    "FreezeLower",
    "FromScratch",
    "Full",
    "Greedy",
    "GreedyByLayer",
    "HeadOnly",
    "LayerwiseRates",
    "Lora",
    "PlantedShift",
    "Pruned",
    "SelfDistillation",
    "ShuffledLabels",
    "StageEnd",
    "StageSupervised",
    "TrainLower",
    "UnfreezeBottomUp",
    "UnfreezeTopDown",
    "Untrained",
]
