"""Whether weights are those that they were, told without a copy of them."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn

#: Name, shape and sum of the bits of every weight and buffer: the same only where all of them are.
Weights = tuple[tuple[str, tuple[int, ...], int], ...]


def weights_of(module: nn.Module) -> Weights:
    """What tells the weights and buffers of a network from any others, as good as surely; each is read once."""
    named = [(name, held) for name, held in chain(module.named_parameters(), module.named_buffers())]
    sums = [_sum_of_bits(held.detach()) for _, held in named]
    # One transfer for each device, and none for each tensor.
    values: dict[int, int] = {}
    for device in {held.device for held in sums}:
        here = [place for place, held in enumerate(sums) if held.device == device]
        values |= dict(zip(here, torch.stack([sums[place] for place in here]).tolist(), strict=True))
    return tuple((name, tuple(held.shape), values[place]) for place, (name, held) in enumerate(named))


def _sum_of_bits(tensor: Tensor) -> Tensor:
    """The sum of a tensor's bits, read as whole numbers of its entries' size."""
    if tensor.is_meta or tensor.is_quantized or tensor.layout is not torch.strided:
        return torch.tensor(id(tensor), device="cpu")
    plain = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor.resolve_neg()
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[plain.element_size()]
    return plain.contiguous().reshape(-1).view(whole).sum(dtype=torch.int64)
