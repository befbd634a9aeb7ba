"""The later version's claim that groups serve the compression of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from claims.paired import Block, Paired, holm, means, paired, tally
from claims.verdicts import LATER, LEVEL, POOLED, Verdict, with_interval
from lightning_gw.utilities.text import listed

#: What interiors of groups are held against.
OTHERS = {
    "random": "random layers",
    "boundaries": "layers at boundaries",
    "cka": "layers of least CKA change",
    "cosine": "layers of least cosine change",
}
#: The rules beside the control, in the first table.
SHORT = {"cka": "CKA", "cosine": "cosine", "boundaries": "boundaries"}
#: When the accuracy was measured.
TIMES = {"removed": "before healing", "healed": "after healing"}
#: Accuracy lost for each layer removed: network, seed, rule, when, number of layers.
Lost = dict[tuple[str, int, str, str, int], float]


def groups_serve_compression(rows: Sequence[Mapping[str, Any]]) -> Verdict:
    """Layers of the interiors of groups removed, beside as many chosen by other rules.

    Of every network and seed, the accuracy lost for each layer removed is averaged over the numbers of layers, and over
    random choices. Four rules at two times give eight paired tests (sign flips), corrected together (Holm). Found where
    interiors lose less than random layers at both times, and not significantly more than any rule; with a condition
    where they beat random layers at one time, or another rule beats them; not found where they beat random layers at
    neither; not judged where so few pairs could not reach the level.
    """
    claim = "Groups serve compression: layers inside them can be removed."
    lost = accuracy_lost(rows)
    tests = {(other, time): compare(lost, other, time) for other in OTHERS for time in TIMES}
    corrected = holm({key: test.p for key, test in tests.items()})
    wins = [key for key, test in tests.items() if corrected[key] < LEVEL and test.effect.value > 0]
    losses = [key for key, test in tests.items() if corrected[key] < LEVEL and test.effect.value < 0]
    forced = [row["forced"] for row in rows if row["case"] == "look"]
    return Verdict(
        claim,
        _found(tests, wins, losses),
        (
            *(
                f"Against {OTHERS[other]}, {TIMES[time]}: {with_interval(test.effect, '+.4f')} of accuracy kept for "
                f"each layer removed; {tally(test)}; corrected p = {corrected[other, time]:.2g}."
                for (other, time), test in tests.items()
            ),
            "Where groups lose: "
            + (f"to {listed([_said(*key) for key in losses])}." if losses else "nowhere for sure."),
            f"In {sum(forced)} of {len(forced)} networks and seeds no groups stood out, and the best cut was taken.",
        ),
        _table(lost),
        LATER,
        f"{with_interval(tests['random', 'removed'].effect, '+.3f')} of accuracy kept for each layer removed, before "
        f"healing; {with_interval(tests['random', 'healed'].effect, '+.3f')} after",
        "as many random layers; beyond others, before healing: "
        + ", ".join(f"{SHORT[other]} {with_interval(tests[other, 'removed'].effect, '+.3f')}" for other in SHORT),
        "removal",
        {
            time_said: [
                (OTHERS[other], network, compare(lost, other, time, None if network == POOLED else [network]).effect)
                for other in OTHERS
                for network in (POOLED, *dict.fromkeys(key[0] for key in lost))
            ]
            for time, time_said in TIMES.items()
        },
        "accuracy that interiors keep beyond them, for each layer removed",
    )


def _found(
    tests: Mapping[tuple[str, str], Paired], wins: Sequence[tuple[str, str]], losses: Sequence[tuple[str, str]]
) -> str:
    against_random = [time for other, time in wins if other == "random"]
    least = min(test.least for test in tests.values()) if all(test.blocks for test in tests.values()) else np.nan
    if not least * len(tests) < LEVEL:
        return "not judged: too few networks and seeds for any difference to be told from chance"
    beaten = [other for other, _ in losses if other != "random"]
    if not against_random:
        worse = any(other == "random" for other, _ in losses)
        return "not found: random layers were better to remove" if worse else "not found"
    conditions = []
    if len(against_random) < len(TIMES):
        conditions.append(f"better than random layers {TIMES[against_random[0]]} only")
    if beaten:
        conditions.append(f"{listed([OTHERS[other] for other in dict.fromkeys(beaten)])} were better to remove")
    return f"found, with a condition: {'; '.join(conditions)}" if conditions else "found"


def accuracy_lost(rows: Sequence[Mapping[str, Any]]) -> Lost:
    """Accuracy lost for each layer removed; of random choices the mean."""
    found: dict[tuple[str, int, str, str, int], list[float]] = {}
    for row in rows:
        kind, *rest = row["case"].split("/")
        if kind != "removal" or "skipped" in row:
            continue
        rule, count = rest[0], int(rest[1])
        for time in TIMES:
            lost = (row["accuracy"]["whole"] - row["accuracy"][time]) / count
            found.setdefault((row["network"], row["seed"], rule, time, count), []).append(lost)
    return {key: float(np.mean(values)) for key, values in found.items()}


def compare(lost: Lost, other: str, time: str, networks: Sequence[str] | None = None) -> Paired:
    """What another rule loses more than interiors do, over the numbers of layers that both could remove."""
    differences: dict[Block, list[float]] = {}
    for (network, seed, rule, when, count), value in lost.items():
        theirs = lost.get((network, seed, other, when, count))
        wanted = rule == "interiors" and when == time and (networks is None or network in networks)
        if wanted and theirs is not None:
            differences.setdefault((network, seed), []).append(theirs - value)
    return paired({block: float(np.mean(values)) for block, values in differences.items()})


def _said(other: str, time: str) -> str:
    return f"{OTHERS[other]} {TIMES[time]}"


def _table(lost: Lost) -> tuple[tuple[str, ...], ...]:
    rules = ("interiors", *OTHERS)
    rows = [("network", "layers removed", *(f"{rule}, before / after healing" for rule in rules))]
    for network, count in dict.fromkeys((key[0], key[4]) for key in lost):
        cells = []
        for rule in rules:
            of = {
                time: [v for (n, _, r, t, c), v in lost.items() if (n, r, t, c) == (network, rule, time, count)]
                for time in TIMES
            }
            cells.append(f"{means(of['removed'])} / {means(of['healed'])}")
        rows.append((network, str(count), *cells))
    return tuple(rows)
