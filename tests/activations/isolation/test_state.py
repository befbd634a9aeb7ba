"""A look that cannot be put back as a whole puts back the rest, training mode first, and names what it could not."""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gw import GWSimilarity
from lightning_gw.activations.isolation import undisturbed as undisturbed_module
from lightning_gw.activations.isolation.snapshot import ModuleSnapshot
from lightning_gw.activations.isolation.undisturbed import changes_of, undisturbed
from lightning_gw.utilities.errors import RestoreError

pytestmark = pytest.mark.usefixtures("few_draws")

WIDTH = 6


class Spiteful:
    """A key that refuses to be compared."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("keys of this kind are not compared")

    def __hash__(self) -> int:
        return id(self)


class Stubborn(random.Random):
    """A random generator whose state can be read, and not set."""

    refuses = False

    def setstate(self, state: Any) -> None:
        if self.refuses:
            raise RuntimeError("this generator cannot be turned back")
        super().setstate(state)


class Remembering(nn.Module):
    """A layer that remembers what `remember` says, in evaluation mode only."""

    def __init__(self, memory: str) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(0.1)
        self.kind = memory
        self.memo: dict[Any, Any] = {}
        if memory == "tensor keys":
            self.memo[torch.zeros(2)] = 0
        elif memory == "array in a tuple":
            self.memo[(1, Spiteful())] = np.zeros(2)
        elif memory == "inference":
            with torch.inference_mode():
                self.register_buffer("seen", torch.zeros(3))
        elif memory == "expanded before its base":
            base = torch.zeros(1)
            self.register_buffer("seen", base.expand(WIDTH))
            self.register_buffer("base", base)
        elif memory == "windows":
            self.register_buffer("seen", torch.zeros(8).unfold(0, 4, 2))
        elif memory == "stubborn":
            self.memo["rng"] = Stubborn(0)
            self.memo["rng"].refuses = True

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            self.remember()
        return self.drop(self.linear(x))

    def remember(self) -> None:
        if self.kind == "tensor keys":
            self.memo[torch.ones(2)] = 1
        elif self.kind == "array in a tuple":
            self.memo[(2, Spiteful())] = 1
        elif self.kind == "inference":
            with torch.inference_mode():
                self.seen.add_(1)
        elif self.kind == "expanded before its base":
            self.base.add_(1)
        elif self.kind == "windows":
            self.seen[0, 3:].add_(1)
        elif self.kind == "stubborn":
            self.memo["rng"].random()


RESTORED = ["nothing", "tensor keys", "array in a tuple", "inference", "expanded before its base", "windows"]


class Net(pl.LightningModule):
    def __init__(self, memory: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(8, WIDTH), Remembering(memory), nn.Linear(WIDTH, 3)])
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.modes.append(all(child.training for child in self.modules()) and torch.is_grad_enabled())
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(root: Path, module: Net, **options: Any) -> GWSimilarity:
    defaults = {"when": [2], "effort": "fast", "verbose": False, "max_overhead": None}
    callback = GWSimilarity(save_dir=root, layers="layers.*", **(defaults | options))
    train(root, module, callback)
    return callback


def train(root: Path, module: Net, *callbacks: pl.Callback) -> None:
    x = torch.randn(48, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=list(callbacks),
        default_root_dir=root,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=12))


@pytest.mark.parametrize("memory", RESTORED)
def test_whatever_a_network_remembers_is_put_back(memory: str) -> None:
    net = Net(memory)
    with changes_of(net) as changes, undisturbed(net) as lost:
        net(torch.ones(2, 8))
    assert changes == lost == []
    assert all(child.training for child in net.modules())


@pytest.mark.parametrize("memory", RESTORED)
@pytest.mark.representatives("expanded*", "inference")
def test_a_training_goes_on_in_training_mode_with_the_same_weights(tmp_path: Path, memory: str) -> None:
    watched, alone = Net(memory), Net(memory)
    callback = fit(tmp_path / "watched", watched, on_error="raise")
    assert callback.history is not None
    assert [record.step for record in callback.history] == [0, 2, 4]
    train(tmp_path / "alone", alone)
    assert watched.modes == alone.modes == [True] * 4
    for name, weight in alone.state_dict().items():
        assert torch.equal(watched.state_dict()[name], weight), name


def test_what_cannot_be_put_back_is_named_after_everything_else_was() -> None:
    net = Net("stubborn")

    def look() -> None:
        with undisturbed(net):
            assert not any(child.training for child in net.modules())
            net.layers[2].scale = 3  # remembered after what is stubborn
            net(torch.ones(2, 8))

    with pytest.raises(RestoreError, match=r"layers\.1\.memo\['rng'\] \(RuntimeError: this generator cannot be turned"):
        look()
    assert all(child.training for child in net.modules())
    assert "scale" not in vars(net.layers[2])


@pytest.mark.parametrize("where", ["_restore", "restore", "_set_modes"])
def test_putting_back_that_breaks_off_is_done_once_more(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    owner: Any = ModuleSnapshot if where == "restore" else undisturbed_module
    original, broken = getattr(owner, where), []

    def breaking(*args: Any) -> Any:
        if not broken:
            broken.append(True)
            raise RuntimeError("broken off")
        return original(*args)

    monkeypatch.setattr(owner, where, breaking)
    net = Net("nothing")
    with pytest.raises(RuntimeError, match="broken off"), undisturbed(net):
        net.scale = 3
    assert all(child.training for child in net.modules())
    assert "scale" not in vars(net)
    assert "log" not in vars(net)


def test_an_error_of_the_network_itself_stays_visible_behind_it() -> None:
    net = Net("stubborn")
    with pytest.raises(RestoreError) as caught, undisturbed(net):
        net(torch.ones(2, 7))
    assert "shapes cannot be multiplied" in str(caught.value.__context__)
    assert net.layers[1].training


def test_training_goes_on_in_training_mode_and_no_more_looks_are_made(tmp_path: Path) -> None:
    class Late(Net):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.layers[1].memo["rng"].refuses = batch_idx >= 1

    net = Late("stubborn")
    net.layers[1].memo["rng"].refuses = False
    with pytest.warns(UserWarning, match="could not look at step 2") as said:
        callback = fit(tmp_path, net, when=[1, 2, 3])
    assert net.modes == [True] * 4
    assert callback.history is not None
    assert [record.step for record in callback.history] == [0, 1]
    messages = [str(warning.message) for warning in said]
    assert any("could not look at step 2" in m and "layers.1.memo['rng']" in m for m in messages)
    assert any("makes no more looks after step 2" in m for m in messages)


@pytest.mark.parametrize(("way", "said"), [("ignored", "training=False stays, and was True"), ("refused", "it is set")])
def test_a_mode_that_does_not_come_back_is_named(way: str, said: str) -> None:
    apart = ModuleType("apart")  # whatever a module of Python holds is nobody's memory
    apart.__dict__["training"] = True

    class Sticky(nn.Linear):
        @property
        def training(self) -> bool:
            return apart.training  # type: ignore[no-any-return]

        @training.setter
        def training(self, value: bool) -> None:
            if not value or not vars(self).get("left"):
                apart.training = value
            elif way == "refused":
                raise RuntimeError("it is set")

    net = nn.Sequential(Sticky(2, 2), nn.Dropout())
    net[0].left = True
    apart.training = True

    with pytest.raises(RestoreError, match=rf"training mode of a Sticky \(.*{said}"), undisturbed(net):
        net(torch.ones(1, 2))
    assert net.training
    assert net[1].training


def test_what_is_undone_by_putting_something_else_back_is_named() -> None:
    class Watching(dict[str, int]):
        """Forgets the last entry of another whenever something asks for its own."""

        other: dict[str, int]

        def items(self) -> Any:
            raise AssertionError("it is not asked by methods of its own")

    class Coupled(random.Random):
        touched: list[int]

        def setstate(self, state: Any) -> None:
            super().setstate(state)
            self.touched.append(1)

    net = nn.Linear(2, 2)
    net.table = Watching(a=1)
    net.trace = [0]
    net.rng = Coupled(0)
    net.rng.touched = net.trace

    def look() -> None:
        with undisturbed(net):
            net.table["b"] = 2
            net.trace.append(1)
            net.rng.random()

    with pytest.raises(RestoreError, match=r"trace \(list trace has 2 entries, and had 1\)"):
        look()
    assert dict.__len__(net.table) == 1
