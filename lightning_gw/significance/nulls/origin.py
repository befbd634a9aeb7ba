"""What a network was when training began: fresh or trained, and whether copies with fresh weights can be made of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from lightning_gw.significance.nulls.pretrained import looks_pretrained, source_of
from lightning_gw.significance.nulls.reinitialise import RESETS, Reinitialiser

#: A copy is made where the memory that is free holds the weights this many times.
ROOM_FOR_COPIES = 2.0
#: Gains of normalisation layers begin all alike, or nearly; from this spread over their mean on they were learnt.
LEARNT_SPREAD = 0.05
#: Gains of fewer channels say too little.
ENOUGH_GAINS = 8


@dataclass(frozen=True)
class Origin:
    """What a network was when training began.

    Attributes:
        trained: Why its weights are taken for trained ones, in words; empty without evidence of it.
        fresh: Makes networks like it with fresh weights; None where none can be had.
        reason: Why there are none, in words; empty where there are.
    """

    trained: str
    fresh: Reinitialiser | None
    reason: str = ""


def origin_of(module: nn.Module, untrained: Callable[[], nn.Module] | None = None, copies: bool = True) -> Origin:
    """Ask a network where its weights come from, before its training begins.

    That it is trained is concluded from evidence alone: weights that were loaded, normalisation layers that have seen
    data or learnt their gains, or weights unlike those that its own constructor or config draws. An initialisation of
    somebody's own is none: where weights are merely unlike what resetting every layer gives, the network counts as
    fresh, and such copies are not taken for its like.

    Args:
        module: The network; neither it nor any random state is changed.
        untrained: Returns a network like it with fresh weights.
        copies: Whether to make any; without them only what the network itself shows is evidence.

    Raises:
        ValueError: If `untrained` fails, or gives another architecture or weights that are not fresh.
    """
    seen = _loaded(module) or _settled(module) or _learnt_gains(module)
    if not copies:
        return Origin(seen, None, "no copies were asked for")
    if reason := too_large(module):
        return Origin(seen, None, reason)
    try:
        fresh = Reinitialiser(module, untrained)
    except ValueError as error:
        if untrained is not None:
            raise ValueError(f"untrained={_name(untrained)} cannot be used: {error}") from error
        return Origin(seen, None, str(error))
    if fresh.loads:
        seen = seen or "its constructor does not draw its weights but loads them"
    unlike = looks_pretrained(module, fresh)
    if unlike and fresh.way == RESETS:
        return Origin(
            seen,
            None,
            f"resetting its layers does not give weights like those it began with ({unlike.split(' (')[0]}); give a "
            "function that builds the network anew, untrained=..., or save its hyperparameters",
        )
    return Origin(seen or (unlike or "").split(" (")[0], fresh)


def too_large(module: nn.Module) -> str:
    """Why no copy of the network can be made for its size, in words; empty where one can."""
    tensors = [*module.parameters(), *module.buffers()]
    size = sum(t.numel() * t.element_size() for t in tensors if not nn.parameter.is_lazy(t))
    device = next((t.device for t in tensors), torch.device("cpu"))
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_memory()
    if free is None or size * ROOM_FOR_COPIES <= free:
        return ""
    return f"it is too large to be copied: its weights take {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"


def _free_memory() -> int | None:
    """Free memory of the host in bytes; None where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _loaded(module: nn.Module) -> str:
    source = source_of(module)
    return f"its weights were loaded from {source!r}" if source else ""


def _settled(module: nn.Module) -> str:
    counts = [
        int(tracked)
        for child in module.modules()
        if isinstance(child, nn.modules.batchnorm._NormBase)
        and isinstance(tracked := child.num_batches_tracked, torch.Tensor)
    ]
    most = max(counts, default=0)
    return f"its normalisation layers have seen {most} batches" if most else ""


def _learnt_gains(module: nn.Module) -> str:
    spreads = [
        float(gain.detach().double().std() / gain.detach().double().mean().abs().clamp(min=1e-12))
        for child in module.modules()
        if "norm" in type(child).__name__.lower()
        and isinstance(gain := getattr(child, "weight", None), nn.Parameter)
        and not nn.parameter.is_lazy(gain)
        and gain.ndim == 1
        and gain.numel() >= ENOUGH_GAINS
    ]
    learnt = sum(spread > LEARNT_SPREAD for spread in spreads)
    if 2 * learnt <= len(spreads):
        return ""
    return f"the gains of {learnt} of its {len(spreads)} normalisation layers differ from channel to channel"


def _name(function: Callable[..., object]) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))
