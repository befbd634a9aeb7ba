"""Whether two networks are of one architecture, and what of them is the same whatever the seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Names listed in a note before it goes on with a count.
LISTED = 6


def check_same(module: nn.Module, fresh: object, what: str) -> None:
    """Refuse a network whose parameters differ by name or shape."""
    if not isinstance(fresh, nn.Module):
        raise ValueError(f"{what} of type {type(fresh).__name__}; expected an nn.Module.")
    expected = {name: tuple(p.shape) for name, p in module.named_parameters()}
    came = {name: tuple(p.shape) for name, p in fresh.named_parameters()}
    for name in [*expected, *came]:
        if expected.get(name) != came.get(name):
            raise ValueError(
                f"{what} whose parameter {name!r} has shape {came.get(name, 'none')}, while the live network's has "
                f"{expected.get(name, 'none')}; expected the same architecture."
            )


def not_drawn(one: nn.Module, other: nn.Module, live: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that two networks from different seeds have in common although they are not constant."""
    theirs, shared = dict(other.named_parameters()), {id(p) for p in live.parameters()}
    return {
        name: parameter
        for name, parameter in one.named_parameters()
        if id(parameter) in shared or (_varies(parameter) and torch.equal(parameter, theirs[name]))
    }


def loads(network: nn.Module, same: dict[str, nn.Parameter]) -> bool:
    """Whether what is the same every time is half of the trainable matrices or more."""
    matrices = [name for name, p in network.named_parameters() if p.requires_grad and p.ndim > 1]
    stuck = [name for name, p in same.items() if p.requires_grad and (p.ndim > 1 or not matrices)]
    return bool(stuck) and 2 * len(stuck) >= len(matrices)


def _varies(parameter: Tensor) -> bool:
    return parameter.numel() > 1 and bool((parameter != parameter.flatten()[0]).any())


def listing(names: list[str]) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
