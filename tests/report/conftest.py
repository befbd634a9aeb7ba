"""Folders on disk as a comparison and a run leave them, made from the synthetic runs of the figure tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "figures"))

from synthetic_runs import DRIFT, PASSING, WEAK, make_run, with_names

from lightning_gw.history import History

#: Names are data. These would take a page over that forgot it once.
HOSTILE_LAYER = "</script><script>window.taken = 1</script>"
HOSTILE_STRATEGY = "<img src=x onerror='window.taken = 2'>"


def save(records, folder: Path) -> Path:
    history = History.open(folder / "gw")
    for record in records:
        history.append(record)
        history.append_metrics(record.step, record.epoch, record.metrics)
    return folder


def entry(strategy: str, seed: int, **changes) -> dict:
    return {
        "strategy": strategy,
        "task": "algebra",
        "seed": seed,
        "path": f"{strategy}/seed-{seed}",
        "status": "finished",
        "error": None,
        "question": f"What does {strategy} do?",
        "planted": [1, 5],
        "accuracy": "val/accuracy",
        "seconds": 12.5,
    } | changes


def write_comparison(folder: Path, entries: list[dict], title: str = "Strategies compared") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(json.dumps({"schema": 1, "title": title, "runs": entries}))
    return folder


@pytest.fixture(scope="session")
def comparison(tmp_path_factory) -> Path:
    """Seven recorded runs on two tasks, one that failed before its first look, and hostile names."""
    folder = tmp_path_factory.mktemp("comparison")
    entries = []
    for seed in (0, 1):
        save(make_run(seed=seed), folder / f"joint/seed-{seed}")
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
