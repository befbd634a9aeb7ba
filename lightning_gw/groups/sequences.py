"""Layers of several sequences, such as an encoder and its decoder, or towers beside each other: each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lightning_gw.groups.groups import Groups
from lightning_gw.groups.strength import strength_of_all
from lightning_gw.utilities.arrays import FloatArray


def ends_of(sequences: Sequence[Sequence[str]], layers: Sequence[str]) -> tuple[int, ...]:
    """Where sequences end, as `find_groups` takes it: each layer (0-based) whose next one is of another sequence.

    Args:
        sequences: Names of the layers of each.
        layers: Names of all layers that were seen, in order.
    """
    number = {name: place for place, part in enumerate(sequences) for name in part}
    of = [number.get(name) for name in layers]
    return tuple(k for k, (one, other) in enumerate(pairwise(of)) if one != other)


def sequence_parts(layers: int, ends: Sequence[int]) -> list[slice]:
    """The layers of each sequence.

    Args:
        layers: Number of layers of all of them.
        ends: The last layer of each sequence but the last, 0-based.

    Raises:
        ValueError: If one of them is no layer, or the last of all.
    """
    if beyond := sorted(end for end in ends if not 0 <= end < layers - 1):
        raise ValueError(
            f"A sequence cannot end after layer {beyond[0]}: with {layers} layers, counted from 0, those that have a "
            f"next are 0 to {layers - 2}."
        )
    return [slice(start, stop) for start, stop in pairwise([0, *sorted({end + 1 for end in ends}), layers])]


def joined(found: Sequence[Groups], parts: Sequence[slice]) -> Groups:
    """The groups of all sequences together, as strong as the weakest boundary in any of them.

    Args:
        found: The groups of each sequence.
        parts: Its layers.
    """
    told = [one for one in found if one.boundaries]
    labels: list[int] = []
    for one in found:
        next_label = max(labels, default=-1) + 1 if told else 0
        labels += [label if label < 0 else label + next_label for label in one.labels]

    def places(name: str) -> tuple[int, ...]:
        return tuple(part.start + k for part, one in zip(parts, found, strict=True) for k in getattr(one, name))

    contrasts = [one.contrast for one in (told or found) if np.isfinite(one.contrast)]
    return Groups(
        labels=tuple(labels),
        boundaries=places("boundaries"),
        adjacent=_end_to_end([one.adjacent for one in found]),
        strength=strength_of_all(one.strength for one in found),
        contrast=(min if told else max)(contrasts, default=float("nan")),
        roughness=max((one.roughness for one in found if np.isfinite(one.roughness)), default=float("nan")),
        proposed=places("proposed"),
        reference=max(one.reference for one in found),
        excess=_end_to_end([one.excess for one in found if one.excess is not None]) if found[0].reference else None,
        built_in=places("built_in"),
        unreferenced=places("unreferenced"),
        sequence_ends=tuple(part.stop - 1 for part in parts[:-1]),
    )


def _end_to_end(steps: Sequence[FloatArray]) -> FloatArray:
    """Steps within sequences, with NaN for the gap between one and the next."""
    return np.concatenate([piece for one in steps for piece in (one, [np.nan])][:-1])
