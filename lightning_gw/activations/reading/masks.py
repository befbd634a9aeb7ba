"""Which padding mask belongs to a layer: the one that the stack it is in was given, by the name it has there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gw.activations.layers.trace import Call, Trace

#: Names of masks that are of other positions than a layer's own, or of none.
_OTHERS = (
    "memory",
    "encoder_",
    "cross",
    "head",
    "causal",
    "attn_mask",
    "src_mask",
    "tgt_mask",
    "pixel",
    "time",
    "masked",
)
#: What is added to the scores of positions that do not count is below this.
_LOW = -1e3
#: The masks of a decoder, where a whole network is given those of both its stacks.
_OF_DECODERS = ("decoder_attention_mask", "tgt_key_padding_mask", "decoder_padding_mask", "tgt_padding_mask")


@dataclass(frozen=True)
class MaskSource:
    """Where a mask comes from.

    Attributes:
        stack: Name of the module that is given it; empty for the whole network.
        time: Which call of it, from 1.
        argument: The name it has there.
        counts: Whether it is nonzero where a position counts, rather than where it is padding.
        added: Whether it is added to scores instead: far below 0 where a position is padding.
        lengthened: Whether the network pads it to positions of its own, behind those of the batch.
    """

    stack: str
    time: int
    argument: str
    counts: bool
    added: bool = False
    lengthened: bool = False

    def __str__(self) -> str:
        return f"{self.argument} of {self.stack or 'the network'}"

    def read(self, mask: Tensor) -> Tensor:
        """``(n, t)``, True where a position counts."""
        return _read(mask, self.counts, self.added)


def mask_of(call: Call, layers: Sequence[str], trace: Trace) -> tuple[MaskSource | None, str]:
    """The mask of a layer's positions, or why there is none though there are masks.

    The nearest module around the layer that was given a mask under its own name decides. A decoder that was given
    states of another stack has its own mask or none: that of the encoder is not its.
    """
    decoder = False
    at: Call | None = call
    while at is not None:
        decoder = decoder or at.cross
        own = [name for name in at.masks if _is_padding(name)]
        both = [name for name in own if name in _OF_DECODERS]
        if both and len(own) > len(both):
            own = both if decoder else [name for name in own if name not in both]
        for name in own:
            mask = at.masks[name]
            if isinstance(mask, Tensor) and (counts := _counts(name, mask, trace.rows)) is not None:
                if (other := _beside(call, trace, at, mask)) is not None:
                    return None, f"{name} is that of {other.name}"
                added = _is_added(mask)
                lengthened = _is_lengthened(_read(mask, counts, added), trace)
                return MaskSource(at.name, at.time, name, counts, added, lengthened), ""
        is_stack = sum(1 for other in trace.calls if other.parent is at and other.name in layers) > 1
        if decoder and (both or (at.cross and is_stack and own)):
            return None, f"{at.name or 'the network'} was given no {listed_or(own)}"
        at = at.parent
    other = _beside(call, trace)
    return None, "" if other is None else f"the mask is that of {other.name}"


def _beside(call: Call, trace: Trace, at: Call | None = None, mask: Tensor | None = None) -> Call | None:
    """Another branch (inside `at`) that was given this mask (or any), as the text is beside the picture."""
    around = {call.name}
    up = call.parent
    while up is not None:
        around.add(up.name)
        up = up.parent
    for other in trace.calls:
        given = [held for name, held in other.masks.items() if held is not None and _is_padding(name)]
        if mask is not None:
            given = [held for held in given if held.shape == mask.shape and torch.equal(held, mask.to(held.dtype))]
        apart = other.bit and other.name not in around and not (call.after(other) or other.after(call))
        inside = at is None or other.within(at)
        if apart and inside and any(_counts("mask", held, trace.rows) is not None for held in given):
            return other
    return None


def _is_padding(name: str) -> bool:
    """Whether a mask of that name may be one of a stack's own positions."""
    return not any(part in name.replace("decoder_", "") for part in _OTHERS)


def listed_or(names: Sequence[str]) -> str:
    """Names with "or" between them."""
    return " or ".join(names)


def _counts(name: str, mask: Tensor, rows: int) -> bool | None:
    """Whether a mask is nonzero where a position counts; None where it is no mask of positions, or does not tell."""
    if mask.dim() != 2 or mask.shape[0] != rows:
        return None
    if _is_added(mask):
        return True
    if mask.is_floating_point() and not bool(((mask == 0) | (mask == 1)).all()):
        return None
    if "padding" in name:
        return False
    if "attention_mask" in name:
        return True
    # Every input has a first or a last position that counts, on whichever side it is padded.
    ends = torch.stack([mask[:, 0].bool().all(), mask[:, -1].bool().all()])
    none = torch.stack([~mask[:, 0].bool().any(), ~mask[:, -1].bool().any()])
    if bool(ends.any()) and not bool(none.all()):
        return True
    return False if bool(none.any()) else None


def _is_added(mask: Tensor) -> bool:
    """Whether a mask is one that is added to scores; what marks what counts marks something."""
    low = mask <= _LOW
    return mask.is_floating_point() and bool((low | (mask >= 0)).all()) and bool(low.any() or not mask.any())


def _read(mask: Tensor, counts: bool, added: bool) -> Tensor:
    if added:
        return mask > _LOW
    return mask.bool() if counts else ~mask.bool()


def _is_lengthened(mask: Tensor, trace: Trace) -> bool:
    """Whether any module was given the same mask with more positions behind, none of which counts."""
    length = mask.shape[1]
    for call in trace.calls:
        for name, held in call.masks.items():
            if not isinstance(held, Tensor) or held.dim() != 2 or held.shape[1] <= length or not _is_padding(name):
                continue
            if (counts := _counts(name, held, trace.rows)) is not None:
                longer = _read(held, counts, _is_added(held))
                if torch.equal(longer[:, :length], mask) and not bool(longer[:, length:].any()):
                    return True
    return False
