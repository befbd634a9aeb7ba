"""Representations of the last look, kept for comparing runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_gw as lgw
from lightning_gw.records.representations import KEPT_FILE, KeptRepresentations, keep_representations


class Tiny(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.zebra, self.apple, self.same = nn.Linear(4, 5), nn.Linear(5, 3), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.same(self.apple(torch.tanh(self.zebra(x))))

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return self(batch[0]).pow(2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("solve", ["inline", "background"])
@pytest.mark.representatives("inline")
def test_a_run_keeps_the_representations_of_its_last_look(tmp_path: Path, solve: str) -> None:
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randn(24, 4)), batch_size=8)
    module = Tiny()
    watcher = lgw.GWSimilarity(
        ["zebra", "apple", "same"], when=[2], effort="fast", keep_representations=True, solve=solve, verbose=False
    )
    trainer = Trainer(
        max_steps=3, accelerator="cpu", logger=False, callbacks=[watcher], default_root_dir=tmp_path,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, data)
    kept = lgw.load_representations(tmp_path)
    last = lgw.load_history(tmp_path)[-1]
    assert kept.step == last.step == 3
    assert kept.probe == last.probe["hash"]
    assert tuple(kept.layers) == last.layers == ("zebra", "apple", "same"), "in depth order"
    again = lgw.gw_matrix(kept.layers, effort="default", warm_start=None)
    torch.testing.assert_close(torch.from_numpy(again.identity), torch.from_numpy(last.gw.identity))
    assert kept.layers["apple"].equal(kept.layers["same"])


def test_those_of_a_callback_with_a_name_are_found(tmp_path: Path) -> None:
    (tmp_path / "gw-words").mkdir()
    kept = KeptRepresentations({"one": torch.ones(3, 2)}, 4, "5d41")
    keep_representations(tmp_path / "gw-words", kept)
    assert lgw.load_representations(tmp_path).step == 4


def test_nothing_is_kept_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="keep_representations=True"):
        lgw.load_representations(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    keep_representations(tmp_path, KeptRepresentations({"a": torch.ones(3, 2)}, 7, "abc"))
    assert lgw.load_representations(tmp_path).step == 7
    file = tmp_path / KEPT_FILE
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match=rf"{KEPT_FILE} is damaged"):
        lgw.load_representations(tmp_path)
