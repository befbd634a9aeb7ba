"""What can happen to groups between two looks, and how it is said in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from lightning_gw.groups.groups import layer_ranges
from lightning_gw.utilities.text import numbered

#: What can happen to a group; `Event` says what each is.
EventKind = Literal["birth", "return", "death", "split", "merge", "boundary_moved", "growth"]
#: Identity of a group → the indices of its layers, ascending.
Members = Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Event:
    """Something that happened to a group while training went on.

    Attributes:
        kind: ``birth`` (a group where there was none), ``return`` (one that had dissolved), ``death``, ``split`` (out
            of `others`), ``merge`` (of `others` into `group`), ``boundary_moved`` (`boundary_from` → `boundary_to`,
            between `group` and ``others[0]``), or ``growth`` (the adjacent distances after `layers` are no longer what
            they were at the first look).
        step: Trainer global step of the look that first showed it.
        group: Identity of the group, the same number for its whole life; −1 for ``growth``, which is of no group.
        layers: Indices of the group's layers at that look (at the previous one for a death).
        others: Identities of the other groups that took part.
        boundary_from: Where the boundary stood: the 0-based layer it came after.
        boundary_to: Where it stands now.
        confirmed: Trainer global step of the look that confirmed it: `step` itself where the change was beyond the
            noise at once, a later one where it had to persist.
        factors: For ``growth``, the adjacent distances over those at the first look, one for each of `layers`.

    Example:
        >>> from lightning_gw import Event
        >>> Event("boundary_moved", 100, 0, (0, 1), others=(1,), boundary_from=2, boundary_to=1).sentence()
        'The boundary after layer 3 moved to after layer 2.'
    """

    kind: EventKind
    step: int
    group: int
    layers: tuple[int, ...]
    others: tuple[int, ...] = ()
    boundary_from: int | None = None
    boundary_to: int | None = None
    confirmed: int | None = None
    factors: tuple[float, ...] = ()

    def sentence(self, names: Sequence[str] = ()) -> str:
        """What happened, in words, with 1-based layer numbers.

        Args:
            names: What to call each layer beside its number; numbers alone where there are none.
        """
        one = len(self.layers) == 1
        span = f"{'Layer' if one else 'Layers'} {layer_ranges(self.layers, names=names)}"
        match self.kind:
            case "birth":
                return f"{span} {'is' if one else 'are'} first seen as a group."
            case "return":
                return f"{span} {'is' if one else 'are'} a group again."
            case "death":
                return f"The group of {span[0].lower()}{span[1:]} dissolved."
            case "split":
                return f"{span} split off into a group of {'its' if one else 'their'} own."
            case "merge":
                return f"{span} merged into one group."
            case "boundary_moved":
                assert self.boundary_from is not None
                assert self.boundary_to is not None
                by = abs(self.boundary_to - self.boundary_from)
                return (
                    f"The boundary after layer {numbered(self.boundary_from, names)} moved to after layer "
                    f"{numbered(self.boundary_to, names)}" + (f", by {by} layers." if by > 1 else ".")
                )
            case "growth":
                gaps = [
                    (factor, f"{numbered(layer, names)} to {numbered(layer + 1, names)} (×{factor:.2g})")
                    for layer, factor in zip(self.layers, self.factors, strict=True)
                ]
                told = [
                    f"{word} from layer {', '.join(where)}"
                    for word, where in (
                        ("grown", [gap for factor, gap in gaps if factor >= 1]),
                        ("shrunk", [gap for factor, gap in gaps if factor < 1]),
                    )
                    if where
                ]
                return f"Beyond its noise, the distance has since the first look {' and '.join(told)}."


def compare_groups(
    step: int, confirmed: int, before: Members, after: Members, earlier: Collection[int] = ()
) -> list[Event]:
    """What turned one set of groups into another.

    Args:
        step: Trainer global step of the look that first showed it.
        confirmed: Trainer global step of the look that confirmed it.
        before: Groups of the earlier look.
        after: Groups of the later one; a group that lives on has the same identity in both.
        earlier: Identities of the groups that there were at any look before.

    Returns:
        Deaths, births, returns and splits, merges, then moved boundaries, each in depth order.
    """
    owner_before = {layer: group for group, layers in before.items() for layer in layers}
    owner_after = {layer: group for group, layers in after.items() for layer in layers}
    gone = [group for group in before if group not in after]
    heirs = {group: owners(before[group], owner_after) for group in gone}
    events = [Event("death", step, group, before[group], confirmed=confirmed) for group in gone if not heirs[group]]
    for group in (group for group in after if group not in before):
        parents = owners(after[group], owner_before)
        kind: EventKind = "split" if parents else "return" if group in earlier else "birth"
        events.append(Event(kind, step, group, after[group], parents, confirmed=confirmed))
    for group in gone:
        if heirs[group]:
            # Most of its layers went to one group: that one took it in.
            heir = heirs[group][0]
            events.append(Event("merge", step, heir, after[heir], (group,), confirmed=confirmed))
    return events + _moved(step, confirmed, before, after)


def owners(layers: Iterable[int], owner: Mapping[int, int]) -> tuple[int, ...]:
    """Groups that own these layers in another look, the one with most of them first."""
    counts = Counter(owner[layer] for layer in layers if layer in owner)
    return tuple(sorted(counts, key=lambda group: (-counts[group], group)))


def _moved(step: int, confirmed: int, before: Members, after: Members) -> list[Event]:
    """Boundaries between the same two groups at both looks that stand elsewhere now."""
    stood = {pair: layers[-1] for pair, layers in _neighbours(before)}
    return [
        Event("boundary_moved", step, pair[0], after[pair[0]], (pair[1],), stood[pair], layers[-1], confirmed)
        for pair, layers in _neighbours(after)
        if pair in stood and stood[pair] != layers[-1]
    ]


def _neighbours(groups: Members) -> list[tuple[tuple[int, int], tuple[int, ...]]]:
    """Pairs of contiguous groups that follow each other in depth, with the layers of the first."""
    ordered = sorted(groups.items(), key=lambda item: item[1])
    return [((a, b), layers) for (a, layers), (b, others) in pairwise(ordered) if layers[-1] < others[0]]
