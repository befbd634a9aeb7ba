"""One group chosen among those of a look, what speaks against acting on it, and a random block of as many layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_gw.export import ExportError, to_finetuning_scheduler, to_mergekit, to_patterns, to_peft
from lightning_gw.export.names import place_of, seen_from
from lightning_gw.groups.groups import Groups, layer_ranges
from lightning_gw.groups.strength import STABLE
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.calls import module_of

FORMATS = ("peft", "finetuning-scheduler", "mergekit", "patterns", "json")


class NoGroupError(ValueError):
    """There is no group to act on, or it is not to be relied on; the message says why, and what to do."""


@dataclass(frozen=True)
class Choice:
    """Layers to act on.

    Attributes:
        layers: Names of all layers, in depth order.
        members: Indices of the chosen ones, from 0, in depth order.
        others: Indices of the layers of every other group, in depth order; beside a random block parts of as many
            layers as the groups beside the chosen one.
        said: What was chosen, in words; layers counted from 1.
        doubts: What speaks against acting on it, in words.
        sequence_ends: Layers after which another sequence begins; no block reaches across.
    """

    layers: tuple[str, ...]
    members: tuple[int, ...]
    others: tuple[tuple[int, ...], ...]
    said: str
    doubts: tuple[str, ...] = ()
    sequence_ends: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the chosen layers."""
        return tuple(self.layers[place] for place in self.members)

    @property
    def interior(self) -> tuple[str, ...]:
        """Names of all of them but the first, which makes the step into them."""
        return self.names[1:]

    def control(self, seed: int) -> Choice:
        """A random block of equally many layers in a row, another than this one; of layers in lists, if these all are.

        Raises:
            NoGroupError: If there is no other.
        """
        size, count = len(self.members), len(self.layers)
        in_lists = all(place_of(name) for name in self.names)
        blocks = [tuple(range(start, start + size)) for start in range(count - size + 1)]
        blocks = [
            block
            for block in blocks
            if block != self.members
            and (not in_lists or all(place_of(self.layers[place]) for place in block))
            and not any(block[0] <= end < block[-1] for end in self.sequence_ends)
        ]
        if not blocks:
            raise NoGroupError(f"There is no other block of {size} of {count} layers, so no control can be drawn.")
        block = blocks[int(np.random.default_rng(seed).integers(len(blocks)))]
        said = f"layers {layer_ranges(block)}, a random block (seed {seed}) in place of {self.said}"
        rest = sorted({*self.members, *(place for group in self.others for place in group)} - set(block))
        ends = np.cumsum([len(group) for group in self.others])[:-1]
        parts = np.split(np.array(rest, dtype=int), ends)
        others = tuple(tuple(part.tolist()) for part in parts if len(part))
        return Choice(self.layers, block, others, said, sequence_ends=self.sequence_ends)

    def export(self, to: str, *, inside: str = "", model: str | None = None, **options: Any) -> Any:
        """The layers in the form that a tool takes, as plain values.

        Args:
            to: One of `FORMATS`. mergekit leaves the interior out; the others name all layers.
            inside: Name of the module, within the LightningModule, that the tool is given.
            model: Name or folder of the model; mergekit needs it.
            **options: ``targets`` and ``rank`` for peft, ``also`` for finetuning-scheduler.

        Raises:
            ExportError: If these layers cannot be said in that form.
        """
        chosen, interior = seen_from(self.names, inside), seen_from(self.interior, inside)
        everything = seen_from((name for name in self.layers if not inside or name.startswith(inside + ".")), inside)
        outside = {module_of(name) for place, name in enumerate(self.layers) if place not in self.members}
        if shared := [name for name in self.names if module_of(name) in outside]:
            raise ExportError(f"Layer {shared[0]!r} is one of several calls of a module, not all of which are chosen.")
        match to:
            case "peft":
                return to_peft(chosen, everything, **options)
            case "finetuning-scheduler":
                later = [seen_from((self.layers[place] for place in group), inside) for group in reversed(self.others)]
                return to_finetuning_scheduler(chosen, later, **options)
            case "mergekit":
                if self.members != tuple(range(self.members[0], self.members[-1] + 1)):
                    raise ExportError("The group's layers are not in a row, so it has no interior to leave out.")
                return to_mergekit(interior, everything, model or "MODEL")
            case "patterns":
                return to_patterns(chosen)
            case "json":
                return {
                    "chosen": self.said,
                    "doubts": list(self.doubts),
                    "layers": list(chosen),
                    "places": list(self.members),
                    "interior": list(interior),
                    "patterns": to_patterns(chosen),
                }
            case _:
                raise ExportError(f"There is no form {to!r}; there are {', '.join(FORMATS)}.")


def choose_group(
    groups: Groups,
    layers: Sequence[str],
    which: str | int = "last",
    growth: FloatArray | None = None,
    anyway: bool = False,
) -> Choice:
    """Choose one of the groups.

    Args:
        groups: What was found.
        layers: Names of the layers, in the order of the groups' labels.
        which: ``"last"``, ``"largest"``, ``"changed-most"``, or its number, from 1.
        growth: ``(L − 1,)`` of the same look; ``"changed-most"`` needs it.
        anyway: Take it also where something speaks against it.

    Raises:
        NoGroupError: If there are no groups, no such group, or something speaks against the one that is chosen.
        ValueError: If `layers` are of another number than the groups', or `which` is unknown.
    """
    if len(layers) != len(groups.labels):
        raise ValueError(f"{len(layers)} names were given for groups of {len(groups.labels)} layers.")
    members = groups.members()
    if groups.strength == "none" or len(members) < 2:
        raise NoGroupError(f"There is no group to act on, only the whole network. {groups.sentence()}")
    number = _number(groups, members, which, growth)
    doubts = tuple(doubts_about(groups, number))
    if doubts and not anyway:
        raise NoGroupError(
            f"Group {number + 1} is not to be relied on: {'; '.join(doubts)}. To act on it all the same: --anyway "
            "(anyway=True); a control says what a random block of layers does (--control SEED)."
        )
    said = f"group {number + 1} of {len(members)}, layers {layer_ranges(members[number])} of {len(layers)}"
    others = tuple(group for place, group in enumerate(members) if place != number)
    return Choice(tuple(layers), members[number], others, said, doubts, groups.sequence_ends)


def doubts_about(groups: Groups, number: int) -> list[str]:
    """What speaks against acting on the group of that number, from 0."""
    ends = [group[-1] for group in groups.members()[max(number - 1, 0) : number + 1]]
    doubts = ["the groups of this look are weak"] if groups.strength == "weak" else []
    for edge in [k for k in groups.boundaries if k in ends]:
        share = 1.0 if groups.stability is None else groups.stability[groups.boundaries.index(edge)]
        if share < STABLE:
            doubts.append(f"its boundary after layer {edge + 1} returned in only {share:.0%} of probe resamples")
        if edge in groups.built_in:
            doubts.append(f"its boundary after layer {edge + 1} is built in, a step of the architecture by itself")
    return doubts


def _number(groups: Groups, members: Sequence[tuple[int, ...]], which: str | int, growth: FloatArray | None) -> int:
    if isinstance(which, int) or which.isdigit():
        if not 1 <= int(which) <= len(members):
            raise NoGroupError(f"There is no group {which}: there are groups 1 to {len(members)}, {groups.ranges()}.")
        return int(which) - 1
    match which:
        case "last":
            return len(members) - 1
        case "largest":
            return int(np.argmax([len(group) for group in members]))
        case "changed-most":
            if growth is None or not np.isfinite(growth).any():
                raise NoGroupError("No look before this one says what changed, so there is no group that changed most.")
            changes = [change_of(group, growth) for group in members]
            if not max(changes) > 0:
                raise NoGroupError("Nothing changed since the first look, so there is no group that changed most.")
            return int(np.argmax(changes))
        case _:
            raise ValueError(f"group={which!r} is none of last, largest, changed-most, or a number from 1.")


def gaps_of(members: Sequence[int], count: int) -> list[int]:
    """Gaps between the layers of a group; of a single layer the gap into it, or out of it where it is the first.

    Args:
        members: Indices of the group's layers.
        count: Number of layers.
    """
    inner = [k for k in members if k + 1 in members]
    return inner or [members[0] - 1 if members[0] else 0][: count - 1]


def change_of(members: Sequence[int], growth: FloatArray) -> float:
    """How far a group changed since the first look: mean size of the logarithm of growth over its gaps."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.abs(np.log(growth[gaps_of(members, len(growth) + 1)]))
    finite = sizes[np.isfinite(sizes)]
    return float(finite.mean()) if len(finite) else 0.0
