"""Whether weights are those that they were, told without a copy of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from lightning_gw.activations.isolation.snapshot import is_sharded

#: Name, shape and sum of the bits of every weight and buffer: the same only where all of them are.
Weights = tuple[tuple[str, tuple[int, ...], int], ...]


def weights_of(module: nn.Module) -> Weights:
    """What tells the weights and buffers of a network from any others, as good as surely; each is read once."""
    named = [(name, held) for name, held in chain(module.named_parameters(), module.named_buffers())]
    sums = _sums_of_bits([held for _, held in named])
    return tuple((name, tuple(held.shape), total) for (name, held), total in zip(named, sums, strict=True))


def fingerprints(modules: Mapping[str, nn.Module]) -> dict[str, str]:
    """What tells each module's weights from any others, by its name.

    Weights are parameters and whatever else a module gathers in floating point, such as running statistics. A module
    without any has the empty text. One whose weights cannot be told apart by their bits is left out: where they are
    spread over processes, which none of them sees whole, and where they are quantised, sparse, or without values.
    """
    floats = {name: list(_floats(module)) for name, module in modules.items() if not _any_sharded(module)}
    held = {name: tensors for name, tensors in floats.items() if all(map(_has_plain_bits, tensors))}
    sums = iter(_sums_of_bits(list(chain.from_iterable(held.values()))))
    found = {name: [(tuple(tensor.shape), next(sums)) for tensor in tensors] for name, tensors in held.items()}
    return {
        name: hashlib.sha256(repr(facts).encode()).hexdigest()[:16] if facts else "" for name, facts in found.items()
    }


def _floats(module: nn.Module) -> Iterable[Tensor]:
    """Parameters, and buffers that are no counters."""
    yield from module.parameters()
    yield from (buffer for buffer in module.buffers() if buffer.is_floating_point() or buffer.is_complex())


def _any_sharded(module: nn.Module) -> bool:
    return any(is_sharded(child) for child in module.modules())


def _has_plain_bits(tensor: Tensor) -> bool:
    """Whether the entries lie in memory as they are; kinds of tensors of other libraries may hold them otherwise."""
    own_kind = type(tensor) in (Tensor, nn.Parameter, nn.Buffer)
    return own_kind and not tensor.is_meta and not tensor.is_quantized and tensor.layout is torch.strided


def _sums_of_bits(tensors: Sequence[Tensor]) -> list[int]:
    """The sum of the bits of each, with one transfer for each device and none for each tensor."""
    sums = [_sum_of_bits(tensor.detach()) for tensor in tensors]
    values: dict[int, int] = {}
    for device in {held.device for held in sums}:
        here = [place for place, held in enumerate(sums) if held.device == device]
        values |= dict(zip(here, torch.stack([sums[place] for place in here]).tolist(), strict=True))
    return [values[place] for place in range(len(sums))]


def _sum_of_bits(tensor: Tensor) -> Tensor:
    """The sum of a tensor's bits, read as whole numbers of its entries' size."""
    if tensor.is_meta or tensor.is_quantized or tensor.layout is not torch.strided:
        return torch.tensor(id(tensor), device="cpu")
    plain = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor.resolve_neg()
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[plain.element_size()]
    return plain.contiguous().reshape(-1).view(whole).sum(dtype=torch.int64)
