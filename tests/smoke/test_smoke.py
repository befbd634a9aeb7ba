"""The shortest way through everything that users rely on; `make test-oldest` runs it under the oldest dependencies.

It needs pytest and lightning-gw's own dependencies, nothing else, and runs with Numba and without it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_gw as lgw
from lightning_gw.figures import draw_matrix, draw_timeline
from lightning_gw.report import write_report

SOLVER = "compiled" if importlib.util.find_spec("numba") else "batched torch"


class Net(LightningModule):
    """Five layers that tell the larger of two coordinates."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(5))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-2)


def loader() -> DataLoader[Any]:
    x = torch.randn(48, 8, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, x[:, :2].argmax(1)), batch_size=16)


class PowerCut(Callback):
    """Ends training at a step, as a machine that stops does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("power cut")


def train(root: Path, *more: Callback, resume: Path | None = None) -> lgw.GWSimilarity:
    """Three epochs of three steps, a checkpoint and a look after each."""
    torch.manual_seed(0)
    # By the step, at the last one of an epoch: from there Lightning 2.4 resumes with a step too many.
    saver = ModelCheckpoint(root / "checkpoints", save_top_k=-1, filename="{step}", every_n_train_steps=3)
    watching = lgw.GWSimilarity(save_dir=root, probe_size=16, effort="fast", on_error="raise", verbose=False)
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=1,
        logger=CSVLogger(root, name="csv"),
        callbacks=[watching, saver, *more],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(Net(), loader(), loader(), ckpt_path=resume)
    return watching


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    train(root)
    return root


@pytest.mark.slow
def test_a_training_is_looked_at_and_read_back(run: Path) -> None:
    history = lgw.load_history(run)
    assert [record.step for record in history] == [0, 3, 6, 9]
    last = history[-1]
    assert last.layers == tuple(f"blocks.{k}" for k in range(5))
    assert last.gw.solver == SOLVER
    assert (last.gw.lower <= last.gw.distortion + 1e-9).all()
    assert (last.gw.distortion <= last.gw.identity + 1e-9).all()
    assert 0 <= last.metrics["val_acc"] <= 1
    assert lgw.describe(history).startswith(("By step 9", "No groups: by step 9"))


@pytest.mark.slow
def test_a_matrix_its_groups_and_unequal_sides() -> None:
    x = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    matrix = lgw.gw_matrix({"x": x, "turned": x.flip(1) * 3, "square": x.square(), "line": x[:, :1]})
    assert matrix.solver == SOLVER
    np.testing.assert_allclose(matrix.similarity.diagonal(), 1)
    assert matrix.similarity[0, 1] == pytest.approx(1)  # turning and scaling do not move an input's neighbours
    assert matrix.similarity[0, 2] < 0.95
    assert lgw.find_groups(matrix).labels[0] == 0
    unequal = lgw.gw_matrix({"x": x}, {"some": x[:16]})
    assert 0 < unequal.distortion[0, 0] < 1
    assert lgw.gw_distance(x, x.flip(0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_the_metric_agrees_with_the_matrix() -> None:
    x = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    layers = {"x": x, "square": x.square()}
    metric = lgw.GromovWassersteinMatrix(layers=list(layers))
    for start in (0, 12):
        metric.update({name: values[start : start + 12] for name, values in layers.items()})
    np.testing.assert_allclose(metric.compute().distortion, lgw.gw_matrix(layers).distortion, atol=1e-6)


@pytest.mark.slow
def test_the_page_and_the_pictures(run: Path, tmp_path: Path) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "blocks.4" in page
    history = lgw.load_history(run)
    for name, figure in (("timeline", draw_timeline(history)), ("matrix", draw_matrix(history[-1]))):
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_training_resumed_from_a_checkpoint_ends_as_if_never_stopped(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, PowerCut(7))
    resumed = train(tmp_path, resume=tmp_path / "checkpoints/step=6.ckpt").history
    whole = lgw.load_history(run)
    assert resumed is not None
    assert [record.step for record in resumed] == [record.step for record in whole]
    for mine, theirs in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(mine.gw.distortion, theirs.gw.distortion)
        assert mine.groups.labels == theirs.groups.labels
        assert mine.group_ids == theirs.group_ids


@pytest.mark.slow
def test_a_look_solved_in_the_background_is_the_same(run: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    watching = lgw.GWSimilarity(
        save_dir=tmp_path, probe_size=16, effort="fast", on_error="raise", verbose=False, solve="background", when=[9]
    )
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[watching],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Net(), loader(), loader())
    assert watching.history is not None
    assert [record.step for record in watching.history] == [0, 9]
    first, expected = watching.history[0].gw, lgw.load_history(run)[0].gw  # step 0: the same network, the same probe
    assert first.layers == expected.layers
    np.testing.assert_array_equal(first.distortion, expected.distortion)
