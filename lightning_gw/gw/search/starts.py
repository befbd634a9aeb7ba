"""Starting permutations for the search: cheap guesses, each right in another case."""

from __future__ import annotations

import torch
from torch import Tensor


def identity_start(count: int, n: int, device: torch.device) -> Tensor:
    """``(count, n)`` identity permutations: the paired measure, always allowed."""
    return torch.arange(n, device=device).repeat(count, 1)


def sorted_start(first: Tensor, second: Tensor) -> Tensor:
    """``(P, n)`` permutations that match the inputs of two layers rank to rank, by ``(P, n)`` scores of either."""
    order_first, order_second = first.argsort(dim=1, stable=True), second.argsort(dim=1, stable=True)
    return torch.empty_like(order_first).scatter_(1, order_first, order_second)
