"""Comparisons of made-up runs, their pages and what is found in them."""

from __future__ import annotations

import json

from report_folders import HOSTILE_STRATEGY, Parsed, entry, keep, save, write_comparison
from synthetic_runs import make_run

from lightning_gw.records.history import load_history
from lightning_gw.report import write_report
from lightning_gw.statistics.findings import finding_of

#: One boundary, at the end of three looks.
TOLD = {"joint": 1, "greedy": 4, HOSTILE_STRATEGY: 1}


def story(boundary):
    return ((0, "none", (), ()), (10, "weak", (boundary,), (0, 1)), (40, "strong", (boundary,), (0, 1)))


def make_comparison(folder, strategies=("joint", "greedy"), seeds=3, *, kept=True, change=None, entries=None):
    listed = []
    for place, strategy in enumerate(strategies):
        for seed in range(seeds):
            path = f"strategy-{place}/seed-{seed}"
            records = make_run(story(TOLD[strategy]), 6, inputs=8, seed=10 * place + seed)
            save(change(strategy, seed, records) if change else records, folder / path)
            if kept:
                keep(folder / path, 10 * place + seed, records[0].layers)
            listed.append(entry(strategy, seed, path=path, **(entries or {}).get((strategy, seed), {})))
    return write_comparison(folder, listed)


def page_of(folder):
    return Parsed(write_report(folder).read_text(encoding="utf-8"))


def findings_of(folder):
    runs = json.loads((folder / "comparison.json").read_text())["runs"]
    return [
        finding_of(
            load_history(folder / run["path"]),
            key=run["path"],
            strategy=run["strategy"],
            seed=run["seed"],
            accuracy=run["accuracy"],
            seconds=run["seconds"],
        )
        for run in runs
    ]
