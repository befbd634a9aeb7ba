"""How a look runs a network whose forward takes what nobody promised; and what becomes of one that cannot be run."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torchmetrics
from callback_nets import CLASSES, Block, loader, steps, task, trainer, watcher
from every_training import differences
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from lightning_gw import GWSimilarity

pytestmark = pytest.mark.usefixtures("few_draws")


class Base(pl.LightningModule):
    """Blocks, and a training step that takes the batch apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inputs = nn.Linear(8, 12)
        self.blocks = nn.Sequential(Block(dropout=0.2), Block(), Block())
        self.head = nn.Linear(12, CLASSES)

    def run(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.inputs(x)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = nn.functional.cross_entropy(self.run(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), 1e-2)


def as_mappings(items: list[Any]) -> dict[str, Tensor]:
    x, y = default_collate(items)
    return {"image": x, "label": y}


class Mappings(Base):
    """As torchgeo's: the batch is a mapping, forward takes a tensor, and metrics are kept."""

    collate = staticmethod(as_mappings)

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(CLASSES)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step((batch["image"], batch["label"]), batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        output = self(batch["image"])
        self.seen.append(output)
        self.accuracy(output, batch["label"])
        self.log("accuracy", self.accuracy)
        self.log_dict({"val_loss": nn.functional.cross_entropy(output, batch["label"]), "first": float(batch_idx)})
        if self.logger is not None:
            self.logger.log_metrics({"by hand": 1.0})


class NoForward(Base):
    """Nothing but steps; the batch is taken apart in a way of its own."""

    @staticmethod
    def collate(items: list[Any]) -> Any:
        x, y = default_collate(items)
        return "labels first", y, x

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step((batch[2], batch[1]), batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.run(batch[2])


class Views(Base):
    """As in contrastive learning: two views of every input, in a list."""

    @staticmethod
    def collate(items: list[Any]) -> Any:
        x, y = default_collate(items)
        return [x, x + 0.1], y

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step((batch[0][0], batch[1]), batch_idx)

    def validation_step(self, batch: Any, *rest: Any) -> Tensor:
        return self.run(batch[0][1])


class ViewsAlone(Base):
    """As lightly's: nothing validates, and forward takes one of the views."""

    collate = staticmethod(Views.collate)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step((batch[0][0], batch[1]), batch_idx)


class ReachingItsCallbacks(Mappings):
    """As scvi-tools' plans: something that it keeps leads to the Trainer, and so to the callback that looks."""

    def setup(self, stage: str) -> None:
        self.kept = {"callbacks": list(self.trainer.callbacks)}


class Teaching(Base):
    """Its validation step moves the weights of a momentum encoder, so forward has to do."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.Linear(8, 12).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        for mine, theirs in zip(self.inputs.parameters(), self.teacher.parameters(), strict=True):
            theirs.data.lerp_(mine.data, 0.5)
        return self.run(batch[0])


class Predicting(Base):
    """Only predict_step runs the network on a whole batch."""

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.run(batch[0])


EXAMPLES: dict[str, tuple[Callable[[], Base], str]] = {
    "mappings": (Mappings, "validation_step"),
    "no forward": (NoForward, "validation_step"),
    "views": (Views, "validation_step"),
    "momentum encoder": (Teaching, "forward"),
    "predict": (Predicting, "predict_step"),
    "views alone": (ViewsAlone, "forward, of the first tensor"),
    "reaching its callbacks": (ReachingItsCallbacks, "validation_step"),
}


def fit(root: Path, build: Callable[[], Base], *watching: GWSimilarity, **options: Any) -> dict[str, Any]:
    """Train from a fixed seed, and give back what a look could have left different."""
    pl.seed_everything(3, verbose=False)
    module = build()
    collate = getattr(module, "collate", default_collate)
    logger = CSVLogger(root, name="log", version="one")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(does not have many workers|logging interval|GPU|sync_dist).*")
        fitted = trainer(root, *watching, logger=logger, log_every_n_steps=1, **options)
        fitted.fit(
            module,
            DataLoader(task(48), 12, shuffle=True, collate_fn=collate),
            DataLoader(task(24, seed=1), 8, collate_fn=collate),
        )
    ours = [name for name in fitted.logged_metrics if name.startswith("gw/")]
    assert ours == []
    return {
        "weights": module.state_dict(),
        "optimizer": [optimizer.state_dict() for optimizer in fitted.optimizers],
        "random states": [random.getstate(), torch.get_rng_state()],
        "logged": {name: float(value) for name, value in fitted.callback_metrics.items()},
        "seen": list(getattr(module, "seen", ())),
        "steps": fitted.global_step,
        "training": [child.training for child in module.modules()],
        "attributes": sorted(vars(module)),
    }


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.representatives("mappings", "momentum encoder", "views alone")
def test_a_network_is_run_as_its_author_promised_and_trains_undisturbed(tmp_path: Path, name: str) -> None:
    build, through = EXAMPLES[name]
    callback = watcher(tmp_path / "with", when=[2, 5], max_overhead=None)
    watched = fit(tmp_path / "with", build, callback)
    assert differences(watched, fit(tmp_path / "without", build)) == []
    assert steps(callback) == [0, 2, 5, 8]
    assert callback.history is not None
    assert [record.probe["through"] for record in callback.history] == [through] * 4
    assert callback.history[-1].gw.distortion.max() > 0


class Adversarial(Base):
    """Optimizes by hand; nothing but its training step knows how it is run."""

    automatic_optimization = False

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def forward(self, noise: Tensor) -> Tensor:
        return self.blocks(noise)

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        optimizer = self.optimizers()
        self.toggle_optimizer(optimizer)
        loss = nn.functional.cross_entropy(self.run(batch[0]), batch[1])
        self.log("loss", loss)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.untoggle_optimizer(optimizer)


def test_the_remedy_that_is_named_works(tmp_path: Path) -> None:
    callback = watcher(tmp_path / "none", when=[2], on_error="warn")
    with pytest.warns(UserWarning, match=r"does not look at this network.*This works: .*probe_step='training_step'"):
        watched = fit(tmp_path / "none", Adversarial, callback)
    alone = fit(tmp_path / "alone", Adversarial)
    assert differences(watched, alone) == []
    assert not callback.history
    remedied = watcher(tmp_path / "with", when=[2], probe_step="training_step")
    assert differences(fit(tmp_path / "with", Adversarial, remedied), alone) == []
    assert steps(remedied) == [0, 2, 8]
    assert remedied.history[0].probe["through"] == "probe_step='training_step'"


class Unknown(Base):
    """Nobody outside could run it: every step takes what only training has."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if not self.training:
            raise RuntimeError("only in training")
        return super().training_step(batch, batch_idx)


def test_where_no_way_works_training_goes_on_and_it_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = watcher(tmp_path / "with", on_error="warn", verbose=True, every_n_steps=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watched = fit(tmp_path / "with", Unknown, callback)
    said = [str(warning.message) for warning in caught if "GWSimilarity" in str(warning.message)]
    assert len([message for message in said if "does not look at this network" in message]) == 1
    assert "it defines no forward and no step" in said[-1]
    assert "GWSimilarity(probe_step=function)" in said[-1]
    assert "gw" not in capsys.readouterr().out
    assert not (tmp_path / "with/gw").exists()
    assert differences(watched, fit(tmp_path / "without", Unknown)) == []
    with pytest.raises(RuntimeError, match="could not be run on the probe"):
        fit(tmp_path / "strict", Unknown, watcher(tmp_path / "strict", on_error="raise"))


class Compiled(Base):
    """As exported: the blocks, each of them or all as one, are modules of torch.jit."""

    def __init__(self, how: str) -> None:
        super().__init__()
        blocks = nn.Sequential(Block(), Block(), Block())
        if how == "blocks":
            self.blocks = nn.Sequential(*map(torch.jit.script, blocks))
        else:
            self.blocks = torch.jit.script(blocks) if how == "script" else torch.jit.trace(blocks, torch.ones(2, 12))
        self.inputs, self.head = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(nn.functional.pad(x, (0, 4)))[:, :CLASSES]

    run = forward


@pytest.mark.parametrize("how", ["blocks", "script", "trace"])
@pytest.mark.representatives("script")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_modules_are_named_and_training_goes_on(tmp_path: Path, how: str) -> None:
    callback = watcher(tmp_path, on_error="warn")
    with pytest.warns(UserWarning, match=r"blocks(\.0)? was compiled by torch\.jit.*Train the plain module"):
        trainer(tmp_path, callback, max_steps=2).fit(Compiled(how), loader(32), loader(16))
    assert not callback.history


def test_a_probe_step_that_fails_gives_way_and_that_is_said(tmp_path: Path) -> None:
    callback = watcher(tmp_path, when=[2], on_error="warn", probe_step=lambda module, batch: module.run(batch["x"]))
    with pytest.warns(UserWarning, match=r"probe_step=.* does not run the network .*looks go through validation_step"):
        fit(tmp_path, NoForward, callback)
    assert callback.history[0].probe["through"] == "validation_step"


def test_too_few_inputs_end_no_training(tmp_path: Path) -> None:
    callback = watcher(tmp_path, when=[2], on_error="warn", probe_size=None)
    module = NoForward()
    module.validation_step = None  # type: ignore[assignment]
    few = DataLoader(task(3), 3, collate_fn=NoForward.collate)
    with pytest.warns(UserWarning, match=r"does not look .* training goes on without: .*holds 3 inputs; at least 4"):
        trainer(tmp_path, callback, max_epochs=2).fit(module, few)
    assert module.trainer.global_step == 2


@pytest.mark.representatives("pytorch_lightning")
@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
def test_steps_of_either_package(tmp_path: Path, package: str) -> None:
    package_of = pytest.importorskip(package)

    class Steps(package_of.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 12), nn.Linear(12, CLASSES))

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.training_step(batch, batch_idx))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    callback = watcher(tmp_path, when=[2])
    trainer(tmp_path, callback, pl=package_of, max_epochs=1).fit(Steps(), loader(), loader(32))
    assert callback.history[0].probe["through"] == "validation_step"
