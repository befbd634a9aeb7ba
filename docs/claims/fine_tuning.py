"""The later version's claim that groups serve fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from claims.paired import Block, Paired, holm, means, paired, tally
from claims.verdicts import LATER, LEVEL, POOLED, Verdict, with_interval

#: A group, and the random block that it is held against.
PAIRS = {"in full": ("group", "random block"), "by LoRA": ("LoRA on the group", "LoRA on a random block")}
#: After as many steps, or after as much processor time as the quicker of the two took in all.
AT = ("equal steps", "equal time")
Rows = dict[tuple[str, int, str], Mapping[str, Any]]


def groups_serve_fine_tuning(rows: Sequence[Mapping[str, Any]]) -> Verdict:
    """The last group trained alone, beside a random block of about as many parameters.

    In full and by LoRA, at equal steps and at equal time, accuracies of network and seed are compared in four paired
    tests (sign flips), corrected together (Holm). Found where the group trained in full is ahead at equal steps and at
    equal time; with a condition where it is ahead in some of the four; not found where it is in none; not judged where
    so few pairs could not reach the level.
    """
    claim = "Groups serve fine-tuning: it is enough to train one of them."
    found = by_arm(rows)
    tests = {(way, at): compare(found, way, at) for way in PAIRS for at in AT}
    corrected = holm({key: test.p for key, test in tests.items()})
    wins = [key for key, test in tests.items() if corrected[key] < LEVEL and test.effect.value > 0]
    losses = [key for key, test in tests.items() if corrected[key] < LEVEL and test.effect.value < 0]
    whole = paired(
        {
            (network, seed): row["accuracy"] - found[network, seed, "everything"]["accuracy"]
            for (network, seed, arm), row in found.items()
            if arm == "group" and (network, seed, "everything") in found
        }
    )
    return Verdict(
        claim,
        _found(tests, wins, losses),
        (
            *(
                f"The group {way} against a random block, at {at}: {with_interval(test.effect, '+.4f')} of accuracy; "
                f"{tally(test)}; corrected p = {corrected[way, at]:.2g}."
                for (way, at), test in tests.items()
            ),
            f"Against training everything, at equal steps: {with_interval(whole.effect, '+.4f')} of accuracy "
            f"({tally(whole)}).",
            "The group is the last one, and the block may stand anywhere: that later layers serve better than earlier "
            "ones would be credited to the group.",
            *_forced(rows),
        ),
        _table(found),
        LATER,
        f"{with_interval(tests['in full', AT[0]].effect, '+.3f')} of accuracy in full at equal steps, "
        f"{with_interval(tests['by LoRA', AT[0]].effect, '+.3f')} by LoRA",
        "a random block of about as many parameters",
        "fine-tuning",
        {
            f"at {at}": [
                (way, network, compare(found, way, at, None if network == POOLED else [network]).effect)
                for way in PAIRS
                for network in (POOLED, *dict.fromkeys(key[0] for key in found))
            ]
            for at in AT
        },
        "accuracy ahead of a random block",
    )


def _found(
    tests: Mapping[tuple[str, str], Paired], wins: Sequence[tuple[str, str]], losses: Sequence[tuple[str, str]]
) -> str:
    least = min(test.least for test in tests.values()) if all(test.blocks for test in tests.values()) else np.nan
    if not least * len(tests) < LEVEL:
        return "not judged: too few networks and seeds for any difference to be told from chance"
    if all(("in full", at) in wins for at in AT) and not losses:
        return "found"
    if wins:
        behind = f"; behind a random block {'; '.join(f'{way}, at {at}' for way, at in losses)}" if losses else ""
        return f"found, with a condition: {'; '.join(f'{way}, at {at}' for way, at in wins)}{behind}"
    return "not found: a random block was better to train" if losses else "not found"


def by_arm(rows: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows of fine-tuning by network, seed and what was trained."""
    kept = [(row["case"].split("/"), row) for row in rows]
    return {(row["network"], row["seed"], case[1]): row for case, row in kept if case[0] == "fine-tuning"}


def compare(found: Rows, way: str, at: str, networks: Sequence[str] | None = None) -> Paired:
    """How far the group is ahead of the random block."""
    one, other = PAIRS[way]
    differences: dict[Block, float] = {}
    for (network, seed, arm), row in found.items():
        control = found.get((network, seed, other))
        if arm == one and control is not None and (networks is None or network in networks):
            pair = (row["accuracy"], control["accuracy"]) if at == "equal steps" else at_equal_time(row, control)
            differences[network, seed] = pair[0] - pair[1]
    return paired(differences)


def at_equal_time(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float]:
    """Accuracies of two trainings at the end of the quicker one, between measurements in a straight line."""
    curves = [[(point["seconds"], point["accuracy"]) for point in row["curve"]] for row in (one, other)]
    end = min(curve[-1][0] for curve in curves)
    first, second = (float(np.interp(end, *np.transpose(curve))) for curve in curves)
    return first, second


def _forced(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    tuned = {(row["network"], row["seed"]) for row in rows if row["case"].startswith("fine-tuning")}
    flags = [row["first_forced"] for row in rows if row["case"] == "look" and (row["network"], row["seed"]) in tuned]
    return [f"In {sum(flags)} of {len(flags)} networks and seeds no groups stood out, and the best cut was taken."]


def _table(found: Rows) -> tuple[tuple[str, ...], ...]:
    arms = [arm for pair in PAIRS.values() for arm in pair] + ["everything"]
    rows = [("network", *(f"{arm}: accuracy, seconds" for arm in arms))]
    for network in dict.fromkeys(key[0] for key in found):
        of = {arm: [row for (name, _, a), row in found.items() if (name, a) == (network, arm)] for arm in arms}
        cells = [
            f"{means([row['accuracy'] for row in own])}, {means([row['seconds'] for row in own])}"
            for own in of.values()
        ]
        rows.append((network, *cells))
    return tuple(rows)
