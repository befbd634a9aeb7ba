"""How often events are told of what did not happen, and how soon of what did.

    python benchmarks/events.py                       # 30 runs of each kind, 20 looks a run
    python benchmarks/events.py --runs 6 --kinds frozen drifting

Prints a table and writes ``runs/benchmarks/events.json`` after every run, where the next call goes on. Runs are spread
evenly over MLPs, ConvNets with residual blocks and transformers (`benchmarks.planted.grid.networks`). Three kinds:

- **frozen**: a network with three planted groups whose weights stand still; every look is through other probe inputs,
  which a run never does. Every event is false, once the first two looks have told what was found.
- **drifting**: fresh weights that move along a straight line, every weight matrix by as much of its own norm, through
  one probe. No boundary is planted, so that every event of groups is false; growth of steps is no event of groups.
- **shift**: groups planted at other places from a known step on, trained through it; seen at the steps of
  `benchmarks.planted.grid.strategies.SHIFT_LOOKS`. Followed is a shift whose new boundaries are exactly those of the
  steadied picture within 60 steps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from benchmarks.planted.cache import CACHE, Net, load, train_and_keep
from benchmarks.planted.evaluation import shift_row_of
from benchmarks.planted.grid import specification as spec
from benchmarks.planted.grid.families import balanced_probe
from benchmarks.planted.grid.networks import LayeredNet
from benchmarks.planted.grid.recipes import recipe_of
from benchmarks.planted.grid.specification import LENGTHS, SHIFTED, Specification
from benchmarks.planted.grid.strategies import STRATEGIES, Trained
from benchmarks.planted.grid.training import data_and_net
from benchmarks.planted.shipped import Shipped, as_shipped
from benchmarks.result_file import write

OUTPUT = CACHE.parent / "events.json"
KINDS = ("frozen", "drifting", "shift")
FAMILY = {"mlp": "sums", "convnet": "narrowing", "transformer": "zigzag"}
#: Seeds begin here, apart from those of the planted networks on which detector and thresholds were chosen.
FIRST_SEED = 101
#: How far the weights of a drifting network go, as a share of each matrix's norm.
FAR = 0.5
#: Inputs of a probe.
PROBE = 96
#: Steps within which a shift has to be followed.
SOON = 60


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30, help="of each kind")
    parser.add_argument("--looks", type=int, default=20, help="of a frozen or drifting run")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--folder", type=Path, default=CACHE, help="cache of trained networks")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def specification_of(kind: str, number: int) -> Specification:
    """The `number`-th network of a kind, from 0."""
    architecture = list(FAMILY)[number % len(FAMILY)]
    seed = FIRST_SEED + number // len(FAMILY)
    lengths = LENGTHS[3][seed % len(LENGTHS[3])]
    strategy = {"frozen": spec.EVERY_LAYER, "drifting": spec.UNTRAINED, "shift": spec.SHIFT}[kind]
    shifted = SHIFTED[lengths] if kind == "shift" else None
    return Specification(architecture, FAMILY[architecture], strategy, lengths, seed, shifted)


def frozen_looks(one: Specification, looks: int) -> dict[int, dict[str, Tensor]]:
    """A trained network through other inputs at every look but the first, which is of its fresh weights."""
    with torch.random.fork_rng(devices=[]):
        data, net = data_and_net(one)
        torch.manual_seed(1000 + one.seed)
        seen = {0: net.look(data.held_x[balanced_probe(data.held_y, data.classes)])}
        STRATEGIES[one.strategy](one, net, data, recipe_of(one), lambda _: None, Trained())
        for step in range(1, looks + 1):
            rows = torch.randperm(len(data.held_x))[:PROBE]
            seen[step] = net.look(data.held_x[rows])
    return seen


def drifting_looks(one: Specification, looks: int) -> dict[int, dict[str, Tensor]]:
    """Fresh weights on a straight line, through one probe."""
    with torch.random.fork_rng(devices=[]):
        data, net = data_and_net(one)
        probe = data.held_x[balanced_probe(data.held_y, data.classes)]
        torch.manual_seed(1000 + one.seed)
        start, ways = _start_and_ways(net)
        seen = {}
        for step in range(looks + 1):
            with torch.no_grad():
                for parameter, begun, way in zip(net.parameters(), start, ways, strict=True):
                    parameter.copy_(begun + FAR * step / looks * way)
            seen[step] = net.look(probe)
    return seen


def _start_and_ways(net: LayeredNet) -> tuple[list[Tensor], list[Tensor]]:
    start = [parameter.detach().clone() for parameter in net.parameters()]
    ways = [torch.randn_like(begun) if begun.dim() > 1 else torch.zeros_like(begun) for begun in start]
    return start, [way * (begun.norm() / way.norm().clamp(min=1e-12)) for begun, way in zip(start, ways, strict=True)]


def told(found: Shipped) -> list[str]:
    """Kinds of events after the first two looks beyond the start, by which a run has told what it found."""
    return [event.kind for step in sorted(found.events)[3:] for event in found.events[step]]


def quiet_run(one: Specification, looks: Mapping[int, dict[str, Tensor]]) -> dict[str, Any]:
    """What is told of a run in which nothing happens."""
    found = as_shipped(Net(one, looks, {}, Path()))
    return {"looks": len(looks) - 3, "events": told(found)}


def shift_run(one: Specification, folder: Path) -> dict[str, Any]:
    """What is told of a run in which groups are planted anew."""
    train_and_keep(one, folder)
    net = load(one, folder)
    steady = {step: found for step, found in as_shipped(net).steady.items() if step > 0}
    row = shift_row_of(net, "as shipped", "as shipped", steady)
    return {
        "learned": net.learned,
        "settled": row.settled is not None,
        "spurious": row.spurious,
        "delay": row.delay,
    }


def run(kind: str, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run of a kind."""
    one = specification_of(kind, number)
    if kind == "shift":
        return {"architecture": one.architecture, **shift_run(one, options.folder)}
    make: Callable[[Specification, int], dict[int, dict[str, Tensor]]]
    make = frozen_looks if kind == "frozen" else drifting_looks
    return {"architecture": one.architecture, **quiet_run(one, make(one, options.looks))}


def lines(results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Kind, architecture, runs, what came of them."""
    for kind, architecture in product(KINDS, [*FAMILY, "all"]):
        rows = [row for row in results.get(kind, {}).values() if architecture in ("all", row["architecture"])]
        if not rows:
            continue
        if kind != "shift":
            looks, kinds = sum(row["looks"] for row in rows), [kind for row in rows for kind in row["events"]]
            growth = kinds.count("growth")
            groups = len(kinds) - growth
            came = (
                f"{groups} events of groups ({100 * groups / looks:.2f} per 100), {growth} of growth, in {looks} looks"
            )
            yield kind, architecture, str(len(rows)), came
            continue
        learned = [row for row in rows if row["learned"]]
        soon = sum(row["delay"] is not None and row["delay"] <= SOON for row in learned)
        spurious = sum(row["spurious"] for row in learned)
        came = f"{soon} of {len(learned)} learned ones followed within {SOON} steps, {spurious} changes told before"
        yield kind, architecture, str(len(rows)), came


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs that are not there yet, and show all."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    console = Console(width=120)
    held = json.loads(options.output.read_text()) if options.output.exists() else {}
    for kind in options.kinds:
        rows = held.setdefault(kind, {})
        for number in track(range(options.runs), kind, console=console):
            key = f"{specification_of(kind, number).name} {options.looks}"
            if key not in rows:
                rows[key] = run(kind, number, options)
                write(held, options.output)
    table = Table("kind", "network", "runs", "told", title="Events", title_justify="left")
    for line in lines(held):
        table.add_row(*line)
    console.print(table)


if __name__ == "__main__":
    main()
