"""The answer of several runs in words: in how many groups stand, where each strategy's ended up, what grew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_gw.groups.groups import Groups
from lightning_gw.records.record import Record
from lightning_gw.records.words.description import NOTABLE_GROWTH
from lightning_gw.utilities.text import listed, number_word, numbered, plural, short_names

#: Endings of a strategy's runs worth naming one by one.
_ENDINGS_SHOWN = 2


def headline(histories: Sequence[Sequence[Record]]) -> str:
    """The answer of several runs in one sentence: in how many groups stand at the end, and how strongly."""
    ends = [history[-1].groups.strength for history in histories if history]
    if not ends:
        return "Nothing was recorded yet: no run holds a look."
    counted = {strength: ends.count(strength) for strength in ("strong", "weak", "none")}
    words = {"strong": "strong groups stand in {}", "weak": "weak ones, which may be drift, in {}"}
    if not counted["strong"]:
        words["weak"] = "weak groups, which may be drift, stand in {}"
    found = [words[kind].format(number_word(counted[kind])) for kind in words if counted[kind]]
    drifting = number_word(counted["none"])
    if not found:
        which = (
            "the one run shows no groups" if len(ends) == 1 else f"none of {number_word(len(ends))} runs shows groups"
        )
        return f"At the end of training {which}: the layers drift smoothly."
    found[0] += f" of {plural(len(ends), 'run')}"
    if counted["none"]:
        found.append(f"in {drifting} the layers drift smoothly")
    return f"At the end of training {'; '.join(found)}."


def describe_comparison(histories: Mapping[str, Sequence[Sequence[Record]]]) -> list[str]:
    """Where the groups of each strategy ended up, one sentence per strategy.

    Args:
        histories: Strategy name to the histories of its seeds.

    Returns:
        One sentence per strategy, in the given order: over its seeds, which groups the last look found.
    """
    return [f"{strategy}: {_ending(runs)}." for strategy, runs in histories.items()]


def growth_across(histories: Sequence[Sequence[Record]]) -> str:
    """Between which layers the distance grew most since the first look, over the seeds of a strategy."""
    widest: dict[int, list[float]] = {}
    for history in histories:
        growth = np.asarray(history[-1].growth, dtype=float) if len(history) > 1 else np.empty(0)
        if np.isfinite(growth).any() and np.nanmax(growth) >= NOTABLE_GROWTH:
            widest.setdefault(int(np.nanargmax(growth)), []).append(float(np.nanmax(growth)))
    if not widest:
        return ""
    parts = []
    names = short_names(histories[0][-1].layers)
    for gap, factors in sorted(widest.items(), key=lambda item: -len(item[1])):
        share = f" in {len(factors)} of {len(histories)} runs" if len(histories) > 1 else ""
        pair = f"{numbered(gap, names)} and {numbered(gap + 1, names)}"
        parts.append(f"between layers {pair}{share} ({np.mean(factors):.2g}×)")
    return f"The distance grew most {'; '.join(parts)}."


def planted_sentence(groups: Groups, planted: Sequence[int]) -> str:
    """How found boundaries compare with those an experiment built in on purpose.

    Args:
        groups: What was found.
        planted: The built-in boundaries, 0-based: "after layer k".
    """
    where = f"Planted after {'layer' if len(planted) == 1 else 'layers'} {listed([str(k + 1) for k in planted])}"
    hits = [k for k in planted if k in groups.boundaries]
    near, claimed = [], set(hits)
    for k in planted:
        # Each found boundary answers for one planted boundary at most, so that the counts add up.
        beside = [b for b in (k - 1, k + 1) if b in groups.boundaries and b not in claimed]
        if k not in hits and beside:
            near.append(k)
            claimed.add(beside[0])
    extra = [k for k in groups.boundaries if k not in claimed]
    share = "all" if len(hits) == len(planted) else f"{number_word(len(hits)) if hits else 'none'} of {len(planted)}"
    parts = [f"{share} found"]
    if near:
        parts.append(f"{number_word(len(near))} off by one layer")
    if extra:
        beyond = "one beyond them" if len(extra) == 1 else f"{number_word(len(extra))} beyond them"
        parts.append(f"{beyond} (after {listed([str(k + 1) for k in extra])})")
    return f"{where}: {', '.join(parts)}."


def _ending(runs: Sequence[Sequence[Record]]) -> str:
    found: dict[str, int] = {}
    for history in runs:
        summary = history[-1].summary().replace("  ", ", ") if history else "nothing recorded"
        found[summary] = found.get(summary, 0) + 1
    if len(runs) == 1:
        return next(iter(found))
    # Every seed's own ending would bury the answer; the rows of the page show them all.
    common = sorted(found.items(), key=lambda item: -item[1])[:_ENDINGS_SHOWN]
    told = [f"{summary} in {count} of {len(runs)} runs" for summary, count in common]
    if rest := len(found) - len(common):
        told.append(f"{plural(rest, 'other ending')} in the rest")
    return "; ".join(told) or "no runs"
