"""Training strategies: one Lightning callback each, attached to a task through ``trainer.callbacks+`` in a config."""

from tasks.strategies.controls.from_scratch import FromScratch
from tasks.strategies.controls.planted_shift import PlantedShift
from tasks.strategies.controls.shuffled_labels import ShuffledLabels
from tasks.strategies.controls.untrained import Untrained
from tasks.strategies.freezing.freeze_lower import FreezeLower
from tasks.strategies.freezing.full import Full
from tasks.strategies.freezing.head_only import HeadOnly
from tasks.strategies.freezing.layerwise_rates import LayerwiseRates
from tasks.strategies.freezing.lora import Lora
from tasks.strategies.freezing.train_block import TrainBlock
from tasks.strategies.freezing.train_lower import TrainLower
from tasks.strategies.freezing.unfreeze_bottom_up import UnfreezeBottomUp
from tasks.strategies.freezing.unfreeze_top_down import UnfreezeTopDown
from tasks.strategies.stages.assembled import Assembled
from tasks.strategies.stages.end_to_end import EndToEnd
from tasks.strategies.stages.greedy import Greedy
from tasks.strategies.stages.greedy_by_layer import GreedyByLayer
from tasks.strategies.stages.pruned import Pruned
from tasks.strategies.stages.self_distillation import SelfDistillation
from tasks.strategies.stages.stage_end import StageEnd
from tasks.strategies.stages.stage_supervised import StageSupervised

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
    "TrainBlock",
    "TrainLower",
    "UnfreezeBottomUp",
    "UnfreezeTopDown",
    "Untrained",
]
