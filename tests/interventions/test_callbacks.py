"""Callbacks that act on groups while a network trains: what trains, what is left, and that a resumed run is the run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from callback_nets import loader, trainer
from grouped_nets import NAMES, Looks, Net, Trained, fit, look
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import BackboneFinetuning, ModelCheckpoint

from lightning_gw import DropLayers, FreezeSettledGroups, TrainGroup
from lightning_gw.groups import NoGroupError
from lightning_gw.interventions import DroppedLayer, expect_dropped_layers
from lightning_gw.interventions.identity import SkipError
from lightning_gw.records.history import History


def everything() -> set[int]:
    return set(range(9))


def test_a_group_that_stands_still_is_frozen_and_the_optimizer_forgets_it(tmp_path: Path) -> None:
    moving = np.ones(8)
    looks = []
    for step in range(1, 7):
        moving = moving * np.array([1, 1, 1.5, 1.5, 1.5, 9, 1.0, 1.0])  # the middle group changes, and the boundary
        looks.append(look(step, growth=moving))
    freezing, trained = FreezeSettledGroups(looks=3), Trained()
    callbacks = [Looks(looks), freezing, trained]
    net = Net()
    made = trainer(tmp_path, *callbacks, max_epochs=-1, max_steps=6)
    made.fit(net, loader())
    assert freezing.frozen == {name: 3 for name in ("blocks.0", "blocks.1", "blocks.6", "blocks.7", "blocks.8")}
    assert trained.moved == [everything()] * 3 + [{2, 3, 4, 5}] * 3
    frozen = [p for name, p in net.named_parameters() if name.rpartition(".")[0][:8] in freezing.frozen]
    assert frozen
    assert all(p.grad is None and p not in made.optimizers[0].state for p in frozen)
    assert len(made.optimizers[0].param_groups[0]["params"]) == len(list(net.parameters()))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, 1e-2, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.Adagrad(p, 1e-2, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.1, foreach=True),
    ],
    ids=["sgd", "rmsprop", "adagrad", "adamw"],
)
def test_no_optimizer_that_still_holds_a_frozen_parameter_moves_it(tmp_path: Path, optimizer: Any) -> None:
    trained = Trained()
    fit(tmp_path, Looks([look(k) for k in range(1, 7)]), FreezeSettledGroups(looks=2), trained, net=Net(optimizer))
    assert trained.moved[:2] == [everything()] * 2
    assert trained.moved[2] not in (everything(), set())
    assert trained.moved[2:] == [trained.moved[2]] * 4


def test_the_floor_goes_on_training(tmp_path: Path) -> None:
    for floor, left in ((0.6, {2, 3, 4, 5, 6, 7, 8}), (0.5, {6, 7, 8}), (0.0, set())):
        trained = Trained()
        looks = Looks([look(k) for k in range(1, 7)])
        fit(tmp_path, looks, FreezeSettledGroups(looks=2, floor=floor), trained)
        kept = trained.moved[-1]
        assert len(kept) >= round(9 * floor) - 1
        assert kept == left or floor == 0.5, (floor, kept)


def test_what_cannot_be_relied_on_is_not_frozen(tmp_path: Path) -> None:
    for strength in ("weak", "none"):
        freezing = FreezeSettledGroups(looks=2)
        fit(tmp_path, Looks([look(k, strength) for k in range(1, 7)]), freezing)
        assert freezing.frozen == {}
    freezing = FreezeSettledGroups(looks=2, anyway=True)
    fit(tmp_path, Looks([look(k, "weak") for k in range(1, 7)]), freezing)
    assert freezing.frozen


def test_a_control_freezes_as_many_others_at_the_same_step(tmp_path: Path) -> None:
    growth = [np.array([1, 1, 2.0**k, 2.0**k, 2.0**k, 1, 3.0**k, 3.0**k]) for k in range(6)]
    found = {}
    for control in (None, 0, 1):
        freezing = FreezeSettledGroups(looks=3, control=control)
        fit(tmp_path, Looks([look(k + 1, growth=growth[k]) for k in range(6)]), freezing, steps=3)
        found[control] = freezing.frozen
    assert found[None] == {"blocks.0": 3, "blocks.1": 3}
    assert [len(found[k]) for k in (0, 1)] == [2, 2]
    assert set(found[0].values()) == {3}
    assert set(found[0]) != set(found[1])


@pytest.mark.parametrize("control", [0, 1, 2])
def test_a_control_freezes_no_more_than_the_groups_over_all_looks(tmp_path: Path, control: int) -> None:
    """The first group stands still from the start, the second one from step 5 on, and the last never does."""
    paces = [np.array([1, 1, *[2.0 ** min(k, 4)] * 3, 1, 3.0**k, 3.0**k]) for k in range(9)]

    def training(control: int | None) -> list[Callback]:
        saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=4, save_top_k=-1)
        looks = Looks([look(k + 1, growth=pace) for k, pace in enumerate(paces)])
        return [looks, FreezeSettledGroups(looks=2, floor=0, control=control), saver]

    def when(callbacks: list[Callback]) -> list[int]:
        return sorted(callbacks[1].frozen.values())

    group, random, again = training(None), training(control), training(control)
    fit(tmp_path, *group, steps=9)
    assert when(group) == [2, 2, 6, 6, 6, 6]
    shutil.rmtree(tmp_path / "saved")
    fit(tmp_path, *random, steps=9)
    assert when(random) == when(group)
    (saved,) = (tmp_path / "saved").glob("*step=4.ckpt")
    fit(tmp_path, *again, steps=9, ckpt_path=str(saved))
    assert again[1].frozen == random[1].frozen, "what was drawn is kept by checkpoints"


def test_freezing_resumed_in_the_middle_is_the_run(tmp_path: Path) -> None:
    def callbacks() -> list[Callback]:
        saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=4, save_top_k=-1)
        return [Looks([look(k) for k in range(1, 9)]), FreezeSettledGroups(looks=2), saver]

    whole = fit(tmp_path, *callbacks(), steps=8)
    (saved,) = (tmp_path / "saved").glob("*step=4.ckpt")
    again = callbacks()
    resumed = fit(tmp_path, *again, steps=8, ckpt_path=str(saved))
    torch.testing.assert_close(whole.state_dict(), resumed.state_dict(), rtol=0, atol=0)
    assert set(again[1].frozen.values()) == {2}


def test_weights_shared_with_the_rest_go_on_training(tmp_path: Path) -> None:
    net = Net()
    net.blocks[8].mlp[0].weight = net.blocks[3].mlp[0].weight
    growth = [np.array([1, 1, 2.0**k, 2.0**k, 2.0**k, 1, 1, 1]) for k in range(6)]
    fit(tmp_path, Looks([look(k + 1, growth=growth[k]) for k in range(6)]), FreezeSettledGroups(looks=2), net=net)
    assert net.blocks[8].mlp[0].weight.requires_grad
    assert not net.blocks[8].mlp[3].weight.requires_grad


def test_rivals_and_optimizers_that_cannot_bear_it_are_refused(tmp_path: Path) -> None:
    looks = Looks([look(1)])
    with pytest.raises(ValueError, match="FreezeSettledGroups and BackboneFinetuning would both say what trains"):
        fit(tmp_path, looks, FreezeSettledGroups(), BackboneFinetuning())
    with pytest.raises(ValueError, match="LBFGS, which goes on moving"):
        fit(tmp_path, looks, FreezeSettledGroups(), net=Net(lambda p: torch.optim.LBFGS(p)))
    with pytest.raises(ValueError, match="the Trainer has none"):
        fit(tmp_path, FreezeSettledGroups())
    looks.analysis_config.bootstrap_samples = 0
    with pytest.raises(ValueError, match="bootstrap_samples"):
        fit(tmp_path, looks, FreezeSettledGroups())
    for arguments in ({"looks": 1}, {"tolerance": 0}, {"floor": 1.5}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            FreezeSettledGroups(**arguments)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    history = History.open(tmp_path / "run/gw")
    history.append(look(20))
    return tmp_path / "run"


def test_one_group_of_a_history_trains_with_the_head(tmp_path: Path, run: Path) -> None:
    for group, blocks in (("last", {6, 7, 8}), (2, {2, 3, 4, 5}), ("1", {0, 1})):
        trained = Trained()
        net, head = Net(), None
        head = net.head.weight.detach().clone()
        fit(tmp_path, TrainGroup(run, group), trained, net=net, steps=2)
        assert trained.moved == [blocks] * 2
        assert not torch.equal(head, net.head.weight)


def test_a_control_trains_as_many_other_layers(tmp_path: Path, run: Path) -> None:
    trained = Trained()
    fit(tmp_path, TrainGroup(run, "last", control=1), trained, steps=1)
    (moved,) = trained.moved
    assert len(moved) == 3
    assert moved == set(range(min(moved), min(moved) + 3)) != {6, 7, 8}


def test_a_group_found_underway_trains_alone_from_then_on_also_resumed(tmp_path: Path) -> None:
    def callbacks() -> list[Callback]:
        saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=4, save_top_k=-1)
        return [Looks([look(k) for k in range(1, 9)]), TrainGroup(at=0.25), Trained(), saver]

    first = callbacks()
    whole = fit(tmp_path, *first, steps=8)
    assert first[2].moved == [everything()] * 2 + [{6, 7, 8}] * 6
    (saved,) = (tmp_path / "saved").glob("*step=4.ckpt")
    again = callbacks()
    resumed = fit(tmp_path, *again, steps=8, ckpt_path=str(saved))
    torch.testing.assert_close(whole.state_dict(), resumed.state_dict(), rtol=0, atol=0)
    assert again[1].trained == NAMES[6:]


def test_without_a_group_underway_everything_trains_on(tmp_path: Path) -> None:
    trained = Trained()
    with pytest.warns(UserWarning, match="goes on training everything from step 2 on: There is no group to act on"):
        fit(tmp_path, Looks([look(k, "none") for k in range(1, 9)]), TrainGroup(at=0.25), trained, steps=8)
    assert trained.moved == [everything()] * 8


def test_histories_that_do_not_serve_are_refused_before_training(tmp_path: Path, run: Path) -> None:
    other = History.open(tmp_path / "other/gw")
    record = look(20)
    names = ("stem", *NAMES[1:])
    other.append(replace(record, layers=names, gw=replace(record.gw, layers=names)))
    none = History.open(tmp_path / "none/gw")
    none.append(look(0, "none"))
    for callback in (TrainGroup, DropLayers):
        with pytest.raises(ValueError, match=r"of another model: Net has no 'stem' \(1 of its 9 layers\)"):
            fit(tmp_path, callback(tmp_path / "other"))
        with pytest.raises(NoGroupError, match="only the whole network"):
            fit(tmp_path, callback(tmp_path / "none"))
        with pytest.raises(ValueError, match="would both say what trains"):
            fit(tmp_path, callback(run), BackboneFinetuning())
        with pytest.raises(ValueError, match="at=1"):
            callback(at=1)


@pytest.mark.parametrize("control", [None, 3])
def test_an_interior_is_removed_and_the_rest_trains_on_also_resumed(tmp_path: Path, control: int | None) -> None:
    def callbacks() -> list[Callback]:
        saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=4, save_top_k=-1)
        return [Looks([look(k) for k in range(1, 9)]), DropLayers(at=0.25, control=control), Trained(), saver]

    first = callbacks()
    whole = fit(tmp_path, *first, steps=8)
    dropped = {int(name.split(".")[1]) for name in first[1].dropped}
    assert len(dropped) == 2
    assert (dropped == {7, 8}) == (control is None)
    assert first[2].moved[:2] == [everything()] * 2
    assert first[2].moved[3:] == [everything() - dropped] * 5
    assert all(isinstance(whole.blocks[k], DroppedLayer) == (k in dropped) for k in range(9))
    assert not any(name.startswith(tuple(f"blocks.{k}." for k in dropped)) for name, _ in whole.named_parameters())
    (saved,) = (tmp_path / "saved").glob("*step=4.ckpt")
    again = callbacks()
    resumed = fit(tmp_path, *again, steps=8, ckpt_path=str(saved))
    assert again[1].dropped == first[1].dropped
    torch.testing.assert_close(dict(whole.named_parameters()), dict(resumed.named_parameters()), rtol=0, atol=0)
    loaded = Net()
    expect_dropped_layers(loaded)
    loaded.load_state_dict(whole.state_dict())
    x = torch.randn(4, 8)
    torch.testing.assert_close(loaded(x), whole(x), rtol=0, atol=0)


def test_what_is_left_computes_what_skipping_would(tmp_path: Path) -> None:
    net = fit(tmp_path, DropLayers(layers=["blocks.3", "blocks.4"], at=0), steps=1)
    x = torch.randn(4, 8)
    state = x
    for place, block in enumerate(net.blocks):
        state = state if place in (3, 4) else block(state)
    torch.testing.assert_close(net(x), net.head(state))


def test_a_layer_that_cannot_be_removed_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    net = Net()
    with pytest.raises(SkipError, match="head: it changes the shape 8 into 3"):
        fit(tmp_path, DropLayers(layers=["blocks.3", "head"], at=0), net=net, steps=2)
    assert not any(isinstance(child, DroppedLayer) for child in net.modules())
    assert not any(child._forward_hooks for child in net.modules())
    with pytest.raises(ValueError, match="names no module"):
        fit(tmp_path, DropLayers(layers=["block.3"]), steps=2)
