"""When `GWSimilarity` looks, in real Trainers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from callback_nets import (
    Net,
    loader,
    steps,
    task,
    trainer,
    watcher,
)
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

import lightning_gw as lgw
from lightning_gw.callback.when.schedule import Schedule


@pytest.mark.slow
def test_once_per_step_however_often_a_checkpoint_is_saved(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "a", save_top_k=-1, every_n_train_steps=3, save_last=True)
    another = ModelCheckpoint(tmp_path / "b", save_top_k=-1, every_n_epochs=1, save_last=True)
    callback = watcher(tmp_path)
    trainer(tmp_path, saver, another, callback, accumulate_grad_batches=2, max_epochs=3).fit(
        Net(), loader(64, 8), loader(32)
    )
    assert steps(callback) == [0, 3, 4, 6, 8, 9, 12]


@pytest.mark.slow
def test_saves_from_validation_count_too(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "a", monitor="val_loss", save_top_k=-1)
    callback = watcher(tmp_path)
    trainer(tmp_path, saver, callback, max_epochs=1, val_check_interval=2).fit(Net(), loader(80), loader(32))
    assert steps(callback) == [0, 2, 4, 5]
    # What was just validated belongs to the record that was made in it.
    assert callback.history[1].metrics["val_loss"] == callback.history.metrics[0]["val_loss"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"when": "log", "looks": 4}, [0, 1, 3, 8, 24]),
        ({"when": "every_n_steps", "every_n_steps": 10}, [0, 10, 20, 24]),
        ({"when": [3, 7, 20]}, [0, 3, 7, 20, 24]),
        ({"when": [3], "every_n_steps": 12}, [0, 3, 12, 24]),
    ],
)
@pytest.mark.representatives("options3-*")
def test_schedules(tmp_path: Path, options: dict[str, Any], expected: list[int]) -> None:
    callback = watcher(tmp_path, **options)
    trainer(tmp_path, callback, accumulate_grad_batches=2, max_epochs=6).fit(Net(), loader(64, 8), loader(32))
    assert steps(callback) == expected


@pytest.mark.slow
def test_log_spacing_without_a_known_end(tmp_path: Path) -> None:
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            yield from task(160)

    callback = watcher(tmp_path, when="log", probe=loader(32), max_overhead=None)
    trainer(tmp_path, callback, max_epochs=1).fit(Net(), DataLoader(Endless(), batch_size=16))
    assert steps(callback) == [0, 1, 2, 4, 8, 10]


@pytest.mark.parametrize(
    ("options", "callbacks", "reason"),
    [
        ({}, [], "has no ModelCheckpoint"),
        ({}, [ModelCheckpoint(save_weights_only=True)], "save_weights_only"),
        ({"fast_dev_run": True}, [], "fast_dev_run"),
    ],
)
@pytest.mark.representatives("options0-*")
def test_checkpoints_that_will_not_come_are_announced_once(
    tmp_path: Path, options: dict[str, Any], callbacks: list[Callback], reason: str
) -> None:
    callback = watcher(tmp_path)
    with pytest.warns(UserWarning, match="looks whenever a checkpoint is saved") as caught:
        trainer(tmp_path, *callbacks, callback, **options).fit(Net(), loader(), loader(32))
    told = [str(warning.message) for warning in caught if "whenever a checkpoint" in str(warning.message)]
    assert len(told) == 1
    assert reason in told[0]
    assert len(steps(callback)) == 2


@pytest.mark.slow
def test_fast_dev_run_leaves_nothing_behind(tmp_path: Path) -> None:
    callback = lgw.GWSimilarity(probe_size=12, effort="fast", verbose=False)
    with pytest.warns(UserWarning, match="fast_dev_run"):
        trainer(tmp_path, callback, fast_dev_run=True).fit(Net(), loader(), loader(32))
    assert steps(callback) == [0, 1]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_no_look_for_the_learning_rate_finder_nor_after_an_error(tmp_path: Path) -> None:
    from pytorch_lightning.callbacks import LearningRateFinder

    class Net2(Net):  # type: ignore[misc]
        lr = 1e-2

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if self.trainer.global_step == 3:
                raise RuntimeError("the GPU fell over")
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), self.lr)

    class SavesFirst(Callback):
        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            trainer.save_checkpoint(tmp_path / "last-words.ckpt")

    finder = LearningRateFinder(num_training_steps=2, update_attr=True)
    saver = ModelCheckpoint(tmp_path, save_on_exception=True)
    callback = watcher(tmp_path)
    with pytest.raises(RuntimeError, match="fell over"):
        trainer(tmp_path, finder, SavesFirst(), saver, callback).fit(Net2(), loader(128), loader(32))
    assert (tmp_path / "last-words.ckpt").exists()
    assert steps(callback) == [0]


def test_two_schedules_at_once_are_said_to_be_two() -> None:
    assert Schedule("log", 5, 10).combined == "GWSimilarity looks at 5 log-spaced steps and, besides, every 10 steps."
    assert Schedule([3, 4], every_n_steps=2).combined.startswith("GWSimilarity looks at 2 listed steps and")
    assert not Schedule("log").combined
    assert not Schedule("every_n_steps", every_n_steps=2).combined


def test_a_number_of_looks_that_changes_nothing_is_said() -> None:
    assert "goes with when='log'" in Schedule("checkpoint", looks=10).combined
    assert Schedule("log", looks=10).combined == ""
    assert Schedule("checkpoint").combined == ""
