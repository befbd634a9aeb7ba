"""What whole looks cost: from cold, from the look before while layers move, and once they stand still.

    python benchmarks/looks.py                          # 9, 25 and 80 layers, 128 inputs: minutes
    python benchmarks/looks.py --layers 25 --inputs 256

Residual MLPs are trained twice on scikit-learn's digits, bit by bit alike, with `GWSimilarity` at its defaults but for
the steps of its looks and for fresh copies, which are made once for a run; in one of them every look is searched from
cold (``warm_start=False``). From step `STILL` on the learning rate is 0. A look is everything from its forward pass to
its record (`Record.seconds`); pictures and loggers are not part of it. Prints a table and writes
``runs/benchmarks/looks.json``.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.result_file import write
from lightning_gw import GWSimilarity

OUTPUT = Path(__file__).parents[1] / "runs/benchmarks/looks.json"
WIDTH = 96
#: Optimizer steps of the looks, and the one from which on nothing is learnt.
STEPS = (20, 40, 60, 90, 120, 150, 160, 170, 180)
STILL = 151


class Block(nn.Module):
    """A residual block of two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Net(pl.LightningModule):
    """An embedding, residual blocks, a head."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(64, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embedding(x)))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), 1e-3, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step < STILL))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", type=int, default=[9, 25, 80])
    parser.add_argument("--inputs", nargs="+", type=int, default=[128])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser.parse_args(arguments)


def looks(layers: int, inputs: int, warm_start: bool) -> dict[int, Any]:
    """Record of every look of `STEPS`, by step."""
    pl.seed_everything(0, verbose=False)
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
    loader = DataLoader(data, 64, shuffle=True)
    names = [f"blocks.{k}" for k in range(layers)]
    with tempfile.TemporaryDirectory() as folder:
        callback = GWSimilarity(
            names,
            loader,
            inputs,
            list(STEPS),
            save_dir=folder,
            max_overhead=None,
            null_samples=0,
            verbose=False,
            warm_start=warm_start,
        )
        pl.Trainer(
            accelerator="cpu",
            max_steps=STEPS[-1] + 1,
            max_epochs=-1,
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[callback],
        ).fit(Net(layers), loader)
    assert callback.history is not None
    return {record.step: record for record in callback.history if record.step in STEPS}


def summary(cold: Mapping[int, Any], warm: Mapping[int, Any]) -> dict[str, Any]:
    """Seconds, and objectives of warm looks over cold ones, of looks of the same steps of two trainings that are alike.

    The first look after training stands still is no part of it: layers have moved since the one before.
    """
    moving = [step for step in STEPS if step < STILL]
    still = [step for step in STEPS if step > STILL][1:]
    upper = np.triu_indices(len(warm[moving[0]].layers), 1)
    ratios = np.stack([warm[step].gw.distortion[upper] / cold[step].gw.distortion[upper] for step in moving])
    return {
        "cold": float(np.median([cold[step].seconds for step in moving])),
        "warm": float(np.median([warm[step].seconds for step in moving])),
        "still": float(np.median([warm[step].seconds for step in still])),
        "objective": float(ratios.mean()),
        "worst_objective": float(ratios.max()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write, and show."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    headers = (
        "layers",
        "inputs",
        "cold, s",
        "warm, s",
        "÷ cold",
        "standing still, s",
        "÷ cold",
        "objective ÷ cold",
        "worst",
    )
    table = Table(*headers)
    found: dict[str, Any] = {}
    looks(4, 16, True)  # compiles, imports
    for inputs in options.inputs:
        for layers in options.layers:
            one = found[f"L{layers} n{inputs}"] = summary(*(looks(layers, inputs, warm) for warm in (False, True)))
            write(found, options.output)
            table.add_row(
                str(layers),
                str(inputs),
                f"{one['cold']:.3g}",
                f"{one['warm']:.3g}",
                f"{one['warm'] / one['cold']:.2f}",
                f"{one['still']:.3g}",
                f"{one['still'] / one['cold']:.3f}",
                f"{one['objective']:.4f}",
                f"{one['worst_objective']:.3f}",
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
