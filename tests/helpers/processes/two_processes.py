"""Trains with several processes that all see the same batches, so that what they find must equal one process's.

A script too: ``python two_processes.py FOLDER STRATEGY LOOKS`` trains with two processes of the strategy ``ddp``, or of
``fsdp``, which here is FSDP2 (``fully_shard``) under Lightning's ``ModelParallelStrategy``, as it also runs on the CPU.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from every_network import WIDTH, Block, Items
from every_training import state_of
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from lightning_gw import GWSimilarity


class Ranked(pl.LightningModule):
    """Classifies vectors; may fail on one rank, and writes down what it is in the end."""

    def __init__(self, folder: Path, fails: dict[int, tuple[int, str]] | None = None, apart: float = 0.0) -> None:
        super().__init__()
        # Without dropout, whose masks would differ between one process and two.
        self.net = nn.Sequential(nn.Linear(8, WIDTH), *(Block(0.0) for _ in range(3)), nn.Linear(WIDTH, 3))
        self.folder = folder
        self.fails = fails or {}
        self.apart = apart  # how far the outputs on other ranks than the first are off, outside of training
        self.order: list[Any] = []
        self.losses: list[Any] = []

    def configure_model(self) -> None:
        assert self.trainer is not None
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            assert self.device_mesh is not None
            for part in (*self.net, self.net):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def forward(self, x: Tensor) -> Tensor:
        step, error = self.fails.get(self.global_rank, (-1, ""))
        if self.global_step == step and not self.training and not (error == "out of memory" and len(x) <= 4):
            raise RuntimeError(error)
        return self.net(x if self.training else x + self.apart * self.global_rank)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.order.append(batch["index"].tolist())
        return nn.functional.cross_entropy(self(batch["x"]), batch["y"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-2)

    def teardown(self, stage: str) -> None:
        if "wandb" in sys.modules:  # its run belongs to the process that trains
            sys.modules["wandb"].finish()

    def on_train_end(self) -> None:
        assert self.trainer is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            state = {"weights": {name: weight.full_tensor() for name, weight in self.named_parameters()}}
        else:
            state = state_of(self.trainer, self, [])
        torch.save(state, self.folder / f"rank-{self.global_rank}.pt")
        self.trainer.strategy.barrier()  # whoever leaves training finds what all ranks wrote


@contextmanager
def one_thread() -> Iterator[None]:
    """As many threads in one process as in each of several, which Lightning shares the cores out to.

    Some processors round the sums of a matrix product otherwise with another number of threads.
    """
    threads, setting = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        del os.environ["OMP_NUM_THREADS"]
        if setting is not None:
            os.environ["OMP_NUM_THREADS"] = setting


def train(
    folder: Path,
    strategy: Any = "auto",
    devices: int = 1,
    looks: bool = True,
    logger: Any = False,
    fails: dict[int, tuple[int, str]] | None = None,
    on_error: str = "raise",
    apart: float = 0.0,
) -> list[dict[str, Any]]:
    """Train for four steps; what each rank was in the end."""
    pl.seed_everything(1, verbose=False)
    options: dict[str, Any] = {"probe_size": 8, "effort": "fast", "verbose": False, "on_error": on_error}
    options["max_overhead"] = None
    watching = [GWSimilarity(layers="net.*", save_dir=folder, when=[2, 3], null_samples=0, **options)] if looks else []
    with warnings.catch_warnings(), one_thread():
        if on_error == "raise":
            warnings.simplefilter("ignore")
        pl.Trainer(
            accelerator="cpu",
            devices=devices,
            strategy=strategy,
            use_distributed_sampler=False,
            default_root_dir=folder,
            logger=logger,
            callbacks=[*watching],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_epochs=1,
        ).fit(Ranked(folder, fails, apart), DataLoader(Items("vectors", 32), batch_size=8))
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(devices)]


if __name__ == "__main__":
    chosen: Any = ModelParallelStrategy() if sys.argv[2] == "fsdp" else sys.argv[2]
    train(Path(sys.argv[1]), chosen, 2, looks=sys.argv[3] == "True")
