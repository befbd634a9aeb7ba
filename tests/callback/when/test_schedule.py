"""Which steps are looked at."""

from __future__ import annotations

import math

import pytest

from lightning_gw.callback.when.schedule import Schedule, log_spaced_steps


def looked_at(schedule: Schedule, last: int, stride: int = 1) -> list[int]:
    reached = list(range(stride, last + 1, stride))
    return [step for before, step in zip([0, *reached], reached, strict=False) if schedule.due(step, before)]


def test_log_spaced_steps_double_and_end_at_the_last() -> None:
    assert log_spaced_steps(640, 7) == (10, 20, 40, 80, 160, 320, 640)
    finer = log_spaced_steps(640, 13)
    assert len(finer) == 13
    assert set(log_spaced_steps(640, 7)) < set(finer)
    assert log_spaced_steps(3, 7) == (1, 2, 3)
    assert log_spaced_steps(0, 7) == ()


def test_log_schedule_with_known_and_unknown_length() -> None:
    known, unknown = Schedule("log", looks=5), Schedule("log", looks=5)
    known.plan(lambda: 256)
    unknown.plan(lambda: math.inf)
    assert looked_at(known, 256) == list(log_spaced_steps(256, 5))
    assert looked_at(unknown, 20) == [1, 2, 4, 8, 16]


def test_listed_steps_that_are_jumped_over_are_not_lost() -> None:
    schedule = Schedule([3, 4, 10])
    assert looked_at(schedule, 12) == [3, 4, 10]
    assert looked_at(schedule, 12, stride=2) == [4, 10]


def test_every_n_steps_alone_and_beside_others() -> None:
    assert looked_at(Schedule("every_n_steps", every_n_steps=4), 12) == [4, 8, 12]
    assert looked_at(Schedule([5], every_n_steps=4), 9) == [4, 5, 8]
    assert Schedule("checkpoint", every_n_steps=4).at_checkpoints
    assert looked_at(Schedule("checkpoint"), 9) == []


def test_a_step_is_due_once() -> None:
    schedule = Schedule("every_n_steps", every_n_steps=4)
    assert schedule.due(4, 3)
    assert not schedule.due(4, 4)  # gradient accumulation comes by again at the same step


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"when": "checkpoints"}, "checkpoint"),
        ({"when": "every_n_steps"}, "needs every_n_steps"),
        ({"when": [1, 2.5]}, "whole numbers"),
        ({"when": "log", "looks": 0}, "looks=0"),
        ({"when": "log", "every_n_steps": 0}, "at least 1"),
    ],
)
def test_nonsense_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(**arguments)


@pytest.mark.parametrize(
    ("arguments", "total", "looks"),
    [
        ({"when": "log", "looks": 4}, 16, 4),
        ({"when": [3, 9, 40]}, 10, 3),  # 3, 9 and the last step
        ({"when": "every_n_steps", "every_n_steps": 4}, 12, 3),  # the last step is one of them
        ({"when": "log"}, 0, 0),
        ({"when": "checkpoint"}, 16, None),
        ({"when": "log"}, float("inf"), None),
    ],
)
def test_looks_are_counted_beforehand(arguments, total, looks):
    schedule = Schedule(**arguments)
    schedule.plan(lambda: total)
    assert schedule.count(total) == looks


def test_looks_ahead_are_those_of_the_whole_training_that_are_not_due_yet() -> None:
    for schedule, total in (
        (Schedule("log"), 640),
        (Schedule([3, 9, 12, 40], every_n_steps=4), 30),
        (Schedule("every_n_steps", every_n_steps=7), 21),
    ):
        schedule.plan(lambda total=total: total)
        due = {step for step in range(1, total) if schedule.due(step, step - 1)} | {total}
        for step in range(total + 2):
            assert schedule.ahead(step, total) == sum(other > step for other in due)
    assert Schedule("checkpoint", every_n_steps=4).ahead(3, 10) is None
