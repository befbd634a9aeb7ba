"""Which axis of a tensor holds the channels, told by the operations that made it, or by the module that put it out."""

from __future__ import annotations

from math import prod

from torch import nn

from lightning_gw.activations.layers.trace import Node

_CONV1D = (nn.modules.conv._ConvNd, nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.BatchNorm1d)
#: They put channels second, whatever they are given.
_SECOND = ("convolution", "batch_norm", "group_norm", "instance_norm", "_pool", "upsample", "pixel_shuffle")
#: They put channels last.
_LAST = ("::linear", "::addmm", "::mm", "::embedding", "rms_norm", "lstm", "gru", "rnn", "_attention")
_RESHAPES = ("view", "reshape", "flatten", "squeeze", "expand")
#: How far back an axis is followed.
_FURTHEST = 80


def channel_axis(node: Node | None, left: int = _FURTHEST) -> int | None:
    """The axis along which channels lie, from 0; None where no operation tells.

    Args:
        node: The tensor, as it was made.
        left: Operations that are still followed back.
    """
    if node is None or left == 0 or len(node.shape) < 2:
        return None
    name, rank = node.operation, len(node.shape)
    if "layer_norm" in name or "rms_norm" in name:
        over = next((arg for arg in node.arguments if isinstance(arg, list | tuple)), None)
        return rank - 1 if over is None or len(over) == 1 else _before(node, left)[1]
    if any(part in name for part in _SECOND):
        return 1
    if any(part in name for part in _LAST):
        return rank - 1
    shape, inner = _before(node, left)
    if any(part in name for part in _RESHAPES):
        place = None if inner is None else _same_place(shape, inner, node.shape)
        return place if place is not None else _restored(node, left)
    if inner is None:
        return None
    if name.endswith(("::t", "::mT", "::numpy_T")):
        return rank - 1 - inner
    if "permute" in name:
        dims = next((arg for arg in node.arguments if isinstance(arg, list | tuple)), ())
        return [d % rank for d in dims].index(inner) if len(dims) == rank else None
    if "transpose" in name or "swap" in name:
        one, other = (d % rank for d in node.arguments[:2])
        return {one: other, other: one}.get(inner, inner)
    return inner if len(shape) == rank else None


def _before(node: Node, left: int) -> tuple[tuple[int, ...], int | None]:
    """Shape and axis of the first of what an operation was given of which the axis is known."""
    moves = any(part in node.operation for part in (*_RESHAPES, "permute", "transpose", "swap", "::t", "::mT"))
    for shape, inner in node.inputs[:1] if moves else node.inputs:
        if len(shape) >= 2 and (moves or len(shape) == len(node.shape)):
            found = channel_axis(inner, left - 1)
            if found is not None:
                return shape, found
    return (), None


def _restored(node: Node, left: int) -> int | None:
    """The axis in what had the same shape before it was cut up and put together again, as to shuffle or normalise."""
    before = node.inputs[0][1] if node.inputs else None
    while before is not None and before.shape != node.shape and left > 0:
        before, left = (before.inputs[0][1] if before.inputs else None), left - 1
    axis = channel_axis(before, left - 1)
    return axis if axis is not None and node.shape.count(node.shape[axis]) == 1 else None


def _same_place(before: tuple[int, ...], axis: int, after: tuple[int, ...]) -> int | None:
    """Where an axis lies after its tensor was cut up or put together in other ways; None where it went to pieces."""
    ahead = prod(before[:axis])
    return next((k for k, size in enumerate(after) if size == before[axis] and prod(after[:k]) == ahead), None)


def is_batch_second(module: nn.Module) -> bool:
    """Whether the module says that its inputs lie along the second dimension, (t, n, d), as PyTorch's own may.

    Only its own word counts: a block may turn its tensors around for the attention inside it.
    """
    own = getattr(module, "batch_first", None)
    if own is None and isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        own = module.self_attn.batch_first
    return own is False


def is_channels_first(module: nn.Module) -> bool:
    """Whether a three-dimensional output is (n, c, l): made by one-dimensional convolutions with no linear layer."""
    modules = list(module.modules())
    return any(isinstance(m, _CONV1D) for m in modules) and not any(isinstance(m, nn.Linear) for m in modules)
