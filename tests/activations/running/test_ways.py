"""Which ways of running a network there are, and which one is taken."""

from __future__ import annotations

import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_gw.activations.isolation.steps import harmless_steps, kept_weights
from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.activations.running.contract import choose_way
from lightning_gw.activations.running.forward import Way, training_way, ways_to_run
from lightning_gw.utilities.errors import ArgumentError, LookError

X = torch.randn(4, 8)


class Everything(pl.LightningModule):
    def probe_step(self, batch: Any) -> str:
        return "probe_step"

    def forward(self, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        return x, scale

    def training_step(self, batch: Any, batch_idx: int) -> tuple[str, int]:
        return "training_step", batch_idx

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> tuple[str, int, int]:
        return "validation_step", batch_idx, dataloader_idx

    def predict_step(self, batch: Any) -> str:
        return "predict_step"

    def encode(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
def test_only_what_a_module_defines_is_tried(package: str) -> None:
    module_class = pytest.importorskip(package).LightningModule

    class WithForward(module_class):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor) -> Tensor:
            return x

    assert ways_to_run(module_class()) == []
    assert [way.name for way in ways_to_run(WithForward())] == ["forward", "predict_step"]
    assert training_way(WithForward()) is None


def test_every_way_is_called_as_its_author_promised() -> None:
    module = Everything()
    ways = ways_to_run(module, lambda module, batch: "argument")
    assert [way.name for way in ways][1:] == ["probe_step", "validation_step", "forward", "predict_step"]
    assert ways[0].asked
    assert not ways[1].asked
    results = [way.run(module, (X, X)) for way in ways]
    assert results == ["argument", "probe_step", ("validation_step", 0, 0), (X, X), "predict_step"]
    assert training_way(module).run(module, X) == ("training_step", 0)


def test_a_method_may_be_asked_for_by_name() -> None:
    module = Everything()
    assert ways_to_run(module, "encode")[0].run(module, (X, "label")) is X
    assert ways_to_run(module, "training_step")[0].run(module, X) == ("training_step", 0)
    with pytest.raises(ArgumentError, match=r"probe_step='encod' names no method of Everything\. Near names: encode"):
        ways_to_run(module, "encod")


def way(name: str, asked: bool = False) -> Way:
    return Way(name, lambda module, batch: None, asked)


def attempts(**outcomes: int | Exception) -> Any:
    def attempt(way: Way) -> int:
        outcome = outcomes[way.name]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return attempt


def test_the_first_way_that_calls_all_layers_is_taken_else_the_one_that_calls_most() -> None:
    ways = [way("a"), way("b"), way("c")]
    assert choose_way(ways, attempts(a=4, b=4, c=4), 4).way.name == "a"
    assert choose_way(ways, attempts(a=2, b=4, c=4), 4).way.name == "b"
    assert choose_way(ways, attempts(a=2, b=3, c=3), 4).way.name == "b"
    chosen = choose_way(ways, attempts(a=TypeError("no"), b=2, c=1), 4)
    assert chosen.way.name == "b"
    assert chosen.failed == (("a", "TypeError: no"),)
    assert choose_way([way("mine", asked=True), way("b")], attempts(mine=2, b=4), 4).way.name == "mine"


def test_what_fails_although_it_was_asked_for_is_said() -> None:
    chosen = choose_way(
        [way("probe_step=mine", asked=True), way("b")], attempts(**{"probe_step=mine": KeyError("x"), "b": 2}), 2
    )
    assert chosen.warnings == [
        "probe_step=mine does not run the network on the probe (KeyError: 'x'), so looks go through b."
    ]


def test_a_remedy_is_named_only_if_it_works() -> None:
    failing = attempts(a=TypeError("not so"), works=2, fails=ValueError("nor so"))
    in_vain, well = ("not this", partial(failing, way("fails"))), ("write this", partial(failing, way("works")))
    with pytest.raises(LookError, match=r"\(a: TypeError: not so\)\. This works: write this$"):
        choose_way([way("a")], failing, 2, [in_vain, well])
    with pytest.raises(LookError, match=r"Nothing else that was tried works either.*probe_step=function"):
        choose_way([way("a")], failing, 2, [in_vain])
    wrong = attempts(a=ArgumentError("layers='x' is idle"), b=TypeError("no"))
    with pytest.raises(ArgumentError, match="layers='x' is idle"):
        choose_way([way("a"), way("b")], wrong, 2)


class Busy(pl.LightningModule):
    """Its step logs, prints, optimizes and stops the training."""

    def __init__(self, raw: bool = False) -> None:
        super().__init__()
        self.net = nn.Linear(8, 2)
        self.raw = torch.optim.SGD(self.parameters(), 1.0) if raw else None

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad(set_to_none=False)
        loss = self.net(batch).sum()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, 0.1)
        optimizer.step()
        scheduler.step()
        self.log("loss", loss)
        self.print("printed")
        self.logger.experiment.add_scalar("loss", loss)
        self.trainer.should_stop = True
        if self.raw is not None:
            self.raw.step()
        return optimizer.param_groups[0]["lr"]


def test_steps_are_without_effect(capsys: pytest.CaptureFixture[str]) -> None:
    module = Busy()
    optimizer = torch.optim.Adam(module.parameters(), 0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    heard: list[Any] = []
    real = SimpleNamespace(experiment=SimpleNamespace(add_scalar=lambda *args: heard.append(args)))
    trainer.loggers = [real]  # type: ignore[list-item]
    trainer.strategy.connect(module)
    trainer.strategy.optimizers = [optimizer]
    trainer.strategy.lr_scheduler_configs = [SimpleNamespace(scheduler=scheduler)]  # type: ignore[list-item]
    module.net(X).sum().backward()
    gradient, weight = module.net.weight.grad.clone(), module.net.weight.detach().clone()
    with undisturbed(module, trainer) as disturbed, harmless_steps(module, trainer), kept_weights(module) as changed:
        assert module.validation_step(X, 0) == 0.5
    assert (changed, disturbed, heard) == ([], [], [])
    assert "printed" not in capsys.readouterr().out
    assert torch.equal(module.net.weight, weight)
    assert torch.equal(module.net.weight.grad, gradient)
    assert not optimizer.state
    assert scheduler.last_epoch == 0
    assert trainer.loggers == [real]
    assert not trainer.should_stop
    assert module._trainer is None, "it was lent the Trainer"


def test_what_a_step_writes_by_itself_goes_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    logged: list[Any] = []
    wandb = SimpleNamespace(log=logged.append, run=SimpleNamespace(log=logged.append))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (tmp_path / "samples").mkdir()
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    with harmless_steps(Everything(), trainer):
        with open("predictions.csv", "a") as file:
            file.write("1,2")
        Path("samples/0.json").write_text("{}")
        np.save(tmp_path / "samples/0.npy", np.zeros(3))
        torch.save({"x": X}, "last.pt")
        Path(".cache").write_text("compiled")
        others = threading.Thread(target=Path("logs.txt").write_text, args=("of another thread",))
        others.start()
        others.join()
        wandb.log({"loss": 1})
        wandb.run.log({"loss": 1})
    assert logged == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".cache", "logs.txt", "samples"]
    Path("after.txt").write_text("written")
    wandb.log("again")
    assert (Path("after.txt").read_text(), logged) == ("written", ["again"])


def test_hooks_of_validation_may_make_what_its_step_takes_up() -> None:
    class Collecting(Everything):
        def on_validation_epoch_start(self) -> None:
            self.outputs: list[Any] = []

        def validation_step(self, batch: Any, batch_idx: int) -> int:  # type: ignore[override]
            self.outputs.append(batch)
            return len(self.outputs)

    ways = {way.name: way for way in ways_to_run(Collecting())}
    assert list(ways)[1:3] == ["validation_step", "validation_step after on_validation_epoch_start"]
    with pytest.raises(AttributeError, match="outputs"):
        ways["validation_step"].run(Collecting(), X)
    assert ways["validation_step after on_validation_epoch_start"].run(Collecting(), X) == 1


def test_an_optimizer_of_its_own_takes_no_step() -> None:
    module = Busy(raw=True)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    own = torch.optim.SGD(module.parameters(), 1.0)
    refused = pytest.raises(RuntimeError, match="steps a SGD, which would train it")
    with refused, undisturbed(module, trainer), harmless_steps(module, trainer):
        module.raw.step()
    own.step()


def test_weights_are_put_back_however_they_are_written_to() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module.teacher = [nn.Linear(2, 2)]
    module[1].weight.data[0, 0] = float("nan")
    before = [weight.detach().clone() for weight in (*module.parameters(), *module.teacher[0].parameters())]
    with kept_weights(module) as changed, torch.no_grad():
        module[0].weight.data.mul_(2)
        module[0].bias.add_(1)
        module.teacher[0].weight.data.lerp_(module[0].weight, 0.1)
    assert changed == ["0.weight", "0.bias", "teacher[0].weight"]
    after = [*module.parameters(), *module.teacher[0].parameters()]
    assert all(torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in zip(before, after, strict=True))
