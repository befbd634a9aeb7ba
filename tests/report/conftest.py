"""A comparison and a run on disk, made from the synthetic runs of the figure tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_folders import HOSTILE_LAYER, HOSTILE_STRATEGY, entry, keep, save, write_comparison
from synthetic_runs import DRIFT, PASSING, WEAK, make_run, with_names


@pytest.fixture(scope="session")
def comparison(tmp_path_factory) -> Path:
    """Six recorded runs on two tasks, two of which kept representations, one that failed, and hostile names."""
    folder = tmp_path_factory.mktemp("comparison")
    entries = []
    for seed in (0, 1):
        records = make_run(seed=seed)
        save(records, folder / f"joint/seed-{seed}")
        keep(folder / f"joint/seed-{seed}", seed, records[0].layers)
        entries.append(entry("joint", seed))
    save(make_run(PASSING, degenerate=4), folder / "greedy/seed-0")
    entries.append(entry("greedy", 0))
    save(make_run(DRIFT), folder / "end_to_end/seed-0")
    entries.append(entry("end_to_end", 0))
    entries.append(entry("assembled", 0, status="failed", error="ValueError: width 96 expected, 64 given"))
    names = ("bert.embeddings", *(f"bert.encoder.layer.{i}" for i in range(5)), HOSTILE_LAYER)
    save(with_names(make_run(DRIFT, 7), names), folder / "full/seed-0")
    entries.append(entry("full", 0, task="language", planted=None))
    save(make_run(WEAK, 7, paired_agrees=False), folder / "hostile")
    entries.append(entry(HOSTILE_STRATEGY, 0, task="language", planted=None, path="hostile"))
    return write_comparison(folder, entries)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    return save(make_run(), tmp_path_factory.mktemp("runs") / "mine")
