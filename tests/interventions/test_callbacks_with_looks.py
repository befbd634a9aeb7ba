"""Callbacks that act on groups, on several processes and with the looks of a real watcher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from callback_nets import loader, watcher
from grouped_nets import Looks, Net, fit, look
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_gw import DropLayers, FreezeSettledGroups, TrainGroup


class OfRank(Net):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_train_end(self) -> None:
        trained = [name for name, parameter in self.named_parameters() if parameter.requires_grad]
        weights = {name: weight.detach() for name, weight in self.named_parameters()}
        torch.save({"trained": trained, "weights": weights}, self.folder / f"rank-{self.global_rank}.pt")
        self.trainer.strategy.barrier()


class LooksOnFirst(Looks):
    """As GWSimilarity: only the first process has the history, all know when there was a look."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        super().on_train_batch_end(trainer)
        if trainer.global_rank:
            self.history = None
            self.last_look = trainer.global_step


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
@pytest.mark.parametrize(
    ("make", "left"),
    [
        (lambda: FreezeSettledGroups(looks=2, floor=0.5), {2, 3, 4, 5, 6, 7, 8}),
        (lambda: TrainGroup(at=0.3), {6, 7, 8}),
        (lambda: DropLayers(at=0.3), {0, 1, 2, 3, 4, 5, 6}),
    ],
    ids=["freeze", "train", "drop"],
)
@pytest.mark.representatives("freeze")
def test_two_processes_do_alike(tmp_path: Path, make: Any, left: set[int]) -> None:
    def run(strategy: str) -> None:
        looks = LooksOnFirst([look(k) for k in range(1, 7)])
        options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        options |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "use_distributed_sampler": True}
        made = Trainer(
            accelerator="cpu",
            devices=2,
            strategy=strategy,
            max_steps=6,
            default_root_dir=tmp_path,
            callbacks=[looks, make()],
            **options,
        )
        made.fit(OfRank(tmp_path), loader(64, 8))

    run("ddp_fork_find_unused_parameters_true")
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt") for rank in (0, 1))
    assert first["trained"] == second["trained"]
    trained = {int(name.split(".")[1]) for name in first["trained"] if name.startswith("blocks")}
    assert trained == left
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)
    with pytest.raises(Exception, match="ddp_find_unused_parameters_true"):
        run("ddp_fork")


@pytest.mark.slow
def test_with_the_looks_of_a_real_watcher(tmp_path: Path) -> None:
    watching = watcher(tmp_path, layers="blocks.*", every_n_steps=2, null_samples=0, max_overhead=None)
    freezing = FreezeSettledGroups(looks=2, tolerance=50.0, anyway=True)
    fit(tmp_path, watching, freezing, steps=6)
    assert watching.history is not None
    records = list(watching.history)
    assert watching.last_look == records[-1].step == 6
    stood = [r for r in records[:-1] if r.groups.strength != "none"]
    assert bool(freezing.frozen) <= bool(stood)


@pytest.mark.slow
@pytest.mark.parametrize("layers", ["blocks.*", None])
def test_layers_that_were_removed_are_looked_at_where_they_stood(tmp_path: Path, layers: str | None) -> None:
    def callbacks(folder: str) -> list[Any]:
        saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=4, save_top_k=-1)
        options = {"layers": layers, "every_n_steps": 2, "null_samples": 0, "max_overhead": None}
        return [watcher(tmp_path / folder, **options), DropLayers(layers=["blocks.3", "blocks.4"], at=0.2), saver]

    whole, resumed = callbacks("whole"), callbacks("resumed")
    fit(tmp_path, *whole, steps=6)
    assert whole[0].history[-1].step == 6
    np.testing.assert_allclose(whole[0].history[-1].groups.adjacent[2:4], 0, atol=1e-6)
    (saved,) = (tmp_path / "saved").glob("*step=4.ckpt")
    fit(tmp_path, *resumed, steps=6, ckpt_path=str(saved))
    for live, again in zip(whole[0].history, resumed[0].history, strict=True):
        assert (again.step, again.layers, again.groups.labels) == (live.step, live.layers, live.groups.labels)
        np.testing.assert_array_equal(again.gw.distortion, live.gw.distortion)
