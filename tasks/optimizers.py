"""Parameter groups with one learning rate per layer, where a strategy asks for it."""

from __future__ import annotations

from typing import Any

from tasks.strategies.requirements import RatedTask


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
