"""Does "what this training changed" name the layers that were trained?

    python benchmarks/fine_tuned.py                                # three models, every subset
    python benchmarks/fine_tuned.py --models minilm --seeds 1

Pre-trained networks are fine-tuned with all layers frozen but a few neighbours, and the new head: MiniLM (6 layers) on
the sentiment of tweets, EfficientNet-Lite0 (16 blocks) on digits, SmolLM2-135M (30 layers) on the next token of tweets.
`GWSimilarity` watches what comes in and every layer. Four answers are held against the subset:

*weights*    the layers whose weights changed since the first look (`Record.weights`) are exactly those of the subset;
*began*      the first layer that moved (`Record.moved`) is the first of the subset: told from activations alone;
*parted*     boundaries are told of what changed (`Record.changed`), and each is a step that a trained layer takes: row
             ``k + 1`` of what is watched is the layer that takes step ``k``;
*growth*     the step that grew most is one of theirs.

Prints a table and writes ``runs/benchmarks/fine_tuned.json`` after every run, where the next call goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from benchmarks.planted.cache import CACHE
from benchmarks.result_file import write
from lightning_gw import GWSimilarity
from tasks.language import NextToken, TweetData, TweetSentiment
from tasks.language.smollm2 import SMOLLM2
from tasks.vision import DigitsData, EfficientNetClassifier

OUTPUT = CACHE.parent / "fine_tuned.json"


@dataclass(frozen=True)
class Model:
    """A pre-trained network, and which of its layers are trained.

    Attributes:
        make: Module and data.
        first: Name of what comes before the layers.
        layers: Name of the list of layers, inside the module.
        subsets: First and last layer of each trained subset, from 0: at both ends and between.
        seeds: Runs of each subset.
        steps: Optimizer steps of a run.
    """

    make: Callable[[], tuple[Any, Any]]
    first: str
    layers: str
    subsets: tuple[tuple[int, int], ...]
    seeds: int
    steps: int


MODELS = {
    "minilm": Model(
        lambda: (TweetSentiment(), TweetData()),
        "model.encoder.embeddings",
        "model.encoder.encoder.layer",
        ((0, 0), (2, 2), (3, 3), (5, 5), (0, 1), (2, 3), (4, 5), (1, 3), (3, 5)),
        seeds=3,
        steps=60,
    ),
    "efficientnet": Model(
        lambda: (EfficientNetClassifier(), DigitsData(batch_size=32)),
        "model.stem",
        "model.blocks",
        ((0, 0), (6, 6), (10, 10), (15, 15), (2, 3), (7, 9), (12, 15)),
        seeds=3,
        steps=60,
    ),
    "smollm2": Model(
        lambda: (NextToken(SMOLLM2), TweetData(SMOLLM2, max_length=32, batch_size=8)),
        "model.model.embed_tokens",
        "model.model.layers",
        ((0, 0), (7, 7), (15, 15), (22, 22), (29, 29), (3, 5), (12, 17), (24, 26)),
        seeds=1,
        steps=30,
    ),
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seeds", type=int, help="runs of each subset; by default as many as each model says")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def fine_tune(model: Model, first: int, last: int, seed: int) -> dict[str, Any]:
    """Train layers `first` to `last` of a pre-trained network, and return what the callback says of the end."""
    pl.seed_everything(seed, verbose=False)
    module, data = model.make()
    layers = [f"{model.layers}.{k}" for k in range(len(module.get_submodule(model.layers)))]
    for parameter in module.pretrained.parameters():
        parameter.requires_grad_(False)
    for name, part in module.named_modules():
        if name in layers[first : last + 1] or name.endswith(".head"):
            part.requires_grad_(True)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and not part.weight.requires_grad:
            part.momentum = 0.0  # what is frozen gathers no statistics either
    with tempfile.TemporaryDirectory() as folder:
        callback = GWSimilarity([model.first, *layers], when=[model.steps], save_dir=folder, verbose=False)
        quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        fit = pl.Trainer(
            max_steps=model.steps,
            max_epochs=-1,
            accelerator="cpu",
            enable_checkpointing=False,
            limit_val_batches=0,
            callbacks=[callback],
            **quiet,
        )
        fit.fit(module, data)
        assert callback.history is not None
        record = callback.history[-1]
        assert record.step == model.steps
        assert record.changed is not None
        assert record.weights is not None
        assert record.moved is not None
        return {
            "weights": [k - 1 for k, fate in enumerate(record.weights) if fate == "changed"],
            "moved": [float(far) for far in record.moved],
            "boundaries": list(record.changed.boundaries),
            "strength": record.changed.strength,
            "largest_growth": int(np.nanargmax(record.growth)),
            "growth": [float(times) for times in record.growth],
        }


def answers(row: dict[str, Any], first: int, last: int) -> tuple[bool, ...]:
    """Whether each of the four answers names the subset, in the order in which they stand above."""
    began = next((k - 1 for k, far in enumerate(row["moved"]) if far > 0), None)
    return (
        row["weights"] == list(range(first, last + 1)),
        began == first,
        bool(row["boundaries"]) and all(first <= k <= last for k in row["boundaries"]),
        first <= row["largest_growth"] <= last,
    )


def key_of(name: str, first: int, last: int, seed: int) -> str:
    """By which a run is found again."""
    return f"{name} {first}-{last} seed {seed} steps {MODELS[name].steps}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs that are not there yet, and show all."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    console = Console(width=120)
    held = json.loads(options.output.read_text()) if options.output.exists() else {}
    runs = [
        (name, first, last, seed)
        for name in options.models
        for seed in range(options.seeds or MODELS[name].seeds)
        for first, last in MODELS[name].subsets
    ]
    for name, first, last, seed in track(runs, "fine-tuning", console=console):
        if (key := key_of(name, first, last, seed)) not in held:
            held[key] = fine_tune(MODELS[name], first, last, seed)
            write(held, options.output)
    table = Table("model", "layers trained (from 0)", "runs", "weights", "began", "parted", "growth")
    table.title = "What changed"
    for name in options.models:
        table.add_section()
        for line in lines(name, held):
            table.add_row(name, *line)
    console.print(table)


def lines(name: str, held: dict[str, Any]) -> list[tuple[str, ...]]:
    """What was found of one model: a row a subset, and one of all."""
    made: list[tuple[str, ...]] = []
    total = np.zeros(5, dtype=int)
    for first, last in MODELS[name].subsets:
        rows = [row for key, row in held.items() if key.startswith(f"{name} {first}-{last} ")]
        counts = np.sum([(1, *answers(row, first, last)) for row in rows] or [(0,) * 5], axis=0)
        made.append((f"{first}–{last}", *(str(count) for count in counts)))
        total += counts
    return [*made, ("all", *(str(count) for count in total))]


if __name__ == "__main__":
    main()
