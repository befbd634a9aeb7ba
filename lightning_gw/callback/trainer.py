"""What the callback needs to know about a Trainer, of either Lightning package, read from what it offers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def was_interrupted(trainer: Any) -> bool:
    """Whether training ended by an exception or by Ctrl-C; checkpoints saved then are no moments to look at."""
    return str(getattr(trainer.state.status, "value", trainer.state.status)).lower() == "interrupted"


def resumes_another(trainer: Any) -> bool:
    """Whether training goes on from a checkpoint; where that holds no state of a callback, it was another's run."""
    return getattr(trainer, "ckpt_path", None) is not None


def total_steps(trainer: Any) -> float:
    """Optimizer steps that training will take; infinite where the Trainer cannot tell."""
    try:
        total = trainer.estimated_stepping_batches
    except MisconfigurationException:  # accumulation that changes from epoch to epoch
        return math.inf
    except Exception as error:
        if type(error).__name__ == MisconfigurationException.__name__:  # the other Lightning package's
            return math.inf
        raise
    return math.inf if total < 0 else float(total)


def scalar_metrics(trainer: Any) -> dict[str, float]:
    """The metrics logged so far that are single numbers."""
    metrics: Mapping[str, Any] = trainer.callback_metrics
    single = {name: value for name, value in metrics.items() if getattr(value, "numel", lambda: 1)() == 1}
    return {name: float(value) for name, value in single.items()}


def why_no_checkpoints(trainer: Any) -> str | None:
    """Why callbacks will not be told of any checkpoint, in words; None where they will be."""
    savers = list(trainer.checkpoint_callbacks)
    if trainer.fast_dev_run:
        return "fast_dev_run saves none"
    if not savers:
        return "this Trainer has no ModelCheckpoint"
    if all(getattr(saver, "save_weights_only", False) for saver in savers):
        return "with save_weights_only=True callbacks are not told of them"
    return None


def validation_follows(trainer: Any) -> bool:
    """Whether Lightning validates before it trains on, asked as a batch ends; False where nobody can tell."""
    try:
        epoch_loop = trainer.fit_loop.epoch_loop
        due = epoch_loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
        return bool(due and not epoch_loop._skip_next_val and sum(epoch_loop.val_loop.max_batches) > 0)
    except Exception:  # it asks what Lightning keeps to itself, which may be otherwise in another version
        return False


def training_ends(trainer: Any) -> bool:
    """Whether a validation that begins now is the last of its training, as far as can be told."""
    over = trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
    epochs = trainer.max_epochs
    return bool(over or (epochs is not None and 0 <= epochs <= trainer.current_epoch + 1))


def finish_queued_work(trainer: Any) -> None:
    """Wait until the device has done what training gave it, so that a look is not charged with it."""
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize(trainer.strategy.root_device)


def refuse_namesakes(trainer: Any, callback: Any) -> None:
    """Allow one callback of a class and name in a Trainer.

    Raises:
        ValueError: If there are two; the message says how to tell them apart.
    """
    name = callback.name
    if sum(isinstance(other, type(callback)) and other.name == name for other in trainer.callbacks) > 1:
        have = "have no name" if name is None else f"have the same name, {name!r},"
        raise ValueError(
            f"Two GWSimilarity callbacks {have} and would write to the same folder and checkpoint entry. Tell them "
            "apart: GWSimilarity(name='words'), GWSimilarity(name='images')."
        )
