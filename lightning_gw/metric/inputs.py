"""What the metric is given, checked before anything is kept: a batch is taken whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lightning_gw.utilities.errors import near_names, sentence


def check_names(layers: Iterable[str]) -> tuple[str, ...]:
    """The names of the layers, in their order.

    Raises:
        TypeError: If they are a single string, or hold anything but strings.
        ValueError: If there are none, or one comes twice.
    """
    if isinstance(layers, str):
        raise TypeError(f"Expected argument `layers` to be several names, but got the string {layers!r}.")
    names = tuple(layers)
    if not names:
        raise ValueError("Expected argument `layers` to name at least one layer, but it is empty.")
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise TypeError(f"Expected argument `layers` to hold names, but got {wrong[0]!r}.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Expected argument `layers` to name every layer once, but these come again: {twice}.")
    return names


def check_batch(
    representations: Mapping[str, Tensor], layers: Sequence[str], widths: Mapping[str, int]
) -> dict[str, Tensor]:
    """A batch in the order of the layers, detached.

    Args:
        representations: Layer name to ``(batch, d)``.
        layers: The layers it must have, and no others.
        widths: ``d`` of the layers in earlier batches; empty before the first.

    Raises:
        TypeError: If it is no mapping, or a layer's is no tensor of real numbers.
        ValueError: If a layer is missing or unknown, is not ``(batch, d)``, has another ``d`` than before or another
            number of inputs than the other layers.
    """
    if not isinstance(representations, Mapping):
        raise TypeError(
            "Expected argument `representations` to be a mapping of layer names to tensors, but got "
            f"{type(representations).__name__}."
        )
    _check_keys(representations, layers)
    batch: dict[str, Tensor] = {}
    for name in layers:
        x = representations[name]
        if not isinstance(x, Tensor) or x.is_complex() or x.dtype == torch.bool:
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"Layer {name!r} is {kind}; expected a tensor of real numbers.")
        if x.ndim != 2:
            raise ValueError(
                f"Layer {name!r} has shape {tuple(x.shape)}; expected (batch, d), one row per input. Pool it first."
            )
        if widths.get(name, x.shape[1]) != x.shape[1]:
            raise ValueError(f"Layer {name!r} is {x.shape[1]} wide, but was {widths[name]} wide in earlier batches.")
        batch[name] = x.detach()
    sizes = {name: len(x) for name, x in batch.items()}
    if len(set(sizes.values())) > 1:
        listing = ", ".join(f"{name!r}: {size}" for name, size in sizes.items())
        raise ValueError(f"All layers of a batch need the same number of inputs, got {listing}.")
    return batch


def _check_keys(representations: Mapping[str, Tensor], layers: Sequence[str]) -> None:
    missing = [name for name in layers if name not in representations]
    unknown = [name for name in representations if name not in layers]
    if missing:
        raise ValueError(
            f"The batch lacks {', '.join(map(repr, missing))}; expected all layers that the metric was made with."
        )
    if unknown:
        raise ValueError(
            sentence(
                f"The batch has {', '.join(map(repr, unknown))}, which the metric was not made with.",
                near_names(str(unknown[0]), layers),
            )
        )
