"""The numbers that networks are trained with; they follow those of `tasks`."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.planted.grid import specification as spec
from benchmarks.planted.grid.shape_grid import AT, OFF, SHAPES
from benchmarks.planted.grid.specification import Specification


@dataclass(frozen=True)
class Recipe:
    """Numbers of one training.

    Attributes:
        steps: Optimizer steps; of `GREEDY` and `ASSEMBLED` those for one planted block.
        batch: Inputs in a batch.
        rate: Peak learning rate.
        decay: Weight decay.
        warmup: Steps of linear warm-up.
    """

    steps: int
    batch: int
    rate: float = 2e-3
    decay: float = 0.1
    warmup: int = 30


#: Recipes of the kinds in `benchmarks.planted.grid.shape_grid`.
_SHAPED = {
    "resnet": Recipe(120, 48),
    "resnet_identity": Recipe(120, 48),
    "convnext": Recipe(260, 48, rate=4e-3),
    "vit": Recipe(280, 48, rate=3e-3),
    "llama": Recipe(360, 64, rate=3e-3),
}


def recipe_of(one: Specification) -> Recipe:
    """The recipe a network is trained with: small enough for many networks, long enough to learn the task."""
    batch = {"mlp": 192, "transformer": 64, "convnet": 48}.get(one.architecture, 128)
    if one.architecture == "transformer" and one.planted:  # slower to learn where to look
        if one.strategy in (spec.GREEDY, spec.ASSEMBLED):
            return Recipe(220, batch, rate=3e-3)
        many = len(one.lengths) > 3
        return Recipe(420 if many else 340 if one.strategy == spec.SHIFT else 280, batch, rate=3e-3)
    if one.architecture in SHAPES:
        return _SHAPED[one.architecture.removesuffix(OFF).removesuffix(AT)]
    match one.strategy:
        case spec.EVERY_LAYER | spec.RANDOM_STAGED:
            if one.architecture == "convnet" or len(one.lengths) < 4:
                return Recipe(240, batch)
            return Recipe(300, batch) if len(one.lengths) == 4 else Recipe(350, batch, rate=3e-3)
        case spec.STAGE_END:
            return Recipe(320, batch)
        case spec.GREEDY:
            return Recipe(170, batch)
        case spec.ASSEMBLED:
            return Recipe(170, batch) if one.architecture == "mlp" else Recipe(280, batch, rate=3e-3)
        case spec.SHIFT:
            return Recipe(340, batch)
        case spec.RANDOM:
            return Recipe(60, batch)
        case spec.MEMORISED:
            return Recipe(220, batch, decay=0.0)
        case spec.DRIFT:
            return Recipe(150, batch, rate=5e-4, decay=0.0)
        case spec.UNTRAINED:
            return Recipe(0, batch)
    raise ValueError(f"Unknown strategy {one.strategy!r}.")
