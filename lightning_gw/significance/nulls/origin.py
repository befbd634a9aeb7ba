"""What a network was when training began: fresh or trained, and whether copies with fresh weights can be made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from lightning_gw.activations.running.normalisation import unsettled_layers
from lightning_gw.gw.memory import free_memory
from lightning_gw.significance.nulls.pretrained import source_of, unlike_fresh
from lightning_gw.significance.nulls.reinitialise import RESETS, Reinitialiser
from lightning_gw.utilities.errors import ArgumentError, reason_of

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

    That it is trained is concluded from evidence alone: weights that were loaded (a name in a config counts where they
    are unlike fresh ones, or no copies can be made), normalisation layers whose statistics data has settled or that
    have learnt their gains, or weights unlike those that its own constructor or config draws. An initialisation of
    somebody's own is none: where weights are merely unlike what resetting every layer gives, those of Hugging Face
    models apart, the network counts as fresh, and such copies are not taken for its like.

    Args:
        module: The network; neither it nor any random state is changed.
        untrained: Returns a network like it with fresh weights.
        copies: Whether to make any; without them only what the network itself shows is evidence.

    Raises:
        ArgumentError: If `untrained` fails, or gives another architecture or weights that are not fresh.
    """
    named, seen = _loaded(module), _settled(module) or _learnt_gains(module)
    if not copies:
        return Origin(named or seen, None, "no copies were asked for")
    if reason := too_large(module):
        return Origin(named or seen, None, reason)
    try:
        fresh = Reinitialiser(module, untrained)
        unlike = unlike_fresh(module, fresh)
    except ValueError as error:
        if untrained is not None:
            raise ArgumentError(f"untrained={_name(untrained)} cannot be used: {error}") from error
        return Origin(named or seen, None, str(error))
    except Exception as error:
        return Origin(named or seen, None, f"making copies of it failed ({reason_of(error)})")
    if fresh.loads:
        seen = seen or "its constructor does not draw its weights but loads them"
    # Without those that an initialisation of somebody's own explains.
    unexplained = unlike.parameters.keys() - fresh.resets
    if not (unexplained or (unlike.parameters and fresh.way == RESETS)):
        named = ""  # a config that was read from somewhere has a name too, and its network may be fresh
    if unlike.parameters and not unexplained:
        return Origin(
            named or seen,
            None,
            f"resetting its layers does not give weights like those it began with ({unlike}); give a "
            "function that builds the network anew, untrained=..., or save its hyperparameters",
        )
    return Origin(named or seen or (str(unlike) if unexplained else ""), fresh)


def too_large(module: nn.Module) -> str:
    """Why no copy of the network can be made for its size, in words; empty where one can."""
    tensors = [t for t in (*module.parameters(), *module.buffers()) if not nn.parameter.is_lazy(t)]
    device, host = next((t.device for t in tensors), torch.device("cpu")), torch.device("cpu")
    # A constructor makes its network on the host, in float32, wherever and of whatever type the live one is.
    sizes = {device: sum(t.numel() * t.element_size() for t in tensors)}
    sizes[host] = sum(t.numel() * max(t.element_size(), 4) for t in tensors)
    for place, size in sizes.items():
        free = free_memory(place)
        if free is not None and size * ROOM_FOR_COPIES > free:
            gigabytes = f"its weights take {size / 2**30:.1f} GiB on {place}, and {free / 2**30:.1f} GiB are free there"
            return f"it is too large to be copied: {gigabytes}"
    return ""


def _loaded(module: nn.Module) -> str:
    source = source_of(module)
    return f"its weights were loaded from {source!r}" if source else ""


def _settled(module: nn.Module) -> str:
    unsettled = unsettled_layers(module)  # a lazy network has seen one batch before training, or few
    counts = [
        int(tracked)
        for name, child in module.named_modules()
        if isinstance(child, nn.modules.batchnorm._NormBase)
        and name not in unsettled
        and isinstance(tracked := child.num_batches_tracked, torch.Tensor)
    ]
    most = max(counts, default=0)
    return f"its normalisation layers have seen {most} batches" if most else ""


def _learnt_gains(module: nn.Module) -> str:
    gains = [
        gain.detach().cpu().double()  # off the device first: not every one knows float64
        for child in module.modules()
        if "norm" in type(child).__name__.lower()
        and isinstance(gain := getattr(child, "weight", None), nn.Parameter)
        and not nn.parameter.is_lazy(gain)
        and gain.ndim == 1
        and gain.numel() >= ENOUGH_GAINS
    ]
    spreads = [float(gain.std() / gain.mean().abs().clamp(min=1e-12)) for gain in gains]
    learnt = sum(spread > LEARNT_SPREAD for spread in spreads)
    if 2 * learnt <= len(spreads):
        return ""
    return f"the gains of {learnt} of its {len(spreads)} normalisation layers differ from channel to channel"


def _name(function: Callable[..., object]) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))
