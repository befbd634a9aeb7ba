"""Whose it is that training resumed between two steps of accumulated gradients ends with other weights: Lightning's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from callback_nets import Net, Resumable, loader, plain_net, task, trainer, watcher
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor

#: Batches that make a step, and batches in all.
ACCUMULATED, BATCHES = 3, 12


class Broken(Callback):
    """The machine dies in some batch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            raise RuntimeError("power cut")


def fit(root: Path, looks: bool, validated: int, *callbacks: Callback, resumed: bool = False) -> dict[str, Tensor]:
    """Train one epoch with a validation, and after it a checkpoint, every `validated` batches."""
    saver = ModelCheckpoint(root / "checkpoints", filename="saved", every_n_epochs=1, save_top_k=-1)
    module = Net(plain_net())
    watching = [watcher(root, null_samples=0, bootstrap_samples=2, max_overhead=None)] if looks else []
    fitting = trainer(
        root,
        saver,
        *watching,
        *callbacks,
        max_epochs=1,
        accumulate_grad_batches=ACCUMULATED,
        val_check_interval=validated,
    )
    saved = root / "checkpoints/saved.ckpt" if resumed else None
    fitting.fit(module, Resumable(task(16 * BATCHES), batch_size=16), loader(32), ckpt_path=saved)
    return module.state_dict()  # type: ignore[no-any-return]


def interrupted(root: Path, looks: bool, validated: int) -> dict[str, Tensor]:
    with pytest.raises(RuntimeError, match="power cut"):
        fit(root, looks, validated, Broken(validated + 1))
    saved = torch.load(root / "checkpoints/saved.ckpt", weights_only=True)
    assert saved["global_step"] == 1
    return fit(root, looks, validated, resumed=True)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


@pytest.mark.slow
@pytest.mark.parametrize(("validated", "lost"), [(3, False), (4, True)], ids=["at a step", "between steps"])
def test_what_was_accumulated_before_a_checkpoint_is_lost_by_lightning_and_not_by_looks(
    tmp_path: Path, validated: int, lost: bool
) -> None:
    alone = {name: fit(tmp_path / name, name == "watched", validated) for name in ("alone", "watched")}
    assert same(alone["alone"], alone["watched"])
    without = interrupted(tmp_path / "interrupted alone", False, validated)
    assert same(without, alone["alone"]) is not lost, "docs/undisturbed.md says otherwise"
    assert same(interrupted(tmp_path / "interrupted and watched", True, validated), without)


@pytest.mark.slow
@pytest.mark.parametrize("looks", [False, True], ids=["alone", "looked at"])
def test_training_resumed_at_a_step_saves_that_step_over_again_once_it_has_accumulated_more(
    tmp_path: Path, looks: bool
) -> None:
    def fit(broken: int, resumed: Path | None = None) -> int:
        """Train until batch `broken`; returns how many batches the checkpoint of the first step has seen."""
        saver = ModelCheckpoint(tmp_path / "checkpoints", filename="{step}", every_n_train_steps=1, save_top_k=-1)
        watching = [watcher(tmp_path, null_samples=0, bootstrap_samples=2, max_overhead=None)] if looks else []
        callbacks = (saver, *watching, Broken(broken))
        fitting = trainer(tmp_path, *callbacks, max_epochs=1, accumulate_grad_batches=ACCUMULATED)
        with pytest.raises(RuntimeError, match="power cut"):
            fitting.fit(Net(plain_net()), Resumable(task(16 * BATCHES), batch_size=16), ckpt_path=resumed)
        saved = torch.load(tmp_path / "checkpoints/step=1.ckpt", weights_only=True)
        assert saved["global_step"] == 1
        return int(saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"])

    assert fit(ACCUMULATED + 1) == ACCUMULATED
    # One batch more, whose gradients no checkpoint holds: whoever resumes from there has lost them.
    assert fit(ACCUMULATED + 1, tmp_path / "checkpoints/step=1.ckpt") == ACCUMULATED + 1
