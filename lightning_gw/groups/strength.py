"""How strong groups are called: every reason for which they are "weak" and not "strong" stands here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from lightning_gw.groups.groups import Groups, Strength

#: From this contrast on a boundary is kept, …
WEAK_CONTRAST = 1.3
#: … and from this one where it cuts off a single layer at either end, where networks take larger steps anyway.
WEAK_END_CONTRAST = 1.7
#: Groups whose weakest boundary has this contrast are "strong".
STRONG_CONTRAST = 1.8
#: Share of probe resamples in which every boundary of "strong" groups returns.
STABLE = 0.5


def strength_of(
    boundaries: Sequence[int], weakest: float, layers: int, *, referenced: bool, weak: float, strong: float
) -> Strength:
    """Strength of groups by themselves, before resamples of the probe are heard.

    They are weak where their weakest boundary has little contrast; where some boundary was held against nothing that
    learnt nothing, so that the architecture may have it; and where all they do is to cut off a single layer at an end,
    as entry and readout do in any network.

    Args:
        boundaries: Layers that end a group, 0-based among the usable ones.
        weakest: Smallest contrast of them; NaN where there are none.
        layers: Number of usable layers.
        referenced: Whether every boundary was held against a reference.
        weak: Least contrast for any strength.
        strong: Least contrast for "strong".
    """
    if not boundaries or not weakest >= weak:
        return "none"
    amid = any(0 < k < layers - 2 for k in boundaries)
    return "strong" if referenced and weakest >= strong and amid else "weak"


def why_weak(groups: Groups) -> str:
    """Why groups that are "weak" are no more than that, in a few words; empty for others, and where it is not known.

    The first that holds of: there was nothing to hold a boundary against, little contrast, a boundary that could not be
    tested, little stability, and nothing but a single layer at an end cut off.
    """
    if groups.strength != "weak":
        return ""
    lacking = set(groups.boundaries) & set(groups.unreferenced)
    if not groups.reference or lacking:
        where = "".join(f" after layer {k + 1}" for k in sorted(lacking)[:1])
        return f"what the architecture does by itself{where} is not known"
    if groups.contrast < STRONG_CONTRAST:
        return (
            f"the step at their weakest boundary is {groups.contrast:.2f} times what the steps inside groups lead one "
            f"to expect there, and strong is from {STRONG_CONTRAST} times on"
        )
    untested = [k for k, p in zip(groups.boundaries, groups.p_values or (), strict=False) if np.isnan(p)]
    if untested:
        return f"the boundary after layer {untested[0] + 1} has no p-value, since a layer beside it was left out"
    if groups.stability is not None and (least := min(groups.stability, default=1.0)) < STABLE:
        return f"a boundary returned in only {least:.0%} of probe resamples"
    sizes = [groups.labels.count(label) for label in range(groups.count)]
    if (len(sizes) == 2 and 1 in sizes) or (len(sizes) == 3 and sizes[0] == sizes[2] == 1):
        return "all that is cut off is a single layer at an end, as entry and readout are in any network"
    return ""


def strength_of_all(strengths: Iterable[Strength]) -> Strength:
    """Strength of the groups of several sequences together: strong if all that have any are."""
    told = [strength for strength in strengths if strength != "none"]
    return "none" if not told else "strong" if set(told) == {"strong"} else "weak"


def no_stronger_than_stable(groups: Groups) -> Groups:
    """The same groups, weak where a boundary returned in fewer than `STABLE` of the probe resamples."""
    unstable = groups.stability is not None and min(groups.stability, default=1.0) < STABLE
    return replace(groups, strength="weak") if groups.strength == "strong" and unstable else groups
