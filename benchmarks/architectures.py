"""What is said of networks that have learnt nothing, in the architectures that people train.

    python benchmarks/architectures.py                       # the development half
    python benchmarks/architectures.py --split "set aside"   # the other half: to be looked at when nothing changes
    python benchmarks/architectures.py --only resnet vit     # names that hold one of these

Needs ``pip install 'lightning-gw[tasks]' timm``. Prints a table and writes ``runs/benchmarks/architectures.json``.
Every network is seen with the callback's defaults, by three seeds, on images or on texts, and judged in four ways:
without a reference, as the first look of a run (held against itself), as if it had been trained (held against one other
fresh copy, or against two).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.untrained import language, vision
from benchmarks.untrained.looks import CACHE, Untrained, look, names
from lightning_gw import Groups, find_groups
from lightning_gw.groups.reference import Reference
from lightning_gw.groups.strength import STRONG_CONTRAST

OUTPUT = CACHE.parent / "architectures.json"
SEEDS = 3
WAYS = ("no reference", "first look", "one copy", "two copies")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=["development", "set aside"], default="development")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="architectures whose name holds one")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--folder", type=Path, default=CACHE, help="cache of what layers showed")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def said(groups: Groups, unheld: bool = False) -> str:
    """The strength; where nothing was held against, the one that the contrast alone would give."""
    amid = any(0 < k < len(groups.labels) - 2 for k in groups.boundaries)
    if unheld and groups.strength == "weak" and groups.contrast >= STRONG_CONTRAST and amid:
        return "strong"
    return groups.strength


def judge(copies: Sequence[Untrained]) -> dict[str, list[str]]:
    """What is said of the copies of one architecture, by the way of judging."""
    found: dict[str, list[str]] = {way: [] for way in WAYS}
    for one in copies:
        found["no reference"].append(said(find_groups(one.distances), unheld=True))
        found["first look"].append(said(find_groups(one.distances, one.distances)))
    for one, other in permutations(copies, 2):
        found["one copy"].append(said(find_groups(one.distances, other.distances)))
    for k, one in enumerate(copies):
        first, *others = (other for j, other in enumerate(copies) if j != k)
        if others:  # as in a run: of the first look everything is known, of the others neighbours alone
            steps = np.stack([first.distances.diagonal(1), *(other.adjacent for other in others)])
            found["two copies"].append(said(find_groups(one.distances, Reference(steps, first.distances))))
    return found


def counted(verdicts: Sequence[str]) -> str:
    """``strong / weak or strong of all``."""
    strong = sum(verdict == "strong" for verdict in verdicts)
    return f"{strong} / {sum(verdict != 'none' for verdict in verdicts)} of {len(verdicts)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Look, judge, print and write."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    console = Console() if Console().is_terminal else Console(width=130)
    chosen = [n for n in names(options.split) if not options.only or any(word in n for word in options.only)]
    batches = {"images": vision.images(), "texts": language.texts()}
    rows: list[dict[str, Any]] = []
    for name in track(chosen, "Looking", console=console):
        copies = [look(name, seed, batches, options.folder) for seed in range(options.seeds)]
        built_in = find_groups(copies[0].distances, copies[0].distances).built_in
        rows.append({"name": name, "layers": len(copies[0].widths), "built_in": built_in, **judge(copies)})
    table = Table(title=f"Untrained networks, {options.split}: called strong / anything", title_justify="left")
    for header in ("architecture", "layers", "steps of its own after layer", *WAYS):
        table.add_column(header)
    for row in rows:
        own = ", ".join(str(k + 1) for k in row["built_in"][:8]) + (", …" if len(row["built_in"]) > 8 else "")
        table.add_row(row["name"], str(row["layers"]), own or "–", *(counted(row[way]) for way in WAYS))
    table.add_section()
    every = {way: [verdict for row in rows for verdict in row[way]] for way in WAYS}
    table.add_row("all", "", "", *(counted(every[way]) for way in WAYS), style="bold")
    console.print(table)
    held = json.loads(options.output.read_text()) if options.output.exists() else {}
    held[options.split] = rows
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(held, indent=1))


if __name__ == "__main__":
    main()
