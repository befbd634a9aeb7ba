"""What a layer put out, whatever its shape, becomes one vector per input: (n, d)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gw.utilities.errors import ArgumentError, near_names, sentence

#: ``(output, mask or None) -> (n, d)``, for a pooling of one's own.
PoolingFunction = Callable[[Any, Tensor | None], Tensor]
#: One of `POOLINGS`, or a function. In this order, so that a config may name a function by its import path.
Pooling = PoolingFunction | str

#: The poolings that have a name.
POOLINGS = ("auto", "mean", "scaled", "first", "last", "flatten")


def check_pooling(pooling: Pooling) -> None:
    """Refuse a pooling that does not exist.

    Raises:
        ValueError: If it is neither one of `POOLINGS` nor callable; the message lists near names.
    """
    if callable(pooling) or pooling in POOLINGS:
        return
    raise ValueError(
        sentence(
            f"pooling={pooling!r} is neither a function (output, mask) -> (n, d) nor one of {', '.join(POOLINGS)}.",
            near_names(str(pooling), POOLINGS),
        )
    )


def pool(
    output: Tensor,
    mask: Tensor | None,
    pooling: Pooling,
    *,
    layer: str,
    channels_first: bool = False,
    scale_positions: bool = False,
) -> Tensor:
    """Reduce one layer's output to a vector per input.

    ``auto`` takes what the shape suggests: ``(n, d)`` stays, ``(n, t, d)`` is averaged over the positions its mask
    keeps, ``(n, c, h, w)`` and everything deeper is averaged over space. ``mean`` is the same by its plain name, and
    never scales; ``scaled`` always scales the positions of ``(n, t, d)`` to norm 1 before it averages. ``first`` and
    ``last`` take the first and last position that the mask keeps, ``flatten`` keeps every entry.

    Args:
        output: ``(n,)``, ``(n, d)``, ``(n, t, d)``, ``(n, c, l)`` with `channels_first`, or ``(n, c, h, w, ...)``.
        mask: ``(n, t)``, nonzero at the positions that count, or None where all do.
        pooling: One of `POOLINGS`, or a function ``(output, mask) -> (n, d)``.
        layer: Name of the layer, for messages.
        channels_first: Whether a three-dimensional output is ``(n, c, l)``, as one-dimensional convolutions make it.
        scale_positions: Whether ``auto`` scales each position of ``(n, t, d)`` to norm 1 before it averages, as the
            next layer does that normalises its input. Without it a few positions of huge norm decide what is seen.

    Returns:
        ``(n, d)``, real, in its own memory: float64 where `output` is, float32 otherwise.

    Raises:
        ValueError: If the output's shape does not suit `pooling`; the message names the layer and both shapes.
    """
    if output.dim() == 0:
        raise ValueError(f"Layer {layer!r} gave a single number; expected one row per input, shape (n, ...).")
    if output.is_complex():
        output = torch.view_as_real(output).flatten(-2)
    if not callable(pooling):
        output = _widen(output)
        scaled = pooling == "scaled" or (pooling == "auto" and scale_positions)
        if scaled and output.dim() == 3 and not channels_first:
            output = nn.functional.normalize(output, dim=-1)
        pooled = _POOLS[pooling](output, mask, layer, channels_first)
    else:
        pooled = pool_by(pooling, output, mask, layer=layer, rows=output.shape[0])
    # An in-place residual further on would otherwise write into what is kept.
    return pooled.detach().clone()


def pool_by(pooling: PoolingFunction, output: Any, mask: Tensor | None, *, layer: str, rows: int | None) -> Tensor:
    """Reduce one layer's output by a function of the user's, which gets it as it is.

    Args:
        pooling: ``(output, mask) -> (n, d)``.
        output: What the layer put out, of whatever shape or kind.
        mask: ``(n, t)``, nonzero at the positions that count, or None where all do.
        layer: Name of the layer, for messages.
        rows: n; None where it may be any number.

    Returns:
        ``(n, d)``, in its own memory.

    Raises:
        ArgumentError: If the function gives something else; the message names the layer and both shapes.
    """
    pooled = pooling(output, mask)
    if not isinstance(pooled, Tensor) or pooled.dim() != 2 or pooled.shape[0] != (rows or pooled.shape[0]):
        came = tuple(pooled.shape) if isinstance(pooled, Tensor) else type(pooled).__name__
        shape = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"type {type(output).__name__}"
        raise ArgumentError(
            f"The pooling function gave {came} for layer {layer!r} of {shape}; expected ({rows or 'n'}, d)."
        )
    return _widen(pooled).detach().clone()


def _widen(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.to(torch.float32)


def _mean(output: Tensor, mask: Tensor | None, layer: str, channels_first: bool) -> Tensor:
    if output.dim() == 1:
        return output[:, None]
    if output.dim() == 2:
        return output
    if output.dim() == 3 and not channels_first:
        if mask is None:
            return output.mean(dim=1)
        keep = mask.bool()[:, :, None]
        # masked_fill rather than a product: padding may hold NaN, and NaN × 0 is NaN.
        return output.masked_fill(~keep, 0.0).sum(dim=1) / keep.sum(dim=1).clamp(min=1)
    return output.flatten(2).mean(dim=2)


def _position(output: Tensor, mask: Tensor | None, layer: str, channels_first: bool, *, which: str) -> Tensor:
    if output.dim() != 3:
        raise ArgumentError(
            f"pooling={which!r} needs positions, shape (n, t, d), but layer {layer!r} gave {tuple(output.shape)}; "
            "use 'auto', 'flatten' or a function."
        )
    output = output.mT if channels_first else output
    n, t = output.shape[:2]
    if mask is None:
        index = torch.full((n,), 0 if which == "first" else t - 1, device=output.device)
    else:
        keep = mask.to(torch.int64)
        # argmax finds the first of equal maxima; padding may stand on either side.
        index = keep.argmax(dim=1) if which == "first" else t - 1 - keep.flip(1).argmax(dim=1)
    return output[torch.arange(n, device=output.device), index]


def _flatten(output: Tensor, mask: Tensor | None, layer: str, channels_first: bool) -> Tensor:
    if output.dim() == 1:
        return output[:, None]
    if mask is not None and output.dim() == 3 and not channels_first:
        output = output.masked_fill(~mask.bool()[:, :, None], 0.0)
    return output.flatten(1)


_POOLS: dict[str, Callable[[Tensor, Tensor | None, str, bool], Tensor]] = {
    "auto": _mean,
    "mean": _mean,
    "scaled": _mean,
    "first": partial(_position, which="first"),
    "last": partial(_position, which="last"),
    "flatten": _flatten,
}
