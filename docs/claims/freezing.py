"""This project's own claim: groups that stopped changing can be frozen, which saves time and costs no accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from claims.paired import Block, Paired, holm, means, paired, tally
from claims.verdicts import LEVEL, OURS, POOLED, Verdict, with_interval
from lightning_gw.statistics.results import Estimate

SETTLED, RANDOM, NOTHING = "settled groups", "random layers", "nothing"
#: Accuracy that may be lost without being a loss.
MARGIN = 0.01


def settled_groups_can_be_frozen(rows: Sequence[Mapping[str, Any]]) -> Verdict:
    """`FreezeSettledGroups` beside random layers frozen by the same rule, and no freezing.

    Three paired tests (sign flips), corrected together (Holm): time of training steps saved against no freezing,
    accuracy against no freezing, accuracy against random layers. Found where time is saved, the interval of the loss of
    accuracy against no freezing ends below .01, and random layers cost more accuracy; with a condition where time is
    saved and accuracy kept, but random layers do as well; not found where no time is saved, or accuracy may be lost;
    not judged where so few pairs could not reach the level.
    """
    claim = "Groups that stopped changing can be frozen: time is saved, and no accuracy lost."
    found = {
        (row["network"], row["seed"], row["case"].split("/")[1]): row
        for row in rows
        if row["case"].startswith("freezing/")
    }
    tests = {
        "time": compare(found, NOTHING, _saved),
        "accuracy": compare(found, NOTHING, _ahead),
        "accuracy against random layers": compare(found, RANDOM, _ahead),
    }
    corrected = holm({name: test.p for name, test in tests.items()})
    looking = paired(
        {
            (network, seed): row["looking"] / found[network, seed, NOTHING]["seconds"]
            for (network, seed, what), row in found.items()
            if what == SETTLED and (network, seed, NOTHING) in found
        }
    )
    saved, kept, beside = tests.values()
    froze = [bool(row["frozen"]) for (_, _, what), row in found.items() if what == SETTLED]
    random_saved = compare(found, NOTHING, _saved, RANDOM)
    return Verdict(
        claim,
        _found(tests, corrected),
        (
            f"Something was frozen in {sum(froze)} of {len(froze)} networks and seeds.",
            f"Of the processor time of training steps {with_interval(saved.effect, '.1%')} was saved (corrected p = "
            f"{corrected['time']:.2g}); random layers, frozen by the same rule, saved "
            f"{with_interval(random_saved.effect, '.1%')}. Looks took {with_interval(looking.effect, '.1%')} of it on "
            "top.",
            f"Accuracy against no freezing: {with_interval(kept.effect, '+.4f')}; {tally(kept)}; corrected p = "
            f"{corrected['accuracy']:.2g}.",
            f"Accuracy against random layers: {with_interval(beside.effect, '+.4f')}; {tally(beside)}; corrected p = "
            f"{corrected['accuracy against random layers']:.2g}.",
        ),
        _table(found),
        OURS,
        f"{with_interval(saved.effect, '.0%')} of the time of steps saved, "
        f"{with_interval(kept.effect, '+.3f')} of accuracy",
        f"no freezing; against random layers {with_interval(beside.effect, '+.3f')} of accuracy",
        "freezing",
        {
            title: _lines(found, difference)
            for title, difference in (("time of steps saved", _saved), ("accuracy", _ahead))
        },
        "share of the time, or accuracy, beyond no freezing",
    )


def _lines(found: Mapping[tuple[str, int, str], Any], difference: Any) -> list[tuple[str, str, Estimate]]:
    """What freezing either gave beyond no freezing, by network."""
    networks = dict.fromkeys(key[0] for key in found)
    lines = []
    for one in (SETTLED, RANDOM):
        for name in (POOLED, *networks):
            own = {key: row for key, row in found.items() if name in (POOLED, key[0])}
            lines.append((one, name, compare(own, NOTHING, difference, one).effect))
    return lines


def _found(tests: Mapping[str, Paired], corrected: Mapping[Any, float]) -> str:
    saved, kept, beside = tests.values()
    least = min(test.least for test in tests.values()) if all(test.blocks for test in tests.values()) else np.nan
    if not least * len(tests) < LEVEL:
        return "not judged: too few networks and seeds for any difference to be told from chance"
    if not (corrected["time"] < LEVEL and saved.effect.value > 0):
        return "not found: no time was saved for sure"
    if not kept.effect.low > -MARGIN:
        return f"not found: time was saved, but more than {MARGIN} of accuracy may be lost"
    if corrected["accuracy against random layers"] < LEVEL and beside.effect.value > 0:
        return "found"
    return "found, with a condition: random layers could be frozen as well"


def compare(found: Mapping[tuple[str, int, str], Any], other: str, difference: Any, one: str = SETTLED) -> Paired:
    """A difference between what freezing one thing and another gave."""
    differences: dict[Block, float] = {}
    for (network, seed, what), row in found.items():
        if what == one and (network, seed, other) in found:
            differences[network, seed] = difference(row, found[network, seed, other])
    return paired(differences)


def _saved(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    return float(1 - one["seconds"] / other["seconds"])


def _ahead(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    return float(one["accuracy"] - other["accuracy"])


def _table(found: Mapping[tuple[str, int, str], Any]) -> tuple[tuple[str, ...], ...]:
    rows = [("network", *(f"{what}: accuracy, seconds of steps, layers frozen" for what in (SETTLED, RANDOM, NOTHING)))]
    for network in dict.fromkeys(key[0] for key in found):
        cells = []
        for what in (SETTLED, RANDOM, NOTHING):
            own = [row for (name, _, w), row in found.items() if (name, w) == (network, what)]
            accuracy, seconds = means([row["accuracy"] for row in own]), means([row["seconds"] for row in own])
            cells.append(f"{accuracy}, {seconds}, {np.mean([len(row['frozen']) for row in own] or [0]):.1f}")
        rows.append((network, *cells))
    return tuple(rows)
