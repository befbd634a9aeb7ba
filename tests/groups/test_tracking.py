"""Tracking: a group keeps its identity, and every event says what really happened."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightning_gw.groups import Groups
from lightning_gw.tracking import Event, GroupTracker


def cut(*boundaries: int, count: int = 9) -> Groups:
    labels = np.searchsorted(boundaries, np.arange(count), side="left") if boundaries else np.zeros(count, dtype=int)
    return Groups(
        labels=tuple(int(label) for label in labels),
        boundaries=boundaries,
        adjacent=np.ones(count - 1),
        strength="strong" if boundaries else "none",
        contrast=2.0,
        roughness=0.1,
    )


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def test_groups_are_born_move_and_die() -> None:
    tracker = GroupTracker()
    assert tracker.update(0, cut()) == []
    assert tracker.identities == ()
    born = tracker.update(10, cut(1, 5))
    assert kinds(born) == ["birth"] * 3
    assert [event.layers for event in born] == [(0, 1), (2, 3, 4, 5), (6, 7, 8)]
    moved = tracker.update(20, cut(1, 6))
    assert kinds(moved) == ["boundary_moved"]
    assert (moved[0].boundary_from, moved[0].boundary_to, moved[0].step) == (5, 6, 20)
    assert moved[0].sentence() == "The boundary after layer 6 moved to after layer 7."
    assert tracker.identities == (0, 1, 2)
    assert kinds(tracker.update(30, cut())) == ["death"] * 3
    assert tracker.identities == ()


def test_nothing_happens_when_nothing_changes() -> None:
    tracker = GroupTracker()
    tracker.update(0, cut(1, 5))
    for step in range(1, 5):
        assert tracker.update(step, cut(1, 5)) == []
    assert tracker.identities == (0, 1, 2)


def test_the_larger_part_of_a_split_keeps_the_identity() -> None:
    tracker = GroupTracker()
    tracker.update(0, cut(1))
    events = tracker.update(1, cut(1, 3))
    assert kinds(events) == ["split"]
    assert events[0].layers == (2, 3)
    assert events[0].others == (1,)
    assert tracker.identities == (0, 2, 1)


def test_the_larger_part_of_a_merge_keeps_the_identity() -> None:
    tracker = GroupTracker()
    tracker.update(0, cut(1, 5))
    events = tracker.update(1, cut(5))
    assert kinds(events) == ["merge"]
    assert events[0].group == 1
    assert events[0].others == (0,)
    assert events[0].layers == (0, 1, 2, 3, 4, 5)
    assert tracker.identities == (1, 2)


def test_a_group_that_returns_after_a_gap_is_itself_again() -> None:
    tracker = GroupTracker()
    tracker.update(0, cut(1, 5))
    tracker.update(1, cut())
    assert kinds(tracker.update(2, cut(1, 5))) == ["birth"] * 3
    assert tracker.identities == (0, 1, 2)
    tracker.update(3, cut())
    tracker.update(4, cut(0, 7))
    # Layers 2–8 hold half of what 3–6 was and more; 1 and 9 alone are strangers or halves of what was there.
    assert len(set(tracker.identities)) == 3


def test_identities_are_never_reused_for_strangers() -> None:
    tracker = GroupTracker()
    generator = np.random.default_rng(0)
    seen: dict[int, set[int]] = {}
    for step in range(60):
        size = int(generator.integers(0, 4))
        boundaries = sorted(generator.choice(8, size=size, replace=False).tolist())
        tracker.update(step, cut(*boundaries))
        assert len(set(tracker.identities)) == len(tracker.identities)
        for identity in tracker.identities:
            seen.setdefault(identity, set()).add(step)
    assert sorted(seen) == list(range(len(seen)))


def test_state_survives_a_checkpoint_in_plain_types() -> None:
    one = GroupTracker()
    one.update(0, cut(1, 5))
    one.update(1, cut(1, 6))
    state = json.loads(json.dumps(one.state_dict()))
    other = GroupTracker()
    other.load_state_dict(state)
    for step, boundaries in enumerate([(1, 3, 6), (6,), (), (1, 6)], start=2):
        assert one.update(step, cut(*boundaries)) == other.update(step, cut(*boundaries))
        assert one.identities == other.identities


@pytest.mark.parametrize("kind", ["birth", "death", "split", "merge"])
def test_every_event_has_a_sentence_in_the_right_number(kind: str) -> None:
    assert "ayers 3–5" in Event(kind, 1, 0, (2, 3, 4)).sentence()  # type: ignore[arg-type]
    assert "ayer 3 " in Event(kind, 1, 0, (2,)).sentence()  # type: ignore[arg-type]
