"""Layers removed where it is not plain: compiled, called at random, read by others, in groups of an optimizer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from callback_nets import loader, trainer
from grouped_nets import Net, Trained, fit
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging
from torch import Tensor, nn

from lightning_gw import DropLayers
from lightning_gw.interventions import DroppedLayer, expect_dropped_layers
from lightning_gw.interventions.identity import SkipError


def without(net: Net, *left_out: int) -> Any:
    """What the network computes without these blocks."""

    def run(state: Tensor) -> Tensor:
        for place, block in enumerate(net.blocks):
            state = state if place in left_out else block(state)
        return net.head(state)

    return run


@pytest.mark.parametrize("whole", [False, True], ids=["blocks", "whole"])
@pytest.mark.representatives("blocks")
def test_layers_of_compiled_networks_are_removed(tmp_path: Path, whole: bool) -> None:
    net, trained = Net(), Trained()
    if not whole:
        for place, block in enumerate(net.blocks):
            net.blocks[place] = torch.compile(block, backend="eager")
    made = trainer(tmp_path, DropLayers(layers=["blocks.3", "blocks.4"], at=0.2), trained, max_epochs=-1, max_steps=5)
    made.fit(torch.compile(net, backend="eager") if whole else net, loader())
    assert trained.moved[0] == set(range(9))
    assert trained.moved[-1] == set(range(9)) - {3, 4}
    assert [isinstance(block, DroppedLayer) for block in net.blocks] == [place in (3, 4) for place in range(9)]
    x = torch.randn(4, 8)
    torch.testing.assert_close(net(x), without(net, 3, 4)(x))


class Reading(Net):
    """Looks into one of its blocks."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.blocks[4].norm.weight.mean()


def test_a_layer_that_others_look_into_is_put_back_and_named(tmp_path: Path) -> None:
    net, dropping = Reading(), DropLayers(layers=["blocks.4", "blocks.5"], at=0.5)
    made = trainer(tmp_path, dropping, max_epochs=-1, max_steps=6)
    with pytest.raises(AttributeError, match=r"'blocks\.4' was removed, and the network reads 'norm' of it\. Leave"):
        made.fit(net, loader())
    assert dropping.dropped == ()
    assert net.state_dict().keys() == Reading().state_dict().keys()
    (optimizer,) = made.optimizers
    assert len(optimizer.param_groups[0]["params"]) == len(list(net.parameters()))
    assert all(parameter in optimizer.state for parameter in net.blocks[4].parameters())


class Skipping(Net):
    """Calls one block in some batches only."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every, self.batches = every, 0

    def forward(self, x: Tensor) -> Tensor:
        for place, block in enumerate(self.blocks):
            if place != 4 or self.batches % self.every == self.every - 1:
                x = block(x)
        return self.head(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = super().training_step(batch, index)
        self.batches += 1
        return loss


def test_a_layer_that_is_called_now_and_then_is_learnt_when_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropping = DropLayers(layers=["blocks.4"], at=0)
    net = fit(tmp_path, dropping, net=Skipping(3), steps=5)
    assert dropping.dropped == ("blocks.4",)
    assert isinstance(net.blocks[4], DroppedLayer)
    with pytest.warns(UserWarning, match="training ended before each of the layers was called once"):
        net = fit(tmp_path, DropLayers(layers=["blocks.4"], at=0), net=Skipping(9), steps=3)
    assert not net.blocks[4]._forward_hooks
    monkeypatch.setattr(sys.modules[DropLayers.__module__], "LEARNING_BATCHES", 2)
    with pytest.raises(SkipError, match=r"blocks\.4: Skipping.forward never calls it"):
        fit(tmp_path, DropLayers(layers=["blocks.4"], at=0), net=Skipping(9), steps=5)


def test_a_state_from_before_says_what_to_do(tmp_path: Path) -> None:
    before = Net().state_dict()
    net = fit(tmp_path, DropLayers(layers=["blocks.3", "blocks.4"], at=0), steps=2)
    with pytest.raises(RuntimeError, match=r"saved before layers were removed from this network, 'blocks\.3' among"):
        net.load_state_dict(before)
    around = nn.Module()
    around.net = Net()
    expect_dropped_layers(around.net)
    around.load_state_dict({f"net.{name}": value for name, value in net.state_dict().items()})
    assert isinstance(around.net.blocks[4], DroppedLayer)
    x = torch.randn(4, 8)
    torch.testing.assert_close(around.net(x), net(x), rtol=0, atol=0)


@pytest.mark.parametrize("averaging", [StochasticWeightAveraging, EMAWeightAveraging])
def test_averages_of_two_networks_are_refused(tmp_path: Path, averaging: Any) -> None:
    other = averaging(1e-2) if averaging is StochasticWeightAveraging else averaging()
    with pytest.raises(ValueError, match=f"beside {averaging.__name__}, which pairs the weights of two networks"):
        fit(tmp_path, DropLayers(layers=["blocks.4"]), other)


class LayerWise(Net):
    """Every block has a rate of its own; a block without parameters an empty group, or none."""

    def __init__(self, empty: bool) -> None:
        super().__init__()
        self.empty = empty

    def configure_optimizers(self) -> Any:
        groups = [{"params": list(part.parameters()), "lr": 1e-2 / (k + 1)} for k, part in enumerate(self.parts())]
        optimizer = torch.optim.AdamW([group for group in groups if group["params"] or self.empty])
        falling = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        later = torch.optim.lr_scheduler.SequentialLR(
            optimizer, [falling, torch.optim.lr_scheduler.ConstantLR(optimizer)], milestones=[3]
        )
        return [optimizer], [{"scheduler": later, "interval": "step"}]

    def parts(self) -> list[nn.Module]:
        return [*self.blocks, self.head]


@pytest.mark.parametrize("empty", [True, False])
def test_a_resumed_run_has_groups_for_what_is_left(tmp_path: Path, empty: bool) -> None:
    def callbacks() -> list[Any]:
        saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=4, save_top_k=-1)
        return [DropLayers(layers=["blocks.3", "blocks.4"], at=0.2), saver]

    whole = fit(tmp_path, *callbacks(), net=LayerWise(empty), steps=8)
    (saved,) = (tmp_path / "saved").glob("*step=4.ckpt")
    resumed = fit(tmp_path, *callbacks(), net=LayerWise(empty), steps=8, ckpt_path=str(saved))
    torch.testing.assert_close(dict(whole.named_parameters()), dict(resumed.named_parameters()), rtol=0, atol=0)
    rates = [[group["lr"] for group in net.optimizers().param_groups if group["params"]] for net in (whole, resumed)]
    assert rates[0] == rates[1]
    assert len(rates[0]) == 8
