"""A comparison of a few seconds for tests: a small residual-free network on fixed data, and strategies for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from lightning_gw.records.history import load_history

_CODE = '''
import time

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Toy(LightningModule):
    def __init__(self, lr: float = 0.05, blocks: int = 4) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(blocks)])
        self.head = nn.Linear(6, 2)
        self.lr = lr

    def forward(self, x):
        return self.head(self.blocks(x))

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val/accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.lr)


class ToyData(LightningDataModule):
    """Four batches an epoch in a fixed order, so that a run resumed at an epoch's end sees the same batches."""

    def loader(self, seed, size, batch_size):
        x = torch.randn(size, 6, generator=torch.Generator().manual_seed(seed))
        return DataLoader(TensorDataset(x, (x[:, 0] * x[:, 1] > 0).long()), batch_size=batch_size)

    def train_dataloader(self):
        return self.loader(1, 32, 8)

    def val_dataloader(self):
        return self.loader(2, 64, 64)


class Slow(Callback):
    def __init__(self, seconds: float = 0.25) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, *args):
        time.sleep(self.seconds)


class Broken(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 5:
            raise RuntimeError("the toy broke on purpose")
'''

BASE: dict[str, Any] = {
    "model": {"class_path": "toy_net.Toy"},
    "data": {"class_path": "toy_net.ToyData"},
    "trainer": {
        "accelerator": "cpu",
        "max_steps": 24,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 4,
        "enable_model_summary": False,
        "callbacks": [
            {
                "class_path": "lightning_gw.GWSimilarity",
                "init_args": {"layers": ["blocks.?"], "probe_size": 12, "when": [4, 12], "effort": "fast"},
            },
            {"class_path": "ModelCheckpoint", "init_args": {"every_n_train_steps": 4, "save_last": True}},
        ],
    },
}


def write_toy(folder: Path, strategies: list[Any], **experiment: Any) -> Path:
    """Write module, base config, strategies and comparison; returns the comparison's file."""
    (folder / "toy_net.py").write_text(_CODE)
    (folder / "toy.yaml").write_text(yaml.safe_dump(BASE))
    (folder / "strategies").mkdir(exist_ok=True)
    (folder / "strategies/fast.yaml").write_text(
        "# What happens when the steps\n# are large?\nmodel: {init_args: {lr: 0.1}}\n"
    )
    (folder / "strategies/slow.yaml").write_text("trainer: {callbacks+: [{class_path: toy_net.Slow}]}\n")
    (folder / "strategies/broken.yaml").write_text("trainer: {callbacks+: [{class_path: toy_net.Broken}]}\n")
    content = {"task": "toy", "config": "toy.yaml", "accuracy": "val/accuracy", "strategies": strategies, "seeds": [0]}
    file = folder / "compare.yaml"
    file.write_text(yaml.safe_dump({"title": "Toys", "out": "out", "experiments": [content | experiment]}))
    return file


def command(*arguments: str) -> list[str]:
    """``lightning-gw`` with these arguments, as a process of its own."""
    return [sys.executable, "-m", "lightning_gw", *arguments]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command in a folder."""
    return subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def run(folder: Path, *arguments: str, timeout: float = 600) -> tuple[int, str]:
    """Run the command in a folder; returns its exit code and all it printed."""
    process = start(folder, *arguments)
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, output


def entries(folder: Path) -> dict[str, dict[str, object]]:
    """Strategy to its entry in comparison.json."""
    return {entry["strategy"]: entry for entry in json.loads((folder / "comparison.json").read_text())["runs"]}


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come in {seconds} s"
        time.sleep(0.05)


def assert_same_history(one: Path, other: Path, kills: int = 0) -> None:
    """Same steps, groups, events and identities, and the same matrices to the bit; `one` was killed so many times."""
    a, b = load_history(one), load_history(other)
    assert not a.problems
    assert not b.problems
    assert [record.step for record in a] == [record.step for record in b]
    # Killed after an epoch's last checkpoint and before its validation, Lightning goes on with the next epoch, and
    # nobody ever has that validation's metrics: one row a kill at the most. All others are the same.
    assert 0 <= len(b.metrics) - len(a.metrics) <= kills
    rows = [row for row in b.metrics if row["step"] in {own["step"] for own in a.metrics}]
    assert [*a.metrics] == rows
    assert a.metrics[-1:] == b.metrics[-1:]
    mine, others = (
        torch.load(each / "checkpoints/last.ckpt", weights_only=False)["state_dict"] for each in (one, other)
    )
    unequal = [name for name in mine if not torch.equal(mine[name], others[name])]
    assert not unequal, f"the trainings themselves ended with other weights: {unequal}"
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x.gw.distortion, y.gw.distortion, err_msg=f"the look at step {x.step}")
        np.testing.assert_array_equal(x.gw.couplings, y.gw.couplings)
        np.testing.assert_array_equal(x.growth, y.growth)
        assert (x.groups.labels, x.group_ids, x.events) == (y.groups.labels, y.group_ids, y.events)
        assert x.metrics == y.metrics
        assert x.probe == y.probe
