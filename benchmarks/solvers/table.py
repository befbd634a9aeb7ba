"""Tables of the benchmark, and what they say about growth and targets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.solvers.peers import POT_DEFAULT, POT_IDENTITY

REFERENCES = ("identity", POT_DEFAULT, POT_IDENTITY)
#: What ours is held to: (what, limit). Times are ratios to POT's default on the same inputs.
QUALITY_TARGETS = {
    ("ours fast", "mean_ratio_standardized"): 1.03,
    ("ours default", "mean_ratio_standardized"): 1.010,
    ("ours default", "worst_ratio_standardized"): 1.04,
}
TIME_TARGETS = {
    "ours fast": {128: 1.5, 256: 1.0, 512: 0.25},
    "ours default": {128: 3.0, 256: 2.0, 512: 0.75},
}
GROWTH_TARGET = 2.6


#: Columns a set's table needs.
WIDTH = 144


def wide_console() -> Console:
    """The terminal; where the output goes to a file, as wide as the tables are."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def show(results: dict[str, Any], console: Console) -> None:
    """Print everything a result file holds."""
    for name, found in results["sets"].items():
        console.print(set_table(name, found))
        for solver, reason in found["skipped"].items():
            console.print(f"  {solver} skipped: {reason}", style="dim", highlight=False)
    if results["warm"]:
        console.print(warm_table(results["warm"]))
    growth = growths(results["sets"])
    if growth:
        console.print(growth_table(growth))
    console.print(target_table(results["sets"]))
    console.print(
        "÷ POT: time ratio to POT's product start, median over repeats, by the clock and in processor time. "
        "Ratios: value over the reference, mean / worst pair, as POT's objective (euclidean) and as read by default "
        "(standardized). Worse than: pairs above the value of the identity / POT product start / POT identity start, "
        "of those both solved. MiB: peak beyond the inputs. Matrix seconds of sampled solvers (~) are extrapolated.",
        style="dim",
        highlight=False,
    )


def set_table(name: str, found: dict[str, Any]) -> Table:
    """One set: a row per solver."""
    title = f"{name}: {found['pairs']} pairs, ratios to {found['reference']}"
    table = Table(title=title, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0), box=SIMPLE_HEAD)
    table.add_column("solver", no_wrap=True)
    for header in ("pairs", "matrix s", "ms/pair", "CPU ms", "÷ POT", "CPU ÷ POT", "euclidean", "standardized"):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("best÷bound", "worse than", "MiB"):
        table.add_column(header, justify="right", no_wrap=True)
    for solver, entry in found["solvers"].items():
        table.add_row(solver, *_cells(entry, found["pairs"]))
    return table


def _cells(entry: dict[str, Any], pairs: int) -> list[str]:
    timed = "seconds_per_pair" in entry
    sampled = "~" if timed and entry["pairs_timed"] < pairs else ""
    worse = [
        f"{entry[f'worse_than {reference}'][0]}" if f"worse_than {reference}" in entry else "–"
        for reference in REFERENCES
    ]
    return [
        str(entry["pairs_timed"]) if timed else "",
        sampled + _short(entry["matrix_seconds"]) if timed else "",
        _short(1000 * np.median(entry["seconds_per_pair"])) if timed else "",
        _short(1000 * np.median(entry["cpu_seconds_per_pair"])) if timed else "",
        _short(entry["wall_ratio_to_pot"]) if "wall_ratio_to_pot" in entry else "",
        _short(entry["cpu_ratio_to_pot"]) if "cpu_ratio_to_pot" in entry else "",
        _ratios(entry, "euclidean"),
        _ratios(entry, "standardized"),
        f"{entry['best_over_bound']:.2f}" if "best_over_bound" in entry else "",
        "/".join(worse),
        f"{entry['peak_mib']:.0f}" if entry.get("peak_mib") is not None else "",
    ]


def _short(value: float) -> str:
    """Three digits, never an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _ratios(entry: dict[str, Any], geometry: str) -> str:
    mean, worst = entry[f"mean_ratio_{geometry}"], entry[f"worst_ratio_{geometry}"]
    return "–" if mean is None else f"{mean:.4f} / {worst:.3f}"


def warm_table(warm: dict[str, Any]) -> Table:
    """Warm against cold looks."""
    table = Table(
        title="Warm starts along a training run, default effort", title_justify="left", pad_edge=False, box=SIMPLE_HEAD
    )
    for header in ("n", "bounds", "cold s", "warm s", "warm÷cold", "objective warm÷cold, mean / worst"):
        table.add_column(header, justify="right")
    for inputs, by_bounds in warm.items():
        for bounds, found in by_bounds.items():
            table.add_row(
                inputs,
                bounds,
                f"{found['cold_seconds']:.3f}",
                f"{found['warm_seconds']:.3f}",
                f"{found['ratio']:.3f}",
                f"{found['mean_objective_ratio']:.4f} / {found['worst_objective_ratio']:.3f}",
            )
    return table


def growths(sets: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Exponents of the matrix time, by solver: in n at fixed pairs, and in pairs at fixed n.

    Returns:
        Solver to ``{"n": one exponent per network and L, "pairs": one per network and n}``, each a least-squares slope
        in logarithms; solvers and directions with fewer than two sizes are left out.
    """
    curves: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for name, found in sets.items():
        network, layers, inputs = name.split("/")
        for solver, entry in found["solvers"].items():
            if "matrix_seconds" in entry:
                curves[solver, "n", f"{network}/{layers}"].append((found["inputs"], entry["matrix_seconds"]))
                if found["pairs"] > 1:
                    curves[solver, "pairs", f"{network}/{inputs}"].append((found["pairs"], entry["matrix_seconds"]))
    growth: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"n": [], "pairs": []})
    for (solver, direction, _), points in curves.items():
        if len({size for size, _ in points}) > 1:
            sizes, seconds = np.log(np.array(points)).T
            growth[solver][direction].append(float(np.polyfit(sizes, seconds, 1)[0]))
    return dict(growth)


def growth_table(growth: dict[str, dict[str, list[float]]]) -> Table:
    """Median and range of the exponents."""
    table = Table(
        title="Growth of the matrix time: exponents",
        title_justify="left",
        pad_edge=False,
        padding=(0, 1, 0, 0),
        box=SIMPLE_HEAD,
    )
    for header in ("solver", "in n", "in pairs"):
        table.add_column(header)
    for solver, exponents in growth.items():
        table.add_row(solver, _range(exponents["n"]), _range(exponents["pairs"]))
    return table


def _range(values: Iterable[float]) -> str:
    listed = sorted(values)
    return f"{np.median(listed):.2f} ({listed[0]:.2f} … {listed[-1]:.2f})" if listed else ""


def target_table(sets: dict[str, Any]) -> Table:
    """What ours is held to, the worst over the sets measured, and where that is."""
    table = Table(
        title="Targets, worst set of those measured",
        title_justify="left",
        pad_edge=False,
        padding=(0, 1, 0, 0),
        box=SIMPLE_HEAD,
    )
    for header in ("target", "limit", "measured", "set", "reached"):
        table.add_column(header)
    for what, limit, measured in _targets(sets):
        if measured:
            worst, where = max(measured)
            table.add_row(what, f"≤ {limit:g}", f"{worst:.4g}", where, "yes" if worst <= limit else "no")
    return table


def _targets(sets: dict[str, Any]) -> Iterable[tuple[str, float, list[tuple[float, str]]]]:
    """(what, limit, [(measured, set)])."""

    def of(solver: str, *keys: str) -> list[tuple[float, str, int]]:
        found = []
        for name, held in sets.items():
            entry = held["solvers"].get(solver, {})
            for key in keys:
                if entry.get(key) is not None:
                    value = entry[key][0] if isinstance(entry[key], list) else entry[key]
                    found.append((float(value), name, held["inputs"]))
        return found

    for (solver, key), limit in QUALITY_TARGETS.items():
        yield f"{solver}: {key.replace('_', ' ')}", limit, [found[:2] for found in of(solver, key)]
    for solver in TIME_TARGETS:
        keys = [f"worse_than {reference}" for reference in REFERENCES]
        yield f"{solver}: entries worse than a reference", 0, [found[:2] for found in of(solver, *keys)]
        for inputs, limit in TIME_TARGETS[solver].items():
            here = [found[:2] for found in of(solver, "wall_ratio_to_pot") if found[2] == inputs]
            yield f"{solver}: time ÷ POT at n = {inputs}", limit, here
    exponents = growths(sets).get("ours default", {"n": []})["n"]
    yield "ours default: exponent in n", GROWTH_TARGET, [(exponent, "") for exponent in exponents]
