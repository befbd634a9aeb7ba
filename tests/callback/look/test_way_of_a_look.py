"""What a look hands on goes one way: from the hook to W&B's row it passes no file twice.

Pictures, which are drawn from the record beside the row, are no part of the way.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import wandb
from callback_nets import Net, loader, trainer, watcher
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger

import lightning_gw as lgw
from lightning_gw.analysis.job import LookJob
from lightning_gw.records.context import LookContext
from lightning_gw.records.record import Record

PACKAGE = f"{Path(lgw.__file__).parent}/"
#: What a look is at each stage: what is known of the training, the same with what the layers put out, what was found.
STAGES = (LookContext, LookJob, Record)


class Walk(Callback):
    """Notes which function of the package is called with which of the `STAGES` while one batch ends."""

    def __init__(self, step: int) -> None:
        self.calls: list[tuple[str, str]] = []
        self._step = step

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self._step:
            sys.setprofile(self._note)

    def on_train_batch_end(self, *_: Any) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if event != "call" or not path.startswith(PACKAGE) or "/figures/" in path:
            return
        if frame.f_code.co_name.startswith("<"):  # an expression of the function that holds it
            return
        for value in frame.f_locals.values():
            if type(value) in STAGES and path not in _homes(type(value)):
                self.calls.append((type(value).__name__, path.removeprefix(PACKAGE)))


def _homes(kind: type) -> set[str | None]:
    """Files of a value's own methods, inherited ones too, which are no place that it passes."""
    return {getattr(sys.modules[base.__module__], "__file__", None) for base in kind.__mro__}


def test_no_file_is_passed_twice_from_the_hook_to_the_row(tmp_path: Path) -> None:
    callback = watcher(tmp_path, when=[3])
    walk = Walk(step=2)  # the third step ends there
    fit = trainer(tmp_path, walk, logger=WandbLogger(save_dir=tmp_path, mode="offline"))
    fit.callbacks.insert(fit.callbacks.index(walk), callback)  # before the walk, which ends with the batch
    fit.fit(Net(), loader(64, 16), loader(64, 16))
    wandb.finish()  # or the next test's logger would write to this run
    assert callback.history is not None
    assert 3 in [record.step for record in callback.history]
    ways = {stage.__name__: [file for name, file in walk.calls if name == stage.__name__] for stage in STAGES}
    for stage, files in ways.items():
        stays = [file for file, _ in groupby(files)]
        assert len(stays) == len(set(stays)), f"{stage} comes back: {stays}"
    # Each hand-over is really there: a walk that sees nothing would pass.
    assert ways["LookJob"][0] == "callback/look/look_maker.py"
    assert "analysis/solver.py" in ways["LookJob"]
    assert ways["LookContext"][0] == "analysis/analysis.py"
    assert ways["Record"][0] == "callback/delivery.py"
    assert "loggers/scalars.py" in ways["Record"]
