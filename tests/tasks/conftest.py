"""A Trainer small enough for tests of the tasks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytorch_lightning import Trainer


@pytest.fixture
def tiny_trainer(tmp_path) -> Callable[..., Trainer]:
    """Makes Trainers that are quiet, run on the CPU, count steps rather than epochs and write under tmp_path."""

    def make(**options) -> Trainer:
        defaults = {
            "default_root_dir": tmp_path,
            "accelerator": "cpu",
            "max_epochs": -1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "limit_val_batches": 0,
            "gradient_clip_val": 1.0,
        }
        return Trainer(**{**defaults, **options})

    return make
