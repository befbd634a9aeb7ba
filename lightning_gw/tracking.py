"""Groups through training: which group is which from one look to the next, and what happened to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from lightning_gw.groups import Groups

EventKind = Literal["birth", "death", "split", "merge", "boundary_moved"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a group between two looks.

    Attributes:
        kind: ``birth`` (a group where there was none), ``death``, ``split`` (out of `others`), ``merge`` (of `others`
            into `group`), ``boundary_moved`` (`boundary_from` → `boundary_to`, between `group` and ``others[0]``).
        step: Trainer global step of the look that showed it.
        group: Identity of the group, the same number for its whole life.
        layers: Indices of the group's layers at this look (at the previous one for a death).
        others: Identities of the other groups that took part.
        boundary_from: Where the boundary stood: the 0-based layer it came after.
        boundary_to: Where it stands now.
    """

    kind: EventKind
    step: int
    group: int
    layers: tuple[int, ...]
    others: tuple[int, ...] = ()
    boundary_from: int | None = None
    boundary_to: int | None = None

    def sentence(self) -> str:
        """What happened, in words, with 1-based layer numbers."""
        one = len(self.layers) == 1
        span = f"Layer {self.layers[0] + 1}" if one else f"Layers {self.layers[0] + 1}–{self.layers[-1] + 1}"
        match self.kind:
            case "birth":
                return f"{span} became a group."
            case "death":
                return f"The group of {span.lower()} dissolved."
            case "split":
                return f"{span} split off into a group of {'its' if one else 'their'} own."
            case "merge":
                return f"{span} merged into one group."
            case "boundary_moved":
                assert self.boundary_from is not None
                assert self.boundary_to is not None
                return f"The boundary after layer {self.boundary_from + 1} moved to after layer {self.boundary_to + 1}."


class GroupTracker:
    """Follows groups from look to look, so that each keeps one identity for life.

    Groups of two looks are matched one to one so that the layers they share are most (the assignment problem); a match
    needs at least one shared layer. Looks without groups interrupt no life: a group that comes back on at least half of
    its former layers is itself again.

    Example:
        >>> tracker = GroupTracker()
        >>> events = tracker.update(step=100, groups=find_groups(matrix))
        >>> tracker.identities
        (0, 1, 2)
    """

    def __init__(self) -> None:
        self._identities: tuple[int, ...] = ()
        self._members: dict[int, tuple[int, ...]] = {}
        self._last_seen: dict[int, tuple[int, ...]] = {}
        self._next = 0

    @property
    def identities(self) -> tuple[int, ...]:
        """Identity of each group of the last look, by group index; empty when it had no groups."""
        return self._identities

    def update(self, step: int, groups: Groups) -> list[Event]:
        """Match the groups of a new look with those of the one before.

        Args:
            step: Trainer global step of the look.
            groups: Its groups; with strength "none" there are none.

        Returns:
            What happened, in depth order: deaths, births, splits, merges, then moved boundaries.
        """
        members = groups.members() if groups.strength != "none" else ()
        before = dict(self._members)
        identities = self._match(members, before)
        after = dict(zip(identities, members, strict=True))
        events = self._compare(step, before, after)
        self._identities, self._members = identities, after
        if after:
            self._last_seen = after
        return events

    def _match(self, members: tuple[tuple[int, ...], ...], before: dict[int, tuple[int, ...]]) -> tuple[int, ...]:
        candidates = before or self._last_seen
        needed = 0.0 if before else 0.5  # after a gap, a group must be recognisable to be the same
        known = list(candidates)
        overlap = np.array([[_jaccard(now, candidates[old]) for old in known] for now in members]).reshape(
            len(members), len(known)
        )
        # Shared layers decide; among equals the older group lives on.
        age = np.array(known, dtype=np.float64)
        rows, columns = linear_sum_assignment(overlap - 1e-9 * age[None, :], maximize=True)
        matched = {
            int(row): known[column]
            for row, column in zip(rows, columns, strict=True)
            if overlap[row, column] > 0 and overlap[row, column] >= needed
        }
        identities = []
        for row in range(len(members)):
            if row not in matched:
                matched[row] = self._next
                self._next += 1
            identities.append(matched[row])
        return tuple(identities)

    def _compare(self, step: int, before: dict[int, tuple[int, ...]], after: dict[int, tuple[int, ...]]) -> list[Event]:
        events: list[Event] = []
        owner_before = {layer: group for group, layers in before.items() for layer in layers}
        owner_after = {layer: group for group, layers in after.items() for layer in layers}
        gone = [group for group in before if group not in after]
        new = [group for group in after if group not in before]
        for group in gone:
            heirs = _owners(before[group], owner_after)
            if not heirs:
                events.append(Event("death", step, group, before[group]))
        for group in new:
            parents = _owners(after[group], owner_before)
            kind: EventKind = "split" if parents else "birth"
            events.append(Event(kind, step, group, after[group], parents))
        for group in gone:
            heirs = _owners(before[group], owner_after)
            if heirs:
                # Most of its layers went to one group: that one took it in.
                events.append(Event("merge", step, heirs[0], after[heirs[0]], (group,)))
        events.extend(self._moved(step, before, after))
        return events

    def _moved(self, step: int, before: dict[int, tuple[int, ...]], after: dict[int, tuple[int, ...]]) -> list[Event]:
        """Boundaries between the same two groups at both looks that stand elsewhere now."""
        neighbours_before = {pair: layers[-1] for pair, layers in _neighbours(before)}
        return [
            Event("boundary_moved", step, pair[0], after[pair[0]], (pair[1],), neighbours_before[pair], layers[-1])
            for pair, layers in _neighbours(after)
            if pair in neighbours_before and neighbours_before[pair] != layers[-1]
        ]

    def state_dict(self) -> dict[str, object]:
        """State in plain types, for a checkpoint."""
        return {
            "identities": list(self._identities),
            "members": {str(group): list(layers) for group, layers in self._members.items()},
            "last_seen": {str(group): list(layers) for group, layers in self._last_seen.items()},
            "next": self._next,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        self._identities = tuple(int(group) for group in state["identities"])
        self._members = {int(group): tuple(layers) for group, layers in state["members"].items()}
        self._last_seen = {int(group): tuple(layers) for group, layers in state["last_seen"].items()}
        self._next = int(state["next"])


def _jaccard(first: tuple[int, ...], second: tuple[int, ...]) -> float:
    one, other = set(first), set(second)
    return len(one & other) / len(one | other)


def _owners(layers: tuple[int, ...], owner: Mapping[int, int]) -> tuple[int, ...]:
    """Groups that own these layers in another look, the one with most of them first."""
    counts = Counter(owner[layer] for layer in layers if layer in owner)
    return tuple(sorted(counts, key=lambda group: (-counts[group], group)))


def _neighbours(groups: Mapping[int, tuple[int, ...]]) -> list[tuple[tuple[int, int], tuple[int, ...]]]:
    """Pairs of groups that follow each other in depth, with the layers of the first."""
    ordered = sorted(groups.items(), key=lambda item: item[1])
    return [((a, b), layers) for (a, layers), (b, _) in pairwise(ordered)]
