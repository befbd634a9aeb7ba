"""Groups through training: which group is which from one look to the next, and what happened to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from lightning_gw.groups.groups import Groups
from lightning_gw.groups.tracking.events import Event, EventKind, Members, compare_groups
from lightning_gw.groups.tracking.growth import GrowthWatch
from lightning_gw.groups.tracking.persistence import Cut, DebouncedGroups

__all__ = ["Event", "EventKind", "GroupTracker", "converged_at"]

#: Looks in a row that have to show a change before it is an event, unless it is beyond the noise at once.
PERSISTENCE = 2
#: A boundary that returns in this share of probe resamples stands beyond doubt; one that returns in the rest does not.
CERTAIN = 0.95


class GroupTracker:
    """Follows groups from look to look, so that each keeps one identity for life, and says what happened to them.

    **Identities.** Groups of two looks are matched one to one so that the layers they share are most (the assignment
    problem); a match needs at least one shared layer. Looks without groups interrupt no life: a group that comes back
    on at least half of its former layers is itself again.

    **Events** are told of a steadied picture, so that jitter between neighbouring looks is no story: what changes
    enters it once it has persisted or is beyond the noise of the probe (see `DebouncedGroups`); growth of an adjacent
    distance is told once it is beyond its own (`GrowthWatch`). An event carries the step of the look that first showed
    it.

    Args:
        persistence: Looks in a row that have to show a change; 1 tells everything at once.
        certain: Share of probe resamples from which on a boundary is beyond doubt.

    Raises:
        ValueError: If `persistence` is below 1 or `certain` not in (0.5, 1].

    Example:
        >>> import numpy as np
        >>> from lightning_gw import GroupTracker, find_groups
        >>> def look(*depth):
        ...     return find_groups(abs(np.subtract.outer(depth, depth)))
        >>> tracker = GroupTracker(persistence=1)
        >>> [event.sentence() for event in tracker.update(step=0, groups=look(0, 1, 2, 7, 8, 9))]
        ['Layers 1–3 are first seen as a group.', 'Layers 4–6 are first seen as a group.']
        >>> [event.sentence() for event in tracker.update(step=100, groups=look(0, 1, 6, 7, 8, 9))]
        ['The boundary after layer 3 moved to after layer 2.']
        >>> tracker.group_ids  # the groups are still those of the first look
        (0, 1)
    """

    def __init__(self, persistence: int = PERSISTENCE, certain: float = CERTAIN) -> None:
        if persistence < 1:
            raise ValueError(f"persistence={persistence} must be at least 1 look.")
        if not 0.5 < certain <= 1:
            raise ValueError(f"certain={certain} must be a share above 0.5 and up to 1.")
        self._group_ids: tuple[int, ...] = ()
        self._members: dict[int, tuple[int, ...]] = {}
        self._last_seen: dict[int, tuple[int, ...]] = {}
        self._next = 0
        self._steady: dict[int, tuple[int, ...]] = {}  # the groups that events are told of
        self._earlier: frozenset[int] = frozenset()  # all that were ever among them
        self._cut = DebouncedGroups(persistence, certain)
        self._growth = GrowthWatch(persistence)

    @property
    def group_ids(self) -> tuple[int, ...]:
        """Identity of each group of the last look, by group index; empty when it had no groups."""
        return self._group_ids

    @property
    def identities(self) -> tuple[int, ...]:
        """An older name of `group_ids`."""
        return self._group_ids

    @property
    def steady(self) -> Members:
        """The groups that events are told of: identity → layer indices."""
        return dict(self._steady)

    def update(self, step: int, groups: Groups) -> list[Event]:
        """Match the groups of a new look with those of the one before.

        Args:
            step: Trainer global step of the look.
            groups: Its groups; with strength "none" there are none.

        Returns:
            What is now certain to have happened, in the order in which looks first showed it, at each of them in depth
            order: deaths, births, returns, splits, merges, moved boundaries; then growth.
        """
        members = groups.members() if groups.strength != "none" else ()
        matched = _match(members, self._members or self._last_seen, 0.0 if self._members else 0.5)
        self._group_ids = self._name(matched, len(members))
        self._members = dict(zip(self._group_ids, members, strict=True))
        if self._members:
            self._last_seen = self._members
        return self._settle(step, groups) + self._growth.update(step, groups)

    def forget_growth(self) -> None:
        """Measure growth from the next look on."""
        self._growth = GrowthWatch(self._growth.persistence)

    def _name(self, matched: Mapping[int, int], count: int) -> tuple[int, ...]:
        """Identities of `count` groups: the matched ones, and new ones for the rest."""
        identities = []
        for row in range(count):
            if row not in matched:
                identities.append(self._next)
                self._next += 1
            else:
                identities.append(matched[row])
        return tuple(identities)

    def _settle(self, step: int, groups: Groups) -> list[Event]:
        """Take into the steadied picture what has changed for good, and tell of it."""
        events: list[Event] = []
        for members, first in self._cut.update(step, groups, tuple(self._steady.values())):
            steady = self._identify(members)
            events += compare_groups(first, step, self._steady, steady, self._earlier)
            self._steady = steady
            self._earlier |= steady.keys()
        return events

    def _identify(self, members: Cut) -> dict[int, tuple[int, ...]]:
        """Give the steadied groups the identities that the look's groups have, else those they had."""
        matched = _match(members, self._members, 0.0)
        free = {group: layers for group, layers in self._steady.items() if group not in matched.values()}
        rest = [row for row in range(len(members)) if row not in matched]
        again = _match(tuple(members[row] for row in rest), free, 0.0)
        matched |= {rest[index]: group for index, group in again.items()}
        return dict(zip(self._name(matched, len(members)), members, strict=True))

    def state_dict(self) -> dict[str, object]:
        """State in plain types, for a checkpoint."""
        return {
            "identities": list(self._group_ids),
            "members": _plain(self._members),
            "last_seen": _plain(self._last_seen),
            "next": self._next,
            "steady": _plain(self._steady),
            "earlier": sorted(self._earlier),
            "cut": self._cut.state_dict(),
            "growth": self._growth.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        self._group_ids = tuple(int(group) for group in state["identities"])
        self._members = _parsed(state["members"])
        self._last_seen = _parsed(state["last_seen"])
        self._next = int(state["next"])
        # Checkpoints made before events were steadied told of every look as it was.
        self._steady = _parsed(state.get("steady", state["members"]))
        self._earlier = frozenset(int(group) for group in state.get("earlier", self._steady))
        self._cut.load_state_dict(state.get("cut", {}))
        self._growth.load_state_dict(state.get("growth", {}))


class Look(Protocol):
    """What `converged_at` reads of a record."""

    @property
    def step(self) -> int: ...
    @property
    def groups(self) -> Groups: ...
    @property
    def group_ids(self) -> tuple[int, ...]: ...


def converged_at(history: Sequence[Look], group: int) -> int | None:
    """The step after which a group stopped moving.

    Args:
        history: The looks of one run in the order of their steps.
        group: Identity of the group.

    Returns:
        Step of the first look from which on the group has held just the layers it holds at the last look; None if it
        held others at the look before the last, so that nothing shows that it has stopped, or is not there at the end.

    Raises:
        ValueError: If there are fewer than two looks, or no look ever had such a group.

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> from lightning_gw import converged_at, find_groups
        >>> def look(step, *depth):  # a Record has all this, and more
        ...     groups = find_groups(abs(np.subtract.outer(depth, depth)))
        ...     return SimpleNamespace(step=step, groups=groups, group_ids=(0, 1))
        >>> looks = [look(0, 0, 1, 2, 7, 8, 9), look(100, 0, 1, 6, 7, 8, 9), look(200, 0, 1, 6, 7, 8, 9)]
        >>> converged_at(looks, group=0)  # it lost a layer at step 100, and has stood since
        100
    """
    if len(history) < 2:
        raise ValueError(
            f"Whether a group has stopped moving is told from 2 looks or more, and there are {len(history)}."
        )
    # A look without groups has one range of layers and no identity for it.
    held = [dict(zip(look.group_ids, look.groups.members(), strict=False)).get(group) for look in history]
    if not any(held):
        known = sorted({identity for look in history for identity in look.group_ids})
        raise ValueError(f"No look has a group {group}; there are {', '.join(map(str, known)) or 'none'}.")
    if held[-1] is None or held[-2] != held[-1]:
        return None
    first = len(held) - 1
    while first > 0 and held[first - 1] == held[-1]:
        first -= 1
    return history[first].step


def _match(members: Sequence[tuple[int, ...]], candidates: Members, needed: float) -> dict[int, int]:
    """Row of `members` → identity of the candidate it is, where it shares more than the `needed` share of layers."""
    known = list(candidates)
    overlap = np.array([[_jaccard(now, candidates[old]) for old in known] for now in members])
    overlap = overlap.reshape(len(members), len(known))
    # Shared layers decide; among equals the older group lives on.
    age = np.array(known, dtype=np.float64)
    rows, columns = linear_sum_assignment(overlap - 1e-9 * age[None, :], maximize=True)
    return {
        int(row): known[column]
        for row, column in zip(rows, columns, strict=True)
        if overlap[row, column] > 0 and overlap[row, column] >= needed
    }


def _jaccard(first: tuple[int, ...], second: tuple[int, ...]) -> float:
    one, other = set(first), set(second)
    return len(one & other) / len(one | other)


def _plain(members: Members) -> dict[str, list[int]]:
    return {str(group): list(layers) for group, layers in members.items()}


def _parsed(members: Mapping[str, Any]) -> dict[int, tuple[int, ...]]:
    return {int(group): tuple(layers) for group, layers in members.items()}
