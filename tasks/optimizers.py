"""AdamW as tasks use it, with one learning rate per layer where a strategy asks for it."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler

from tasks.strategies.requirements import RatedTask


def warmed_up_adamw(
    task: RatedTask, groups: list[dict[str, Any]], weight_decay: float, warmup_steps: int
) -> OptimizerLRScheduler:
    """AdamW whose learning rates rise linearly and then stay.

    Args:
        task: See `layer_groups`.
        groups: See `layer_groups`. Frozen parameters may be among them: without a gradient AdamW passes them by,
            weight decay included.
        weight_decay: Weight decay.
        warmup_steps: Steps until the rates are those of the groups.

    Returns:
        What ``configure_optimizers`` is to return.
    """
    optimizer = torch.optim.AdamW(layer_groups(task, groups), weight_decay=weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / max(1, warmup_steps)))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def layer_groups(task: RatedTask, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Splits an optimizer's parameter groups by the rate of the layer that a parameter is in.

    Args:
        task: Its `layer_rates` are factors for the stem and each layer; where it is empty, nothing is split.
        groups: Groups with ``params``, a list, and ``lr``.

    Returns:
        The groups, those with several rates in as many parts, highest learning rate last; each parameter once.
    """
    if not task.layer_rates:
        return groups
    rate_of = {
        id(parameter): rate
        for rate, part in zip(task.layer_rates, [task.stem, *task.layers], strict=True)
        for parameter in part.parameters()
    }
    split = []
    for group in groups:
        by_rate: dict[float, list[Any]] = {}
        for parameter in group["params"]:
            by_rate.setdefault(rate_of.get(id(parameter), 1.0), []).append(parameter)
        split += [{**group, "params": by_rate[rate], "lr": rate * group["lr"]} for rate in sorted(by_rate)]
    return split
