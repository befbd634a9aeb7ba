"""The validation that layers are left out of: called as Lightning calls it, unheard, judged as the run judges it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from callback_nets import CLASSES, Block, loader, trainer
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn

from lightning_gw.interventions import skip_test
from lightning_gw.interventions.validation import lower_is_better, watched_modes
from lightning_gw.utilities.errors import LookError


class Stack(LightningModule):
    """Five blocks and a head; subclasses say how they are validated."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(*(Block(8) for _ in range(5)), nn.Linear(8, CLASSES))
        self.seen: list[int] = []

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])


class OfBatchAlone(Stack):
    def validation_step(self, batch: Any) -> Tensor:
        return self.loss(batch)


class OfLoader(Stack):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Tensor:
        assert dataloader_idx == 0
        return self.loss(batch) * (1 + batch_idx)


class Begun(Stack):
    """What its step takes up is made where validation starts."""

    def on_validation_start(self) -> None:
        self.outputs: list[Tensor] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.outputs.append(self.loss(batch))

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", torch.stack(self.outputs).mean())


@pytest.mark.parametrize("kind", [OfBatchAlone, OfLoader, Begun])
def test_the_validation_is_called_as_lightning_calls_it(kind: Any) -> None:
    net, batches = kind(), list(loader(48, 16))
    found = skip_test(net, batches, layers="net.[0-4]")
    losses = [float(net.loss(batch)) for batch in batches]
    weights = [1, 2, 3] if kind is OfLoader else [1, 1, 1]
    assert found.whole == pytest.approx(sum(w * loss for w, loss in zip(weights, losses, strict=True)) / 3, rel=1e-5)
    assert not any(row.reason for row in found.layers)


class Heard(Logger):
    """Remembers what it is told."""

    name, version = "heard", 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Any] = []

    @property
    def experiment(self) -> Any:
        return SimpleNamespace(log=self.rows.append)

    def log_metrics(self, *row: Any, **more: Any) -> None:
        self.rows.append(row)

    def log_hyperparams(self, *row: Any, **more: Any) -> None:
        self.rows.append(row)


class Telling(Stack):
    """Tells its logger, the terminal and the disk of every validation."""

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def on_validation_epoch_end(self) -> None:
        assert self.logger is not None
        self.logger.experiment.log("a picture")
        self.print("validated")
        torch.save(torch.ones(1), Path(self.trainer.default_root_dir, "validated.pt"))


def test_nobody_hears_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, heard = Telling(), Heard()
    net.trainer = made = trainer(tmp_path, logger=heard)
    skip_test(net, list(loader(48, 16)), layers="net.[0-4]", trainer=made)
    assert heard.rows == []
    assert made.loggers == [heard]
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "validated.pt").exists()
    net.on_validation_epoch_end()
    assert heard.rows == ["a picture"]
    assert capsys.readouterr().out == "validated\n"


def test_a_validation_that_fails_says_where() -> None:
    class Failing(Stack):
        def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.net(batch[1])

    with pytest.raises(LookError, match=r"The validation cannot be run \(.*'net\.0"):
        skip_test(Failing(), list(loader(48, 16)), layers="net.[0-4]")


class Scored(Stack):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/score", self.loss(batch))
        self.log("val/wer", self.loss(batch))


def test_which_way_is_better_is_what_was_told_else_what_the_name_says() -> None:
    told = watched_modes([ModelCheckpoint(monitor="val/score", mode="min"), EarlyStopping("val/top5", mode="max"), 3])
    assert told == {"val/score": "min", "val/top5": "max"}
    for mode, expected in ((told, "min"), (None, "max"), ("min", "min"), ({"val/wer": "max"}, "max")):
        found = skip_test(Scored(), list(loader(16, 16)), layers="net.[0-1]", monitor="val/score", mode=mode)
        assert found.mode == expected
        better = "less of it is better" if expected == "min" else "more of it is better"
        assert better in found.sentences()[0]
    lower = ("val/wer", "cer", "test_lpips", "val_loss", "rmse", "ECE")
    assert [name for name in lower if not lower_is_better(name)] == []
    higher = ("val/power", "fidelity", "piece_accuracy", "auroc")
    assert [name for name in higher if lower_is_better(name)] == []
