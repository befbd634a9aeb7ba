"""What one could do next is tied to what was found, and names what does it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from example_records import example_groups, example_history_records, example_record
from torch import nn

from lightning_gw.analysis.analysis import NO_NULL
from lightning_gw.groups.groups import Groups
from lightning_gw.records.words.next_step import next_step
from lightning_gw.records.words.support import p_value_phrase
from lightning_gw.significance import evidence
from lightning_gw.significance.nulls import origin


def null_of(samples: int, steps: int = 2) -> Any:
    """Networks with fresh weights, all alike."""
    table = np.ones((samples, steps))
    return SimpleNamespace(samples=samples, adjacent=table, solver=lambda _: SimpleNamespace(matched=table[0]))


def with_groups(groups: Groups, looks: int = 4, **changes: str) -> list:
    history = example_history_records()[:looks]
    return [*history[:-1], replace(history[-1], groups=groups, **changes)]


STRONG = replace(example_groups([0.1, 0.5, 0.1, 0.1], (1,), "strong"), reference=3, p_value=0.01, p_values=(0.01,))
UNTESTED = replace(STRONG, p_value=None, p_values=None)
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(origin, "free_memory", lambda place: 0)
    LARGE = origin.too_large(nn.Linear(2, 2))


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
        (with_groups(UNTESTED, null=NO_NULL), "lightning-gw test CHECKPOINT"),
        (with_groups(UNTESTED, null=evidence.tested({}, null_of(3), ()).null), "lightning-gw test CHECKPOINT"),
        (with_groups(UNTESTED, null="none: Nothing in Net can be re-initialised: no part has …"), "untrained=..."),
        (with_groups(UNTESTED, null=f"none: {LARGE}"), "lightning-gw compare CONFIG"),
        (with_groups(replace(UNTESTED, reference=0), reference=f"none: {LARGE}"), "lightning-gw compare CONFIG"),
        (with_groups(replace(UNTESTED, adjacent=np.array([0.1, 0.5]))), "lightning-gw compare CONFIG"),
        (with_groups(replace(UNTESTED, adjacent=np.array([]), strength="none"), looks=1), "GWSimilarity(layers=[...])"),
        (with_groups(replace(UNTESTED, adjacent=np.full(4, np.nan), strength="none")), "GWSimilarity(layers=[...])"),
    ],
)
def test_what_comes_next_follows_from_the_finding(history: list, said: str) -> None:
    assert said in next_step(history)
    assert bool(next_step(history)) == bool(history)


def test_why_there_is_no_p_value_is_said_once() -> None:
    reason = evidence.tested({}, null_of(19), ()).null
    assert "No p-value" in reason
    said = p_value_phrase(replace(example_record(), null=reason))
    assert said == "no p-value, since it takes three usable distances between neighbouring layers, so 4 layers"
