"""Which layers a rule removes, and which block is as large as a group: choices, without any network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_gw.utilities.arrays import FloatArray

#: How far the parameters of a random block may be from those of the group, as a share of these.
ABOUT_EQUAL = 0.25
#: Of blocks that are all further away, so many of the nearest are drawn from.
NEAREST = 3


def removed(
    rule: str,
    count: int,
    labels: Sequence[int],
    removable: Sequence[int],
    measures: Mapping[str, FloatArray],
    draw: int = 0,
) -> tuple[int, ...] | None:
    """Layers to remove.

    * ``interiors``: layers of groups other than their first, those with the least Gromov-Wasserstein distance from
      what comes in to what goes out;
    * ``boundaries``: layers that make the step into a group, and then their neighbours, the largest distance first;
    * ``cka`` and ``cosine``: layers with the least one minus CKA, or one minus cosine, whatever their group;
    * ``random``: any.

    Args:
        rule: Which.
        count: How many.
        labels: ``(L,)`` group of each layer, in depth order.
        removable: Layers that can be removed, from 0.
        measures: ``adjacent``, ``one_minus_cka`` and ``one_minus_cosine``, each ``(L,)``.
        draw: Seed of ``random``.

    Returns:
        Layers in depth order; None where the rule has not that many.

    Raises:
        ValueError: If there is no such rule.
    """
    firsts = [k for k in range(len(labels)) if k == 0 or labels[k] != labels[k - 1]]
    adjacent = measures["adjacent"]
    match rule:
        case "interiors":
            order = sorted((k for k in removable if k not in firsts), key=lambda k: adjacent[k])
        case "boundaries":
            steps = firsts[1:]
            order = sorted(removable, key=lambda k: (min(abs(k - s) for s in steps), -adjacent[k])) if steps else []
        case "cka" | "cosine":
            order = sorted(removable, key=lambda k: measures[f"one_minus_{rule}"][k])
        case "random":
            order = np.random.default_rng([draw, count]).permutation(removable).tolist()
        case _:
            raise ValueError(f"There is no rule {rule!r}.")
    return tuple(sorted(int(k) for k in order[:count])) if len(order) >= count else None


def random_block(group: range, sizes: Sequence[int], seed: int) -> range:
    """A block of layers in a row, other than the group, drawn from those with about as many parameters.

    Args:
        group: Layers of the group, from 0.
        sizes: ``(L,)`` parameters of each layer.
        seed: Of the draw.

    Raises:
        ValueError: If the group is the whole network.
    """
    count = len(sizes)
    blocks = [range(start, end) for start in range(count) for end in range(start + 1, count + 1)]
    blocks = [block for block in blocks if block != group and len(block) < count]
    if len(group) >= count or not blocks:
        raise ValueError("There is no block beside a group that is the whole network.")
    own = sum(sizes[k] for k in group)
    apart = [abs(sum(sizes[k] for k in block) - own) / max(own, 1) for block in blocks]
    near = [k for k in range(len(blocks)) if apart[k] <= ABOUT_EQUAL]
    if not near:
        near = np.argsort(apart, kind="stable")[:NEAREST].tolist()
    return blocks[near[int(np.random.default_rng(seed).integers(len(near)))]]
