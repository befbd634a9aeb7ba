"""Does "what this training changed" name the layers that were trained?

    python benchmarks/fine_tuned.py               # every subset, three seeds
    python benchmarks/fine_tuned.py --seeds 1

The pre-trained MiniLM (6 layers) is fine-tuned on tweets with all layers frozen but one, two or three neighbours, and
the new head. `GWSimilarity` watches the embeddings and every layer. Row ``k + 1`` of what it watches is the layer that
takes step ``k``, so that a subset is *named* where boundaries are told of what changed since the start and every one of
them is a step that a trained layer takes. Beside it stands where the largest growth is. Prints a table and writes
``runs/benchmarks/fine_tuned.json`` after every run, where the next call goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.planted.cache import CACHE
from benchmarks.result_file import write
from lightning_gw import GWSimilarity
from tasks.language.data import TweetData
from tasks.language.module import TweetSentiment

OUTPUT = CACHE.parent / "fine_tuned.json"
#: First and last layer of each trained subset, from 0: singles, pairs and triples at both ends and between.
SUBSETS = ((0, 0), (2, 2), (3, 3), (5, 5), (0, 1), (2, 3), (4, 5), (1, 3), (3, 5))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps of a run")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def fine_tune(first: int, last: int, seed: int, steps: int) -> dict[str, Any]:
    """Train layers `first` to `last` of MiniLM, and return what the callback says of the end."""
    pl.seed_everything(seed, verbose=False)
    module, data = TweetSentiment(), TweetData()
    for parameter in module.pretrained.parameters():
        parameter.requires_grad_(False)
    for layer in module.layers[first : last + 1]:
        layer.requires_grad_(True)
    inside = f"model.encoder.{module.model.layers_name}"
    watched = ["model.encoder.embeddings", *(f"{inside}.{k}" for k in range(len(module.layers)))]
    with tempfile.TemporaryDirectory() as folder:
        callback = GWSimilarity(watched, when=[steps], save_dir=folder, verbose=False)
        quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        fit = pl.Trainer(
            max_steps=steps,
            accelerator="cpu",
            enable_checkpointing=False,
            limit_val_batches=0,
            callbacks=[callback],
            **quiet,
        )
        fit.fit(module, data)
        assert callback.history is not None
        record = callback.history[-1]
        assert record.changed is not None
        return {
            "boundaries": list(record.changed.boundaries),
            "strength": record.changed.strength,
            "largest_growth": int(np.nanargmax(record.growth)),
            "growth": [round(float(times), 3) for times in record.growth],
        }


def named(row: dict[str, Any], first: int, last: int) -> bool:
    """Whether boundaries are told, and each is a step that a trained layer takes."""
    return bool(row["boundaries"]) and all(first <= k <= last for k in row["boundaries"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs that are not there yet, and show all."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    console = Console(width=120)
    held = json.loads(options.output.read_text()) if options.output.exists() else {}
    runs = [(first, last, seed) for seed in range(options.seeds) for first, last in SUBSETS]
    for first, last, seed in track(runs, "fine-tuning", console=console):
        key = f"minilm {first}-{last} seed {seed} steps {options.steps}"
        if key not in held:
            held[key] = fine_tune(first, last, seed, options.steps)
            write(held, options.output)
    table = Table("layers trained (from 0)", "runs", "named", "largest growth at one of them", title="What changed")
    total = {"runs": 0, "named": 0, "largest": 0}
    for first, last in SUBSETS:
        rows = [row for key, row in held.items() if key.startswith(f"minilm {first}-{last} ")]
        right = sum(named(row, first, last) for row in rows)
        largest = sum(first <= row["largest_growth"] <= last for row in rows)
        table.add_row(f"{first}–{last}", str(len(rows)), str(right), str(largest))
        total = {
            "runs": total["runs"] + len(rows),
            "named": total["named"] + right,
            "largest": total["largest"] + largest,
        }
    table.add_section()
    table.add_row("all", *(str(count) for count in total.values()))
    console.print(table)


if __name__ == "__main__":
    main()
