"""How evenly a layer spreads the inputs: a few far ones, or a few directions, can decide what every measure sees."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_gw.geometry.validation import at_workable_scale, find_defect
from lightning_gw.utilities.arrays import FloatArray

#: Share of the inputs that count as the most distant ones.
DOMINANT = 0.05


def dominant_share(representations: Mapping[str, Tensor]) -> FloatArray:
    """Share of each layer's squared distance from the centre that its most distant 5 % of inputs carry.

    Nguyen, Raghu and Kornblith 2022 traced blocks of similar layers back to such inputs.

    Args:
        representations: Layer name to ``(n, d)``.

    Returns:
        ``(L,)`` from 5 % where inputs lie evenly to 1; NaN for a degenerate layer.

    Example:
        >>> import torch
        >>> x = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
        >>> x[:5] *= 50  # five inputs far from all others
        >>> dominant_share({"layer": x}).round(1).tolist()
        [1.0]
    """
    shares = []
    for x in representations.values():
        squares = _squares(x)
        most = math.ceil(DOMINANT * len(x))
        shares.append(math.nan if squares is None else float(squares.sort()[0][-most:].sum() / squares.sum()))
    return np.array(shares)


def effective_rank(representations: Mapping[str, Tensor]) -> FloatArray:
    """Number of directions that a layer spreads the inputs over: ``exp`` of the entropy of its singular values.

    The singular values are those of the centred representations, divided by their sum (Roy and Vetterli 2007).

    Args:
        representations: Layer name to ``(n, d)``.

    Returns:
        ``(L,)`` from 1 to ``min(n − 1, d)``; NaN for a degenerate layer.

    Example:
        >>> import torch
        >>> line = torch.arange(9.0)[:, None] * torch.ones(1, 4)
        >>> effective_rank({"line": line}).round(2).tolist()
        [1.0]
    """
    ranks = []
    for x in representations.values():
        if find_defect(x):
            ranks.append(math.nan)
            continue
        values = torch.linalg.svdvals(_centred(x))
        shares = values[values > 0] / values.sum()
        ranks.append(float(torch.exp(-(shares * shares.log()).sum())))
    return np.array(ranks)


def dominant_inputs(representations: Mapping[str, Tensor]) -> NDArray[np.intp]:
    """The 5 % of inputs that carry most of the squared distance, on average over layers, in ascending order.

    Args:
        representations: Layer name to ``(n, d)``.

    Returns:
        ``(⌈0.05 n⌉,)`` indices; none where every layer is degenerate.
    """
    squares = [s / s.sum() for x in representations.values() if (s := _squares(x)) is not None]
    if not squares:
        return np.empty(0, dtype=np.intp)
    mean = torch.stack([s.cpu() for s in squares]).mean(dim=0)
    most = math.ceil(DOMINANT * len(mean))
    return np.sort(mean.argsort(stable=True)[-most:].numpy())


def _centred(x: Tensor) -> Tensor:
    x = at_workable_scale(x)
    return x - x.mean(dim=0)


def _squares(x: Tensor) -> Tensor | None:
    """``(n,)`` squared distances from the centre; None for a degenerate layer."""
    return None if find_defect(x) else _centred(x).square().sum(dim=1)
