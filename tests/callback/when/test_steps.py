"""Looks of trainings whose global step stands still, or moves several times a batch."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from callback_nets import Net, loader, plain_net, steps, trainer, watcher
from pytorch_lightning import Callback
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn

from lightning_gw.callback.delivery import RecordDelivery
from lightning_gw.callback.error_policy import ErrorPolicy


class ByHand(Net):  # type: ignore[misc, valid-type]
    """Manual optimisation.

    Args:
        raw: Whether the optimizer is one that Lightning does not wrap.
        optimizers: How many there are, each of which steps in every batch.
        every: Batches whose gradients are added up before a step.
    """

    def __init__(self, raw: bool = False, optimizers: int = 1, every: int = 1) -> None:
        super().__init__(plain_net())
        self.automatic_optimization = False
        self.raw, self.count, self.every = raw, optimizers, every

    def training_step(self, batch: Any, batch_idx: int) -> None:
        found = self.optimizers(use_pl_optimizer=not self.raw)
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss, on_step=True)
        self.manual_backward(loss)
        if (batch_idx + 1) % self.every == 0:
            for optimizer in found if isinstance(found, list) else [found]:
                optimizer.step()
            self.zero_grad()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=0.01) for _ in range(self.count)]


class OutsideOfLightning(ByHand):
    """The optimizer is one that Lightning never hears of."""

    def __init__(self) -> None:
        super().__init__()
        self.mine = [torch.optim.Adam(self.net.parameters(), lr=0.01)]

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        return self.mine[0]

    def configure_optimizers(self) -> None:
        return None


WATCHED: dict[str, Any] = {"bootstrap_samples": 0, "null_samples": 0, "max_overhead": None}


@pytest.mark.parametrize("module", [ByHand(raw=True), ByHand(raw=True, optimizers=2), OutsideOfLightning()])
@pytest.mark.representatives("module0")
def test_batches_are_counted_where_the_global_step_stands_still(module: Any, tmp_path: Path) -> None:
    watching = watcher(tmp_path, every_n_steps=3, **WATCHED)
    with pytest.warns(UserWarning, match="counts batches as steps here: the weights change while") as said:
        trainer(tmp_path, watching, logger=CSVLogger(tmp_path)).fit(copy.deepcopy(module), loader())
    assert sum("counts batches" in str(one.message) for one in said) == 1
    assert steps(watching) == [0, 3, 6, 8]  # two epochs of four batches


@pytest.mark.representatives("2")
@pytest.mark.parametrize("every", [1, 2])
def test_of_several_optimizers_looks_are_logged_where_lightning_logs(every: int, tmp_path: Path) -> None:
    watching, logger = watcher(tmp_path, when=[8], **WATCHED), CSVLogger(tmp_path)
    trainer(tmp_path, watching, logger=logger, log_every_n_steps=1).fit(ByHand(optimizers=2, every=every), loader())
    total = 16 // every
    assert steps(watching) == [0, 8, 16][: 3 if total == 16 else 2]
    assert watching.history is not None
    assert [record.axis for record in watching.history] == [0, 4 * every, 8][: 3 if total == 16 else 2]
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [int(row["step"]) for row in rows if row["loss"]]
    looks = [int(row["step"]) for row in rows if row["gw/groups/count"]]
    assert max(looks) <= max(losses) + 1
    assert looks == [record.axis for record in watching.history]


@pytest.mark.parametrize(("logged_at", "expected"), [(8, 8), (None, 16)])
def test_a_skip_test_is_logged_where_the_looks_are(
    monkeypatch: pytest.MonkeyPatch, logged_at: int | None, expected: int
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        "lightning_gw.loggers.dispatch.log_skip_test", lambda _, __, step, ___: asked.append(step) or []
    )
    found: Any = None
    RecordDelivery("gw/", ErrorPolicy("raise"), verbose=False).put_skip_test([], found, 16, logged_at, print)
    assert asked == [expected]


def test_where_there_is_one_optimizer_nothing_is_said_of_an_axis(tmp_path: Path) -> None:
    watching = watcher(tmp_path, every_n_steps=2, **WATCHED)
    trainer(tmp_path, watching, accumulate_grad_batches=2).fit(Net(), loader())
    assert watching.history is not None
    assert [(record.step, record.logged_at) for record in watching.history] == [(0, None), (2, None), (4, None)]
    assert "logged_at" not in watching.history[-1].to_json()


class Saving(Callback):
    """Lightning's own ModelCheckpoint saves nothing while the global step stands still."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")


def test_batches_that_were_counted_are_part_of_a_checkpoint(tmp_path: Path) -> None:
    watching = watcher(tmp_path / "one", **WATCHED)
    trainer(tmp_path, watching, Saving(tmp_path)).fit(ByHand(raw=True), loader())
    assert steps(watching) == [0, 4, 8]
    resumed = watcher(tmp_path / "two", **WATCHED)
    trainer(tmp_path, resumed, max_epochs=3).fit(ByHand(raw=True), loader(), ckpt_path=tmp_path / "1.ckpt")
    assert steps(resumed) == [0, 4, 8, 12]


def test_log_spaced_looks_of_two_optimizers_are_spread_over_the_whole_training(tmp_path: Path) -> None:
    watching = watcher(tmp_path, when="log", looks=3, **WATCHED)
    trainer(tmp_path, watching).fit(ByHand(optimizers=2), loader())
    assert watching.history is not None
    assert [record.axis for record in watching.history] == [0, 1, 3, 8]


class Idle(ByHand):
    """Its optimizer steps once only, so that most batches change nothing."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        if self.trainer.global_step == 0:
            super().training_step(batch, batch_idx)


def test_batches_that_change_nothing_are_no_steps(tmp_path: Path) -> None:
    watching = watcher(tmp_path, every_n_steps=1, **WATCHED)
    trainer(tmp_path, watching).fit(Idle(), loader())
    assert steps(watching) == [0, 1]


def test_the_raw_optimizer_trains_as_without(tmp_path: Path) -> None:
    def trained(*callbacks: Any) -> dict[str, Tensor]:
        module = ByHand(raw=True)
        trainer(tmp_path, *callbacks).fit(module, loader())
        return module.state_dict()

    plain, watched = trained(), trained(watcher(tmp_path, every_n_steps=2, **WATCHED))
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
