"""The callback with which a run tells its comparison how far it is, in a real Trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gw import GWSimilarity
from lightning_gw.compare.run_callback import RunProgress
from lightning_gw.utilities.errors import UsageError


class Deep(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self(batch[0]).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/size", self(batch[0]).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(folder: Path, planted: list[int] | None, resumed: Path | None = None) -> dict[str, Any]:
    data = DataLoader(TensorDataset(torch.randn(16, 6, generator=torch.Generator().manual_seed(0))), batch_size=8)
    progress = RunProgress(str(folder / "progress.json"), accuracy="val/size", planted=planted)
    watcher = GWSimilarity(probe_size=8, when=[2], effort="fast", verbose=False, save_dir=folder)
    Trainer(
        accelerator="cpu",
        max_steps=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[watcher, progress, ModelCheckpoint(folder / "checkpoints", save_last=True, every_n_train_steps=1)],
    ).fit(Deep(), data, data, ckpt_path=resumed)
    return dict(json.loads((folder / "progress.json").read_text()))


@pytest.mark.parametrize("planted", [None, [0, 2]])
@pytest.mark.representatives("None")
def test_a_run_tells_how_far_it_is(tmp_path: Path, planted: list[int] | None) -> None:
    told = fit(tmp_path, planted)
    assert (told["step"], told["steps"], told["looks"]) == (2, 2, 2)
    assert told["metrics"] == ["train/loss", "val/size"]


@pytest.mark.slow
def test_a_boundary_planted_beyond_the_layers_ends_the_run_before_its_first_step(tmp_path: Path) -> None:
    said = r"planted names 3 and 9, but with 4 layers, counted from 0, the last boundary there can be is 2\. The layers"
    with pytest.raises(UsageError, match=said + " are: net.0, net.1, net.2, net.3"):
        fit(tmp_path, [1, 3, 9])
    assert not (tmp_path / "progress.json").exists()


def test_a_run_that_was_over_when_it_was_resumed_tells_what_it_had_told(tmp_path: Path) -> None:
    told = fit(tmp_path, None)
    resumed = fit(tmp_path, None, tmp_path / "checkpoints/last.ckpt")
    assert {name: resumed[name] for name in resumed if name not in ("pace", "seconds")} == {
        name: told[name] for name in told if name not in ("pace", "seconds")
    }
    assert told["accuracy"] is not None
    assert resumed["seconds"] >= told["seconds"]
