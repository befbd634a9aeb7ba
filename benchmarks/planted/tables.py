"""The referee's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.planted.detectors import CEILING, SHIPPED
from benchmarks.planted.grid import specification as spec
from benchmarks.planted.grid.shape_grid import AT, OFF, SHAPES

WIDTH = 150
#: Architectures whose columns stand beside each other.
SIDE_BY_SIDE = (
    ("mlp", "transformer", "convnet"),
    *(tuple(name for name in SHAPES if name.endswith(place)) for place in (OFF, AT)),
    ("vit", "llama"),
)
#: Nulls that must never be called strong, and those that must not even be called weak.
NEVER_STRONG = (spec.UNTRAINED, spec.DRIFT, spec.RANDOM)
NEVER_WEAK = (spec.UNTRAINED, spec.DRIFT)


def _table(title: str, headers: Sequence[str], left: int) -> Table:
    table = Table(title=title, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0), box=SIMPLE_HEAD)
    for k, header in enumerate(headers):
        table.add_column(header, justify="left" if k < left else "right", no_wrap=True)
    return table


def show(results: Mapping[str, Any], console: Console, detectors: Sequence[str] | None = None) -> None:
    """Print everything a result holds.

    Args:
        results: As written by `benchmarks/planted_groups.py`.
        console: Where.
        detectors: Whose rows are shown; the shipped one and the ceiling when left out.
    """
    shown = tuple(detectors or (SHIPPED, CEILING))
    summary = results["summary"]
    for strategy in spec.PLANTED_STRATEGIES:
        mine = [row for row in summary if row["strategy"] == strategy and row["detector"] in shown]
        for beside in SIDE_BY_SIDE:
            together = [row for row in mine if row["architecture"] in beside]
            if together:
                console.print(planted_table(strategy, together))
    nulls = [row for row in summary if row["strategy"] in spec.NULL_STRATEGIES and row["detector"] in shown]
    if nulls:
        console.print(null_table(nulls))
    if results.get("shifts"):
        console.print(shift_table([row for row in results["shifts"] if row["detector"] in shown]))
    if results.get("against_cka"):
        console.print(cka_table(results["against_cka"]))
    if results.get("unpaired"):
        mine = [row for row in results["unpaired"] if row["detector"] in shown]
        for beside in SIDE_BY_SIDE:
            together = [row for row in mine if row["architecture"] in beside]
            if together:
                console.print(planted_table("disjoint halves of the probe, head on every layer", together))
    console.print(
        f"{results['split']} networks: {results['nets']} of {results['nets_in_grid']}, "
        f"{len(results['not_learned'])} left out that did not learn what was planted; effort {results['effort']}; "
        f"set-aside networks looked at {results['final_looks']} times. ARI: adjusted Rand index, number of groups "
        f"unknown (known for {CEILING!r}), with a 95 % bootstrap interval over networks. F1: boundaries, exact and "
        "within one layer. K: share of networks with the right number of groups. s: processor seconds per network.",
        style="dim",
        highlight=False,
    )


def planted_table(strategy: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """One strategy: a row per measure and detector, a block of columns per architecture."""
    present = list(dict.fromkeys(row["architecture"] for row in rows))
    counts = {name: next(row["nets"] for row in rows if row["architecture"] == name) for name in present}
    title = f"{strategy} ({', '.join(f'{counts[name]} {name}' for name in present)})"
    headers = ["measure", "detector", *(f"{name}: ARI, F1, ±1, K" for name in present), "s"]
    table = _table(title, headers, left=2)
    keys = list(dict.fromkeys((row["measure"], row["detector"]) for row in rows))
    for measure, detector in keys:
        by_architecture = {
            row["architecture"]: row for row in rows if (row["measure"], row["detector"]) == (measure, detector)
        }
        cells = [_scores(by_architecture.get(name)) for name in present]
        seconds = sum(row["seconds"] * row["nets"] for row in by_architecture.values())
        nets = sum(row["nets"] for row in by_architecture.values())
        table.add_row(measure, detector, *cells, f"{seconds / nets:.2f}")
    return table


def _scores(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    low, high = row["ari_interval"]
    f1, near, count = (f"{row[key]:.2f}" for key in ("f1", "f1_within_1", "count_found"))
    return f"{row['ari']:.2f} [{low:.2f} {high:.2f}] {f1} {near} {count}"


def null_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Nulls: how many networks are called strong / at least weak, of how many."""
    present = [name for name in spec.NULL_STRATEGIES if any(row["strategy"] == name for row in rows)]
    table = _table("nulls: called strong / at least weak, of all", ["measure", "detector", *present], left=2)
    for measure, detector in dict.fromkeys((row["measure"], row["detector"]) for row in rows):
        if detector == CEILING:
            continue
        cells = []
        for strategy in present:
            mine = [
                row
                for row in rows
                if (row["measure"], row["detector"], row["strategy"]) == (measure, detector, strategy)
            ]
            nets = sum(row["nets"] for row in mine)
            strong, weak = (
                round(sum(row[key] * row["nets"] for row in mine)) for key in ("called_strong", "called_at_least_weak")
            )
            cells.append(f"{strong} / {weak} of {nets}")
        table.add_row(measure, detector, *cells)
    return table


def shift_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Planted shifts."""
    headers = [
        "measure",
        "detector",
        "followed in time and quiet before",
        "settled",
        "spurious changes",
        "delays (steps)",
    ]
    table = _table("planted shift", headers, left=2)
    for row in rows:
        delays = " ".join("never" if delay is None else str(delay) for delay in row["delays"])
        of = f" of {row['nets']}"
        table.add_row(
            row["measure"],
            row["detector"],
            f"{row['followed']}{of}",
            f"{row['settled']}{of}",
            str(row["spurious"]),
            delays,
        )
    return table


def cka_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Differences to linear CKA."""
    title = f"adjusted Rand index minus that of linear CKA on the same networks, {SHIPPED}, head on every layer"
    table = _table(title, ["measure", "networks", "difference", "95 % interval"], left=1)
    for row in rows:
        low, high = row["interval"]
        table.add_row(row["measure"], str(row["nets"]), f"{row['difference']:+.3f}", f"{low:+.3f} {high:+.3f}")
    return table
