"""How well planted groups of layers are found, by every measure and detector.

    python -m benchmarks.planted.train            # trains the networks and keeps their representations: once
    python benchmarks/planted_groups.py           # judges on the development networks
    python benchmarks/planted_groups.py --final   # on the networks that were set aside: to be looked at once
    python benchmarks/planted_groups.py --show    # the tables of the last run again

Prints tables and writes ``runs/benchmarks/planted_groups.json``. Half of the seeds and two whole task families are set
aside (see `benchmarks.planted.grid.specification`); the file counts how often they were looked at. Networks that did
not learn every planted stage (`benchmarks.planted.cache.LEARNED`) are named and left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.planted.cache import CACHE, Net, load_nets
from benchmarks.planted.detectors import DETECTORS
from benchmarks.planted.evaluation import (
    against_cka,
    evaluate,
    evaluate_unpaired,
    plain,
    summarise,
    summarise_shifts,
)
from benchmarks.planted.grid.specification import Split, grid
from benchmarks.planted.measures import MEASURE_NAMES, MatrixCache
from benchmarks.planted.shipped import evaluate_shipped
from benchmarks.planted.tables import WIDTH, show
from benchmarks.result_file import write

OUTPUT = CACHE.parent / "planted_groups.json"
SCHEMA = 1


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--final", action="store_true", help="judge on the set-aside networks, and count the look")
    parser.add_argument("--unpaired", action="store_true", help="also disjoint halves of the probe for each layer")
    parser.add_argument("--measures", nargs="+", choices=MEASURE_NAMES, default=list(MEASURE_NAMES))
    parser.add_argument(
        "--detectors", nargs="+", choices=list(DETECTORS), help="whose rows are printed; all are written"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="networks whose names hold every word")
    parser.add_argument("--effort", choices=["fast", "default", "high"], help="fast; with --final, default")
    parser.add_argument(
        "--fresh", action="store_true", help="solve again what an older solver solved; --final always does"
    )
    parser.add_argument("--quick", action="store_true", help="the first 12 networks, three measures")
    parser.add_argument("--show", action="store_true", help="print the tables of the output file; judge nothing")
    parser.add_argument("--folder", type=Path, default=CACHE, help="cache of trained networks")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    options.effort = options.effort or ("default" if options.final else "fast")
    if options.quick:
        options.measures = ["gw standardized", "paired rsa", "paired cka"]
    return options


def chosen(options: argparse.Namespace) -> list[Net]:
    """The trained networks that are asked for.

    Raises:
        SystemExit: If there are none, or if a final look would miss some.
    """
    split: Split = "set aside" if options.final else "development"
    nets = [net for net in load_nets(split, options.folder) if all(word in net.name for word in options.only)]
    wanted = [one for one in grid(split) if all(word in one.name for word in options.only)]
    train = f"python -m benchmarks.planted.train --split '{split}' --folder {options.folder}"
    if not nets:
        raise SystemExit(f"None of {len(wanted)} {split} networks is in {options.folder}. Train them first: {train}")
    if options.final and len(nets) < len(wanted):
        raise SystemExit(
            f"The final look is to be taken once, at all {len(wanted)} set-aside networks; {len(nets)} are trained. "
            f"Train the rest first: {train}"
        )
    return nets[:12] if options.quick else nets


def read(path: Path) -> dict[str, Any]:
    """The output file: results by split, and how often the set-aside networks were looked at."""
    empty: dict[str, Any] = {"schema": SCHEMA, "final_looks": 0, "splits": {}}
    if not path.exists():
        return empty
    held: dict[str, Any] = json.loads(path.read_text())
    # The count outlives a change of schema: it is what the set-aside networks are worth.
    return held if held.get("schema") == SCHEMA else {**empty, "final_looks": held.get("final_looks", 0)}


def run(options: argparse.Namespace, console: Console, final_looks: int) -> dict[str, Any]:
    """Judge; returns what the output file holds for the split."""
    every = chosen(options)
    nets = [net for net in every if net.learned]
    torch.set_num_threads(options.threads)
    cache = MatrixCache(options.folder / "matrices", options.effort, fresh=options.fresh or options.final)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("networks", total=len(nets))

        def tell(name: str) -> None:
            progress.update(bar, description=name)
            progress.advance(bar)

        rows, shifts = evaluate(nets, cache, options.measures, tell)
        whole = progress.add_task("as shipped", total=None)
        reported, followed = evaluate_shipped(nets, lambda name: progress.update(whole, description=f"run: {name}"))
        rows, shifts = [*reported, *rows], [*followed, *shifts]
        unpaired = []
        if options.unpaired:
            halves = progress.add_task("disjoint halves", total=None)
            unpaired = evaluate_unpaired(nets, lambda name: progress.update(halves, description=f"halves: {name}"))
    if cache.stale:
        console.print(
            f"Matrices of {cache.stale} networks come from another version of the solver; --fresh solves them again.",
            style="yellow",
        )
    split: Split = "set aside" if options.final else "development"
    return {
        "split": split,
        "nets": len(nets),
        "nets_in_grid": len(grid(split)),
        "not_learned": [net.name for net in every if not net.learned],
        "effort": options.effort,
        "solver": cache.solver,
        "stale_matrices": cache.stale,
        "final_looks": final_looks,
        "summary": summarise(rows),
        "shifts": summarise_shifts(shifts),
        "against_cka": against_cka(rows),
        "unpaired": summarise(unpaired),
        "rows": plain(rows),
        "shift_rows": plain(shifts),
        "unpaired_rows": plain(unpaired),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge measures and detectors, or show what was judged."""
    options = parse(arguments)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    results = read(options.output)
    split = "set aside" if options.final else "development"
    if options.show:
        if split not in results["splits"]:
            raise SystemExit(f"{options.output} holds nothing of the {split} networks yet; run without --show.")
    else:
        if options.final:
            chosen(options)  # refuses before the look is counted
            results["final_looks"] += 1
            write(results, options.output)  # counted even if the run is stopped halfway
        results["splits"][split] = run(options, console, results["final_looks"])
        write(results, options.output)
    show(results["splits"][split], console, options.detectors)


if __name__ == "__main__":
    main()
