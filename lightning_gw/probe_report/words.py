"""A probe report in words: first the answer, then a table, then what could not be done."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_gw.measures.agreement import adjusted_rand_index
from lightning_gw.probe_report.findings import ProbeReport, SettingFindings
from lightning_gw.probe_report.settings import FACTORS
from lightning_gw.utilities.text import listed, number_word, plural

#: A setting whose adjusted Rand index with the run's own is below this sees other groups; above it, small differences.
#: A convention of this report and no test.
OTHER_GROUPS = 0.8
#: Draws that have more than this share of inputs in common say little about other inputs.
MUCH_SHARED = 0.5
_FACTOR_NAMES = {
    "size": "Size",
    "pooling": "Pooling",
    "balance": "Class balance",
    "layers": "Leaving out layers",
    "inputs": "Leaving out dominant inputs",
    "distances": "Cosine distances",
}


def answer(report: ProbeReport) -> str:
    """Whether the groups depend on how one looks, in words."""
    return " ".join([_verdict(report), *_strengths(report), *_factors(report), _enough(report), *_missing(report)])


def _verdict(report: ProbeReport) -> str:
    seen = [found for found in report.settings if found.looks]
    looks = sum(len(found.looks) for found in seen)
    told = _told(*report.own.usual(), len(report.own.looks))
    if looks == 1:
        return f"Whether your groups depend on how you look cannot be told from a single look, which finds {told}."
    repeat = report.own.repeat
    lowest = min((found.agreement for found in seen if math.isfinite(found.agreement)), default=math.nan)
    if lowest == 1 and not repeat < 1:
        return (
            f"No, your groups do not depend on how you look: {plural(looks, 'look')} under "
            f"{plural(len(seen), 'setting')} agree. The run's own setting finds {told}."
        )
    small = lowest >= OTHER_GROUPS and not repeat < OTHER_GROUPS
    opening = "A little: your groups depend" if small else "Yes, your groups depend"
    drawn = f"; other inputs alone change them (adjusted Rand index between draws {repeat:.2f})" if repeat < 1 else ""
    return f"{opening} on how you look. The run's own setting finds {told}{drawn}."


def _strengths(report: ProbeReport) -> list[str]:
    """How strong the groups are, where looks differ in it."""
    looks = [look for found in report.settings for look in found.looks]
    counts = {strength: sum(look.strength == strength for look in looks) for strength in ("strong", "weak")}
    if not all(counts.values()):
        return []
    return [f"Groups are strong in {counts['strong']} of {plural(len(looks), 'look')} and weak in {counts['weak']}."]


def _factors(report: ProbeReport) -> list[str]:
    """One sentence for every factor that was varied."""
    own, sentences = report.own.setting, []
    for factor in FACTORS:
        rows = [s for s in report.settings[1:] if factor in s.setting.differs(own) and math.isfinite(s.agreement)]
        if not rows:
            continue
        name, other = _FACTOR_NAMES[factor], [row for row in rows if row.agreement < OTHER_GROUPS]
        lowest = min(row.agreement for row in rows)
        if other:
            told = [f"“{row.label}” finds {_found(row, report.own)} ({row.agreement:.2f})" for row in other]
            sentences.append(f"{name} changes them (adjusted Rand index with the run's): {listed(told)}.")
        elif lowest == 1:
            sentences.append(f"{name} changes nothing.")
        else:
            sentences.append(f"{name} changes little (adjusted Rand index with the run's at least {lowest:.2f}).")
    return sentences


def _enough(report: ProbeReport) -> str:
    sizes = [found for found in report.sizes() if len(found.looks) > 1]
    if len(sizes) < 2:
        return "How many inputs are enough was not asked: it takes two sizes and two draws of each."
    telling = [found for found in sizes if found.shared < 1]
    if not telling:
        return "How many inputs are enough cannot be told: all draws of a size are of the same inputs."
    most, tried = telling[-1].looks[0].inputs, listed([str(found.looks[0].inputs) for found in telling])
    enough = report.enough_inputs()
    if enough is None:
        return f"No size tried ({tried} inputs) is enough: draws differ even at {most}."
    alike = [found for found in telling if found.looks[0].inputs >= enough and found.shared > MUCH_SHARED]
    caution = "".join(
        f" But draws of {found.looks[0].inputs} share {found.shared:.0%} of their inputs, which makes them agree."
        for found in alike[:1]
    )
    if enough == most:
        before = (
            f"the groups still change at {telling[-2].looks[0].inputs}" if telling[1:] else "no other size can tell"
        )
        return f"Draws agree at {most} inputs, but {before}, so whether {most} is enough is not known.{caution}"
    return f"{enough} inputs are enough: from there on, of {tried}, no draw changes the groups.{caution}"


def _missing(report: ProbeReport) -> list[str]:
    missing = [found.label for found in report.settings if found.why]
    return [f"Could not be looked through, for the reasons below: {listed(missing)}."] if missing else []


def _found(row: SettingFindings, own: SettingFindings) -> str:
    """What a setting finds that the run's own does not find on the same draws."""
    if row.usual()[0] != own.usual()[0]:
        return _told(*row.usual(), len(row.looks))
    by_draw = {look.draw: look.labels for look in own.looks}
    differing = sum(adjusted_rand_index(look.labels, by_draw.get(look.draw, look.labels)) < 1 for look in row.looks)
    return f"other groups than the run's in {number_word(differing)} of {plural(len(row.looks), 'draw')}"


def _told(ranges: str, count: int, draws: int) -> str:
    what = "no groups" if ranges == "none" else _list(ranges)
    return f"{what} in {number_word(count)} of {plural(draws, 'draw')}"


def _list(ranges: str) -> str:
    return ranges.replace(" | ", " / ")


def table(report: ProbeReport) -> Table:
    """One row a setting."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("setting", "groups found most", "draws", "strength", "contrast", "stability"):
        shown.add_column(heading, overflow="fold")
    for heading in ("agreement", "repeat", "run's boundaries", "shared", "seconds"):
        shown.add_column(heading, justify="right", overflow="fold")
    boundaries = report.own.looks[0].boundaries
    for found in report.settings:
        if found.why:
            shown.add_row(Text(found.label), Text("– (see below)", style="dim"))
        else:
            shown.add_row(*map(Text, cells(found, boundaries)))
    return shown


def cells(found: SettingFindings, boundaries: Sequence[int]) -> list[str]:
    """What the table says of one setting; `boundaries` are those of the run's own first draw."""
    ranges, count = found.usual()
    strengths = [look.strength for look in found.looks]
    spread = [strength for strength in ("strong", "weak", "none") if strength in strengths]
    return [
        found.label,
        ranges,
        f"{count} of {len(found.looks)}",
        "/".join(spread),
        _range([look.contrast for look in found.looks], ".2f"),
        _range([look.stability for look in found.looks], ".0%"),
        _value(found.agreement, ".2f"),
        _value(found.repeat, ".2f"),
        ", ".join(f"{k + 1}: {found.share(k):.0%}" for k in boundaries) or "none",
        _value(found.shared, ".0%"),
        f"{found.seconds:.1f}",
    ]


def _range(values: Sequence[float], spec: str) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "–"
    low, high = format(min(known), spec), format(max(known), spec)
    return low if low == high else f"{low} to {high}"


def _value(value: float, spec: str) -> str:
    return format(value, spec) if math.isfinite(value) else "–"


#: What the columns of the table mean.
READING = (
    "agreement: adjusted Rand index with the run's setting on the same draw, 1 alike, 0 by chance, mean over draws. "
    "repeat: the same between draws of one setting. run's boundaries: after which layer, and in which share of draws a "
    "boundary stands there. stability: share of probe resamples in which the least stable boundary returns. shared: "
    "inputs that two draws have in common; where it is 100%, draws cannot differ."
)


def say(report: ProbeReport, console: Console) -> None:
    """Print the report: the answer first."""
    console.print(Text(answer(report), style="bold"))
    console.print(table(report))
    console.print(Text(READING, style="dim"))
    for found in report.settings:
        for said in (found.why, *found.notes):
            if said:
                console.print(Text(f"{found.label}: {said}"))
    for note in report.notes:
        console.print(Text(f"Note: {note}"))
