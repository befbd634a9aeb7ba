"""Folders on disk as a comparison and a run leave them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from lightning_gw.records.history import History
from lightning_gw.records.representations import KeptRepresentations, keep_representations

#: Names are data. These would take a page over that forgot it once.
HOSTILE_LAYER = "</script><script>window.taken = 1</script>"
HOSTILE_STRATEGY = "<img src=x onerror='window.taken = 2'>"


def save(records, folder: Path) -> Path:
    history = History.open(folder / "gw")
    for record in records:
        history.append(record)
        history.append_metrics(record.step, record.epoch, record.metrics)
    return folder


def keep(run: Path, seed: int, layers, probe: str = "one") -> None:
    """Representations of six inputs, as a run of a comparison leaves them."""
    generator = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(6, 3, generator=generator) for name in layers}
    keep_representations(run / "gw", KeptRepresentations(values, 40, probe))


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
