"""Groups of layers: where the depth of a network falls into blocks of alike representations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.shown import Shown

if TYPE_CHECKING:
    from lightning_gw.groups.choice import Choice

Strength = Literal["none", "weak", "strong"]


@dataclass(frozen=True)
class Groups(Shown):
    """Groups of layers, how strongly they stand out, and how sure one can be.

    Attributes:
        labels: One group index per layer, numbered from 0 in the order in which groups begin; −1 for a degenerate
            layer, which is in no group.
        boundaries: Each ``k`` such that the ``k``-th layer (0-based) and the next are of different groups.
        adjacent: ``(L − 1,)`` distance from each layer to the next; NaN beside a degenerate layer, and where one
            sequence ends and another begins.
        strength: ``"none"`` (the layers drift smoothly or cannot be told apart), ``"weak"`` or ``"strong"``.
        contrast: How many times the trend of those inside groups the step at the weakest boundary is, tempered where
            that trend is uncertain (see `partition.contrasts`); that of the boundary that was taken back last, when
            none is left; NaN where nothing was proposed. Steps are `excess` where there is a reference, else
            `adjacent`.
        roughness: Standard deviation of the residuals of log adjacent distance about a quadratic in depth;
            NaN with fewer than 4 usable neighbours.
        proposed: Boundaries the detector proposed before `strength` was judged.
        p_value: The smallest over all gaps of their p-values against a null, or None where none was computed.
        stability: Per boundary, the share of probe resamples in which it returned, or None where none were drawn.
        support: ``(L − 1,)`` share of probe resamples in which a boundary stood after each layer, or None where none
            were drawn; `stability` is this at the boundaries.
        noise: ``(L − 1,)`` standard deviation of the logarithm of each adjacent distance over probe resamples, or None
            where none were drawn.
        reference: Number of networks that learnt nothing which the steps were held against; 0 where there were none,
            and what the architecture does by itself could not be told from what training made of it.
        excess: ``(L − 1,)`` how many times the reference's each step is (see `Reference.excess`), or None without one.
        built_in: Boundaries that the architecture has by itself, judged from the reference alone.
        unreferenced: Gaps that the reference lacks, because a layer is degenerate in it: judged without.
        p_values: Per boundary, the chance that a network which learnt nothing has a step as far beyond its kind at any
            gap, or None where it was not tested; NaN beside a layer that was left out.
        sequence_ends: Each layer that the next one does not follow, because it begins another sequence: the last layer
            of an encoder whose decoder comes next. A group never reaches beyond, and where the sequences part is no
            boundary, since it says nothing of what was learnt.

    Example:
        >>> import numpy as np
        >>> from lightning_gw import find_groups
        >>> depth = np.array([0, 1, 2, 7, 8, 9])  # six layers, a wide step after the third
        >>> groups = find_groups(abs(np.subtract.outer(depth, depth)))
        >>> groups.count, groups.members()
        (2, ((0, 1, 2), (3, 4, 5)))
        >>> groups.ranges()  # as people count layers, from 1
        '1–3 | 4–6'
    """

    labels: tuple[int, ...]
    boundaries: tuple[int, ...]
    adjacent: FloatArray
    strength: Strength
    contrast: float
    roughness: float
    proposed: tuple[int, ...] = ()
    p_value: float | None = None
    stability: tuple[float, ...] | None = None
    support: FloatArray | None = None
    noise: FloatArray | None = None
    reference: int = 0
    excess: FloatArray | None = None
    built_in: tuple[int, ...] = ()
    unreferenced: tuple[int, ...] = ()
    p_values: tuple[float, ...] | None = None
    sequence_ends: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Number of groups; 1 when no boundary stands."""
        return max(max(self.labels, default=0), 0) + 1

    def members(self) -> tuple[tuple[int, ...], ...]:
        """Layer indices of every group, in depth order."""
        used = sorted({label for label in self.labels if label >= 0})
        return tuple(tuple(i for i, label in enumerate(self.labels) if label == group) for group in used)

    def ranges(self, names: Sequence[str] = ()) -> str:
        """The groups as 1-based layer ranges, such as ``1–2 | 3–6 | 7–9``, with the layers' names where given.

        Where one sequence of layers ends and another begins stands ``‖``: ``1–2 | 3–6 ‖ 7–9``.
        """
        left_out = [i for i, label in enumerate(self.labels) if label < 0]
        told, before = "", -1
        for group in self.members():
            if told:
                told += " ‖ " if any(before <= end < group[0] for end in self.sequence_ends) else " | "
            told += layer_ranges(group, left_out, names)
            before = group[-1]
        return told

    def choose(
        self, layers: Sequence[str], which: str | int = "last", growth: FloatArray | None = None, anyway: bool = False
    ) -> Choice:
        """One of the groups, to be acted on or exported to other tools; see `choice.choose_group`.

        Example:
            >>> import numpy as np
            >>> from lightning_gw import find_groups
            >>> depth = np.array([0, 1, 2, 7, 8, 9])
            >>> groups = find_groups(abs(np.subtract.outer(depth, depth)))
            >>> names = [f"model.layers.{k}" for k in range(6)]
            >>> groups.choose(names, "last", anyway=True).export("peft")
            {'layers_to_transform': [3, 4, 5], 'layers_pattern': 'layers'}
        """
        from lightning_gw.groups.choice import choose_group

        return choose_group(self, layers, which, growth, anyway)

    def __repr__(self) -> str:
        found = "none" if self.strength == "none" else f"{self.ranges()}, {self.strength}"
        p_value = "" if self.p_value is None else f", p = {self.p_value:.2g}"
        return f"Groups({len(self.labels)} layers: {found}{p_value})"

    def sentence(self) -> str:
        """What was found and how far it goes, in words; layers counted from 1."""
        if self.strength == "none":
            beyond = " beyond what the reference has" if self.reference else ""
            return f"No groups: no boundary stands out{beyond}."
        doubt = ""
        if not self.reference:
            doubt = ", since without a reference the architecture may have these steps by itself"
        elif lacking := sorted(set(self.unreferenced) & set(self.boundaries)):
            doubt = f", since the reference lacks the step after layer {lacking[0] + 1}"
        return f"{self.count} groups, {self.ranges()}: {self.strength}{doubt}."


def layer_ranges(layers: Iterable[int], left_out: Sequence[int] = (), names: Sequence[str] = ()) -> str:
    """0-based layer indices as 1-based ranges: ``(0, 1, 2, 6)`` is ``1–3, 7``, or ``1–3 (a to c), 7 (head)``.

    Args:
        layers: The indices.
        left_out: Layers that are in no group; a range goes on across them.
        names: What to call each layer of the network beside its number; numbers alone where there are none.
    """
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and all(between in left_out for between in range(runs[-1][-1] + 1, layer)):
            runs[-1].append(layer)
        else:
            runs.append([layer])
    told = []
    for run in runs:
        first, last = run[0], run[-1]
        span = f"{first + 1}" if first == last else f"{first + 1}–{last + 1}"
        if names:
            span += f" ({names[first]})" if first == last else f" ({names[first]} to {names[last]})"
        told.append(span)
    return ", ".join(told)
