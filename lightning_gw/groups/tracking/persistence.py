"""A steadied picture of the groups: what changes enters it once it has persisted or is beyond the noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lightning_gw.groups.groups import Groups

Cut = tuple[tuple[int, ...], ...]


class DebouncedGroups:
    """The groups that stories are told of.

    A boundary enters or leaves once `persistence` looks in a row have shown that; or at once, where it is beyond the
    noise of the probe: it returned in at least the share `certain` of probe resamples (``Groups.support``), or in no
    more than the rest. Where boundaries come and others go with no standing one between them, they do so together, so
    that a boundary that moves is not a split and a merge. Groups that are not contiguous have no boundaries of that
    kind: they change as a whole.

    Args:
        persistence: Looks in a row that have to show a change.
        certain: Share of probe resamples from which on a boundary is beyond doubt.
    """

    def __init__(self, persistence: int, certain: float) -> None:
        self.persistence = persistence
        self.certain = certain
        self._pending: dict[int, tuple[int, int]] = {}  # boundary that changes → (first step, looks)
        self._candidate: tuple[Cut, int, int] | None = None  # groups as a whole, first step, looks

    def update(self, step: int, groups: Groups, steady: Cut) -> list[tuple[Cut, int]]:
        """What the steadied groups become.

        Args:
            step: Trainer global step of the look.
            groups: What it found.
            steady: The steadied groups so far, as layer indices; empty where there are none.

        Returns:
            What they become one after the other, each with the step of the look that first showed it, in order; the
            last are the groups from now on. Empty where nothing changes for good.
        """
        found = groups.members() if groups.strength != "none" else ()
        if not (_contiguous(found) and _contiguous(steady)):
            return self._as_a_whole(step, found, steady)
        usable = [i for i, label in enumerate(groups.labels) if label >= 0]
        # The last layer of each sequence that is in a group: it ends one, whatever stands.
        ends = {max((i for i in usable if i <= end), default=-1) for end in groups.sequence_ends}
        stands, stood = set(groups.boundaries) if found else set(), _ends(steady)
        stood &= set(usable[:-1]) - ends
        changed = sorted(stands ^ stood)
        self._pending = {
            k: (self._pending[k][0], self._pending[k][1] + 1) if k in self._pending else (step, 1) for k in changed
        }
        settled = {k for k in changed if self._settled(k, k in stands, groups.support)}
        flips: dict[int, set[int]] = {}  # first step → boundaries
        for cluster in _clusters(changed, sorted(stands & stood)):
            if not 0 < len(stands.intersection(cluster)) < len(cluster):
                for k in settled.intersection(cluster):
                    flips.setdefault(self._pending[k][0], set()).add(k)
            elif settled.issuperset(cluster):
                for k, first in self._moves(cluster, stands).items():
                    flips.setdefault(first, set()).add(k)
        became = []
        for first in sorted(flips):
            for k in flips[first]:
                del self._pending[k]
            stood ^= flips[first]
            became.append((_cut(usable, stood | ends if stood else stood), first))
        return became

    def _moves(self, cluster: Sequence[int], stands: set[int]) -> dict[int, int]:
        """The first step of each boundary that comes or goes; where one came for the other, of both: the later."""
        first = {k: self._pending[k][0] for k in cluster}
        comes, goes = ([k for k in cluster if (k in stands) is there] for there in (True, False))
        for row, column in zip(*linear_sum_assignment(abs(np.subtract.outer(comes, goes))), strict=True):
            pair = comes[row], goes[column]
            first |= dict.fromkeys(pair, max(first[k] for k in pair))
        return first

    def _as_a_whole(self, step: int, found: Cut, steady: Cut) -> list[tuple[Cut, int]]:
        if found == steady:
            self._candidate = None
            return []
        first, looks = step, 0
        if self._candidate is not None and self._candidate[0] == found:
            _, first, looks = self._candidate
        self._candidate = (found, first, looks + 1)
        if looks + 1 < self.persistence:
            return []
        self._candidate = None
        return [(found, first)]

    def _settled(self, k: int, stands: bool, support: NDArray[np.float64] | None) -> bool:
        if self._pending[k][1] >= self.persistence:
            return True
        if support is None or not np.isfinite(support[k]):
            return False
        return bool(support[k] >= self.certain if stands else support[k] <= 1 - self.certain)

    def state_dict(self) -> dict[str, object]:
        """State in plain types, for a checkpoint."""
        candidate = self._candidate
        return {
            "pending": {str(k): list(seen) for k, seen in self._pending.items()},
            "candidate": None if candidate is None else [[list(g) for g in candidate[0]], *candidate[1:]],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        self._pending = {int(k): (int(seen[0]), int(seen[1])) for k, seen in state.get("pending", {}).items()}
        candidate = state.get("candidate")
        self._candidate = (
            None
            if candidate is None
            else (tuple(tuple(group) for group in candidate[0]), int(candidate[1]), int(candidate[2]))
        )


def _contiguous(groups: Cut) -> bool:
    """Whether the groups follow each other in depth, none reaching into another."""
    ordered = sorted(groups)
    return all(one[-1] < other[0] for one, other in pairwise(ordered))


def _ends(members: Cut) -> set[int]:
    """Last layers of all groups but the deepest."""
    return {group[-1] for group in sorted(members)[:-1]}


def _cut(usable: Sequence[int], ends: set[int]) -> Cut:
    """Groups of the usable layers that end after these ones; none where nothing ends."""
    if not ends:
        return ()
    groups: list[list[int]] = [[]]
    for layer in usable:
        groups[-1].append(layer)
        if layer in ends:
            groups.append([])
    return tuple(tuple(group) for group in groups if group)


def _clusters(changed: Sequence[int], standing: Sequence[int]) -> list[list[int]]:
    """Changed boundaries that hang together: no boundary that stands lies between them."""
    clusters: dict[int, list[int]] = {}
    for k in changed:
        clusters.setdefault(int(np.searchsorted(standing, k)), []).append(k)
    return list(clusters.values())
