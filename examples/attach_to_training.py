"""Attach GWSimilarity to a training of your own: one line, and a page at the end.

    python examples/attach_to_training.py

A network of eight layers learns two things about made-up data: after its fourth layer it is asked which of eight kinds
an input is of, after its last which of two families that kind belongs to. Nobody tells the callback where it is asked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_gw as lgw
from lightning_gw.report import write_report

FEATURES, WIDTH, LAYERS = 16, 48, 8


def make_data(count: int, seed: int) -> TensorDataset:
    """Inputs (count, 16), their kind, 0 to 7, and the family of that kind, 0 or 1."""
    rule = torch.randn(FEATURES, 3, generator=torch.Generator().manual_seed(0))  # the same for training and validation
    x = torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))
    bits = (x @ rule > 0).long()
    return TensorDataset(x, bits @ torch.tensor([4, 2, 1]), bits.sum(1) % 2)


class Block(nn.Module):
    """One layer: it adds to its input what a small perceptron makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.mlp(h)


class TwoStages(LightningModule):
    """Eight layers, asked for the kind after the fourth and for the family after the eighth."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(FEATURES, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.kind, self.family = nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.embedding(x)
        for block in self.blocks[:4]:
            h = block(h)
        kind = self.kind(h)
        for block in self.blocks[4:]:
            h = block(h)
        return kind, self.family(h)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, kinds, families = batch
        kind, family = self(x)
        loss = nn.functional.cross_entropy(kind, kinds) + nn.functional.cross_entropy(family, families)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, kinds, families = batch
        kind, family = self(x)
        self.log("val_acc_kind", (kind.argmax(1) == kinds).float().mean())
        self.log("val_acc_family", (family.argmax(1) == families).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small network and watch its layers fall into groups.")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/attach_to_training"), help="where files go")
    out: Path = parser.parse_args().out

    seed_everything(0, verbose=False)
    watching = lgw.GWSimilarity()  # <- the one line: it looks at the start, at every checkpoint and at the end
    trainer = Trainer(
        max_epochs=6,
        callbacks=[watching],
        accelerator="cpu",
        default_root_dir=out,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=8,
    )
    trainer.fit(
        TwoStages(),
        DataLoader(make_data(4096, seed=1), batch_size=128, shuffle=True),
        DataLoader(make_data(1024, seed=2), batch_size=256),
    )

    # Everything is on disk by now. Any other program can read it back, today or next year.
    run = Path(trainer.log_dir or out)
    history = lgw.load_history(run)
    last = history[-1]
    print(f"\n{len(history)} looks, from step {history[0].step} to step {last.step}.")
    print("What was found:", lgw.describe(history))
    for record in history:
        for event in record.events:
            print(f"  step {event.step}: {event.sentence()}")
    print(f"Held-out accuracy: kind {last.metrics['val_acc_kind']:.2f}, family {last.metrics['val_acc_family']:.2f}.")

    print("The network was asked after layers 4 and 8, so a boundary next to layer 4 is where it was planted.")

    page = write_report(run)
    print(f"\nThe page, one file to open in a browser or to send on: {page}")
    print("Next: examples/compare_two_models.py, or docs/attaching.md for what the callback does to your own training.")


if __name__ == "__main__":
    main()
