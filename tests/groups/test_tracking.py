"""Tracking: a group keeps its identity, and every event says what really happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
from snapshots import Snapshots

from lightning_gw.groups.groups import Groups
from lightning_gw.groups.tracking.tracker import Event, GroupTracker, converged_at


def cut(
    *boundaries: int,
    count: int = 9,
    support: Mapping[int, float] | None = None,
    adjacent: float = 1.0,
    noise: float | None = None,
) -> Groups:
    labels = np.searchsorted(boundaries, np.arange(count), side="left") if boundaries else np.zeros(count, dtype=int)
    return Groups(
        labels=tuple(int(label) for label in labels),
        boundaries=boundaries,
        adjacent=np.full(count - 1, adjacent),
        support=None if support is None else np.array([support.get(k, 0.5) for k in range(count - 1)]),
        noise=None if noise is None else np.full(count - 1, noise),
        strength="strong" if boundaries else "none",
        contrast=2.0,
        roughness=0.1,
    )


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def test_groups_are_born_move_and_die() -> None:
    tracker = GroupTracker(persistence=1)
    assert tracker.update(0, cut()) == []
    assert tracker.group_ids == ()
    born = tracker.update(10, cut(1, 5))
    assert kinds(born) == ["birth"] * 3
    assert [event.layers for event in born] == [(0, 1), (2, 3, 4, 5), (6, 7, 8)]
    moved = tracker.update(20, cut(1, 6))
    assert kinds(moved) == ["boundary_moved"]
    assert (moved[0].boundary_from, moved[0].boundary_to, moved[0].step) == (5, 6, 20)
    assert moved[0].sentence() == "The boundary after layer 6 moved to after layer 7."
    assert tracker.group_ids == (0, 1, 2)
    assert kinds(tracker.update(30, cut())) == ["death"] * 3
    assert tracker.group_ids == ()


def test_a_group_that_dissolved_returns_and_is_not_called_new() -> None:
    tracker = GroupTracker(persistence=1)
    tracker.update(0, cut(4))
    tracker.update(10, cut())
    state = json.loads(json.dumps(tracker.state_dict()))
    events = tracker.update(20, cut(4))
    assert kinds(events) == ["return"] * 2
    assert events[0].sentence() == "Layers 1–5 are a group again."
    assert tracker.group_ids == (0, 1)
    resumed = GroupTracker(persistence=1)
    resumed.load_state_dict(state)
    assert resumed.update(20, cut(4)) == events
    # One that shares too little with what was there is another.
    tracker.update(30, cut())
    assert kinds(tracker.update(40, cut(0))) == ["birth", "return"]


def test_nothing_happens_when_nothing_changes() -> None:
    tracker = GroupTracker(persistence=1)
    tracker.update(0, cut(1, 5))
    for step in range(1, 5):
        assert tracker.update(step, cut(1, 5)) == []
    assert tracker.group_ids == (0, 1, 2)


def test_the_larger_part_of_a_split_keeps_the_identity() -> None:
    tracker = GroupTracker(persistence=1)
    tracker.update(0, cut(1))
    events = tracker.update(1, cut(1, 3))
    assert kinds(events) == ["split"]
    assert events[0].layers == (2, 3)
    assert events[0].others == (1,)
    assert tracker.group_ids == (0, 2, 1)


def test_the_larger_part_of_a_merge_keeps_the_identity() -> None:
    tracker = GroupTracker(persistence=1)
    tracker.update(0, cut(1, 5))
    events = tracker.update(1, cut(5))
    assert kinds(events) == ["merge"]
    assert events[0].group == 1
    assert events[0].others == (0,)
    assert events[0].layers == (0, 1, 2, 3, 4, 5)
    assert tracker.group_ids == (1, 2)


def test_a_group_that_returns_after_a_gap_is_itself_again() -> None:
    tracker = GroupTracker(persistence=1)
    tracker.update(0, cut(1, 5))
    tracker.update(1, cut())
    assert kinds(tracker.update(2, cut(1, 5))) == ["return"] * 3
    assert tracker.group_ids == (0, 1, 2)
    tracker.update(3, cut())
    tracker.update(4, cut(0, 7))
    # Layers 2–8 hold half of what 3–6 was and more; 1 and 9 alone are strangers or halves of what was there.
    assert len(set(tracker.group_ids)) == 3


def test_group_ids_are_never_reused_for_strangers() -> None:
    tracker = GroupTracker(persistence=1)
    generator = np.random.default_rng(0)
    seen: dict[int, set[int]] = {}
    for step in range(60):
        size = int(generator.integers(0, 4))
        boundaries = sorted(generator.choice(8, size=size, replace=False).tolist())
        tracker.update(step, cut(*boundaries))
        assert len(set(tracker.group_ids)) == len(tracker.group_ids)
        for identity in tracker.group_ids:
            seen.setdefault(identity, set()).add(step)
    assert sorted(seen) == list(range(len(seen)))


def test_state_survives_a_checkpoint_in_plain_types() -> None:
    one = GroupTracker(persistence=1)
    one.update(0, cut(1, 5))
    one.update(1, cut(1, 6))
    state = json.loads(json.dumps(one.state_dict()))
    other = GroupTracker(persistence=1)
    other.load_state_dict(state)
    for step, boundaries in enumerate([(1, 3, 6), (6,), (), (1, 6)], start=2):
        assert one.update(step, cut(*boundaries)) == other.update(step, cut(*boundaries))
        assert one.group_ids == other.group_ids


def test_every_event_has_a_sentence_in_the_right_number(snapshots: Snapshots) -> None:
    told = []
    for kind in ("birth", "death", "split", "merge"):
        many, one = Event(kind, 1, 0, (2, 3, 4)).sentence(), Event(kind, 1, 0, (2,)).sentence()  # type: ignore[arg-type]
        assert "ayers 3–5" in many
        assert "ayer 3 " in one
        told += [many, one]
    snapshots.compare("events", "\n".join(told))


def test_jitter_is_no_story() -> None:
    tracker = GroupTracker()
    told: list[Event] = []
    for step, boundaries in enumerate([(2, 5), (2, 5), (2, 6), (2, 5), (2, 4), (2, 5), (), (2, 5), (2, 5, 7), (2, 5)]):
        told += tracker.update(step, cut(*boundaries))
    assert kinds(told) == ["birth"] * 3
    assert list(tracker.steady.values()) == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]


def test_what_persists_is_told_with_the_step_that_first_showed_it() -> None:
    tracker = GroupTracker()
    for step in (0, 10):
        tracker.update(step, cut(1, 5))
    assert tracker.update(20, cut(1, 6)) == []
    (event,) = tracker.update(30, cut(1, 6))
    assert (event.kind, event.step, event.confirmed) == ("boundary_moved", 20, 30)
    assert (event.boundary_from, event.boundary_to) == (5, 6)
    assert event.group == tracker.group_ids[1]


def test_what_is_beyond_the_noise_of_the_probe_is_told_at_once() -> None:
    tracker = GroupTracker()
    born = tracker.update(10, cut(1, 5, support={1: 1.0, 5: 0.96}))
    assert kinds(born) == ["birth"] * 3
    # The new place is certain, but that the old one is gone is not: together they wait.
    assert tracker.update(20, cut(1, 6, support={1: 1.0, 5: 0.3, 6: 1.0})) == []
    (event,) = tracker.update(30, cut(1, 6, support={1: 1.0, 5: 0.02, 6: 1.0}))
    assert (event.kind, event.step, event.confirmed) == ("boundary_moved", 20, 30)


def test_changes_that_settle_together_are_each_told_of_the_look_that_first_showed_them() -> None:
    tracker = GroupTracker()
    tracker.update(200, cut(7, support={7: 1.0}))
    assert tracker.update(400, cut(1, 7, support={7: 1.0})) == []
    split, moved = tracker.update(800, cut(1, 6, support={6: 1.0, 7: 0.0}))
    assert (split.kind, split.step, split.confirmed) == ("split", 400, 800)
    assert (moved.kind, moved.step, moved.confirmed) == ("boundary_moved", 800, 800)
    assert (moved.boundary_from, moved.boundary_to) == (7, 6)


def test_changes_apart_from_each_other_do_not_wait_for_each_other() -> None:
    tracker = GroupTracker()
    for step in (0, 1):
        tracker.update(step, cut(2, 5))
    tracker.update(2, cut(1, 5))
    events = tracker.update(3, cut(1, 5, 7))  # the first boundary has moved for good, the last is new
    assert kinds(events) == ["boundary_moved"]
    assert kinds(tracker.update(4, cut(1, 5, 7))) == ["split"]


def test_groups_that_are_not_contiguous_change_as_a_whole() -> None:
    apart = replace(cut(2, 5), labels=(0, 0, 0, 1, 1, 1, 0, 0, 0))
    assert apart.count == 2
    assert apart.ranges() == "1–3, 7–9 | 4–6"
    tracker = GroupTracker()
    assert tracker.update(0, apart) == []
    assert [event.layers for event in tracker.update(1, apart)] == [(0, 1, 2, 6, 7, 8), (3, 4, 5)]
    assert tracker.update(2, cut(2, 5)) == []
    assert kinds(tracker.update(3, cut(2, 5))) == ["split"]


def test_growth_is_told_once_and_only_beyond_its_noise() -> None:
    tracker = GroupTracker()
    assert tracker.update(0, cut(adjacent=1.0, noise=0.02)) == []
    assert tracker.update(1, cut(adjacent=1.3, noise=0.02)) == []  # certain, but small
    assert tracker.update(2, cut(adjacent=3.0, noise=1.0)) == []  # large, but within its noise
    assert tracker.update(3, cut(adjacent=3.0, noise=0.02)) == []  # must persist
    (event,) = tracker.update(4, cut(adjacent=2.0, noise=0.02))
    assert (event.kind, event.step, event.confirmed, event.group) == ("growth", 3, 4, -1)
    assert event.layers == tuple(range(8))
    assert event.factors == pytest.approx((2.0,) * 8)
    assert "layer 1 to 2 (×2)" in event.sentence()
    assert tracker.update(5, cut(adjacent=4.0, noise=0.02)) == []


def test_a_distance_that_stands_near_the_limit_is_not_told_of_when_noise_carries_it_across() -> None:
    tracker = GroupTracker()
    tracker.update(0, cut(adjacent=1.0, noise=0.05))
    generator = np.random.default_rng(0)
    crossed = 0
    for step in range(1, 60):
        log = np.log(1.5) + 0.05 * generator.standard_normal()
        crossed += log > np.log(1.5)
        assert tracker.update(step, cut(adjacent=float(np.exp(log)), noise=0.05)) == []
    assert crossed > 20, "the test shows nothing"
    tracker.update(60, cut(adjacent=2.0, noise=0.05))
    (event,) = tracker.update(61, cut(adjacent=2.0, noise=0.05))
    assert event.kind == "growth"


def test_slow_growth_is_told_although_no_look_differs_from_the_one_before() -> None:
    tracker = GroupTracker()
    told = [
        (step, event.kind)
        for step in range(40)
        for event in tracker.update(step, cut(adjacent=float(np.exp(0.03 * step)), noise=0.05))
    ]
    assert told == [(16, "growth")]  # log 1.5 is passed at look 14, and two looks have to show it beyond the noise


def test_pending_changes_survive_a_checkpoint() -> None:
    looks = [cut(1, 5, adjacent=1.0 + step % 3, noise=0.01) for step in range(3)]
    looks += [cut(1, 6, noise=0.01), cut(1, 6, noise=0.01), cut(1, noise=0.01), cut(1, noise=0.01)]
    straight = GroupTracker()
    expected = [straight.update(step, look) for step, look in enumerate(looks)]
    assert sum(map(len, expected)) > 4
    for stop in range(len(looks)):
        one = GroupTracker()
        found = [one.update(step, look) for step, look in enumerate(looks[:stop])]
        other = GroupTracker()
        other.load_state_dict(json.loads(json.dumps(one.state_dict())))
        found += [other.update(step, look) for step, look in enumerate(looks[stop:], start=stop)]
        assert found == expected


@dataclass(frozen=True)
class Look:
    step: int
    groups: Groups
    group_ids: tuple[int, ...]


def test_a_group_has_converged_at_the_look_from_which_on_it_stands_still() -> None:
    tracker = GroupTracker()
    history = []
    for step, boundaries in zip((0, 10, 20, 30, 40), [(), (1, 4), (1, 5), (1, 5), (2, 5)], strict=True):
        groups = cut(*boundaries)
        tracker.update(step, groups)
        history.append(Look(step, groups, tracker.group_ids))
    assert converged_at(history, 2) == 20
    assert converged_at(history, 0) is None  # moved at the last look
    assert converged_at(history[:4], 0) == 10
    with pytest.raises(ValueError, match="No look has a group 7; there are 0, 1, 2"):
        converged_at(history, 7)
    with pytest.raises(ValueError, match="2 looks or more, and there are 1"):
        converged_at(history[:1], 0)


@pytest.mark.parametrize(("option", "message"), [({"persistence": 0}, "1 look"), ({"certain": 0.4}, "above 0.5")])
def test_options_that_make_no_sense_are_refused(option: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GroupTracker(**option)
