"""What one could do next is tied to what was found, and names what does it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from example_records import example_groups, example_history_records

from lightning_gw.groups.groups import Groups
from lightning_gw.records.next_step import next_step


def with_groups(groups: Groups, looks: int = 4) -> list:
    history = example_history_records()[:looks]
    return [*history[:-1], replace(history[-1], groups=groups)]


STRONG = replace(example_groups([0.1, 0.5, 0.1, 0.1], (1,), "strong"), reference=3, p_value=0.01, p_values=(0.01,))


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([], ""),
        (with_groups(replace(STRONG, strength="none", boundaries=()), looks=2), "when='log', looks=10"),
        (with_groups(replace(STRONG, strength="none", boundaries=())), "lightning-gw probe-report"),
        (with_groups(replace(STRONG, reference=0)), "null_samples=19"),
        (with_groups(replace(STRONG, p_value=None, p_values=None)), "null_samples=99"),
        (with_groups(replace(STRONG, strength="weak")), "lightning-gw probe-report"),
        (with_groups(replace(STRONG, stability=(0.5,))), "lightning-gw probe-report"),
        (with_groups(STRONG), "lightning-gw compare CONFIG"),
    ],
)
def test_what_comes_next_follows_from_the_finding(history: list, said: str) -> None:
    assert said in next_step(history)
    assert bool(next_step(history)) == bool(history)
