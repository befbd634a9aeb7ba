"""Trains the networks with planted groups that are not in the cache yet.

python -m benchmarks.planted.train                        # both splits, development first
python -m benchmarks.planted.train --split development
python -m benchmarks.planted.train --only convnet greedy  # names that hold all of these words
python -m benchmarks.planted.train --list                 # what there is, trained or not
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.planted.cache import CACHE, load, path_of, train_and_keep
from benchmarks.planted.grid.specification import UNTRAINED, Specification, grid

#: Columns the list needs where the output goes to a file.
WIDTH = 120


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=["development", "set aside"], help="one split; both when left out")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="networks whose names hold every word")
    parser.add_argument("--quick", action="store_true", help="the first network of each architecture and strategy")
    parser.add_argument("--list", action="store_true", help="show the networks; train nothing")
    parser.add_argument("--folder", type=Path, default=CACHE, help="the cache")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def chosen(options: argparse.Namespace) -> list[Specification]:
    """The networks that are asked for, in grid order."""
    every = [one for one in grid(options.split) if all(word in one.name for word in options.only)]
    if not options.quick:
        return every
    seen: set[tuple[str, str, str]] = set()
    first = []
    for one in every:
        key = (one.split, one.architecture, one.strategy)
        if key not in seen:
            seen.add(key)
            first.append(one)
    return first


def listing(every: Sequence[Specification], folder: Path) -> Table:
    """A row per network: what it is, and what is known of it if it is trained."""
    table = Table(title=f"{len(every)} networks with planted groups, and nulls", title_justify="left")
    for header in ("split", "network", "boundaries", "held-out accuracy", "CPU s"):
        table.add_column(header, no_wrap=header != "held-out accuracy")
    for one in every:
        known = load(one, folder).metadata if path_of(one, folder).exists() else None
        table.add_row(
            one.split,
            one.name,
            " ".join(map(str, one.boundaries)) or "–",
            "not trained yet" if known is None else " ".join(f"{share:.2f}" for share in known["accuracy"]) or "–",
            "" if known is None else f"{known['training_seconds']:.1f}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, or list what there is."""
    options = parse(arguments)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    every = chosen(options)
    if options.list:
        console.print(listing(every, options.folder))
        return
    missing = [one for one in every if not path_of(one, options.folder).exists()]
    trained = sum(one.strategy != UNTRAINED for one in missing)
    console.print(
        f"{len(missing)} of {len(every)} networks are missing, {trained} of which are trained. Cache: {options.folder}"
    )
    torch.set_num_threads(options.threads)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("networks", total=len(missing))
        for one in missing:
            progress.update(bar, description=one.name)
            train_and_keep(one, options.folder)
            known = load(one, options.folder).metadata
            console.print(
                f"{one.name}: accuracy {known['accuracy']}, {known['training_seconds']:.1f} s {known['notes']}"
            )
            progress.advance(bar)


if __name__ == "__main__":
    main()
