"""What callbacks that act on groups share: which layers are meant, what is frozen, and who decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from callback_nets import Block
from grouped_nets import NAMES, Looks, Net, Trained, fit, look
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_gw import DropLayers, FreezeSettledGroups, TrainGroup
from lightning_gw.groups import NoGroupError
from lightning_gw.interventions import freeze_settled
from lightning_gw.interventions.live import decided_by_first, freeze, recorded
from lightning_gw.records.history import History
from lightning_gw.records.record import Record


def named(record: Record, names: tuple[str, ...]) -> Record:
    return replace(record, layers=names, gw=replace(record.gw, layers=names))


def longer(blocks: int) -> Net:
    net = Net()
    net.blocks.extend(Block(8) for _ in range(blocks - 9))
    return net


def test_a_history_of_fewer_layers_is_of_another_model(tmp_path: Path) -> None:
    history = History.open(tmp_path / "run/gw")
    history.append(look(20))
    for callback in (TrainGroup, DropLayers):
        with pytest.raises(ValueError, match=r"of 'blocks' it has layers up to 8, and Net has them up to 11\. Look"):
            fit(tmp_path, callback(tmp_path / "run"), net=longer(12))
    other = nn.Sequential(*(nn.Identity() if place % 2 else nn.Linear(8, 8) for place in range(18)))
    history = History.open(tmp_path / "plain/gw")
    history.append(named(look(20), tuple(f"net.{2 * k}" for k in range(9))))
    assert recorded(tmp_path / "plain", nn.ModuleDict({"net": other})).step == 20, "activations are no layers"


def test_layers_in_between_that_no_look_has_seen_are_named(tmp_path: Path) -> None:
    history = History.open(tmp_path / "run/gw")
    history.append(named(look(20), tuple(f"blocks.{k}" for k in range(10) if k != 3)))
    with pytest.warns(UserWarning, match=r"says nothing of blocks\.3, which were not looked at"):
        recorded(tmp_path / "run", longer(10))


@pytest.mark.parametrize("looks", [[], [look(9)] * 9], ids=["none-can-be-made", "none-yet"])
def test_without_a_look_training_goes_on(tmp_path: Path, looks: list[Record]) -> None:
    for callback, said in ((TrainGroup(at=0), "goes on training everything"), (DropLayers(at=0), "removes nothing")):
        trained = Trained()
        with pytest.warns(UserWarning, match=f"{said}.*There has been no look yet"):
            fit(tmp_path, Looks(looks), callback, trained, steps=2)
        assert trained.moved == [set(range(9))] * 2


def test_what_fails_on_the_first_process_fails_on_all() -> None:
    sent: list[Any] = []

    def broadcast(answer: Any) -> Any:
        sent.append(answer)
        return sent[0]

    def fail() -> None:
        raise KeyError("broken")

    def refuse() -> None:
        raise NoGroupError("no group")

    def trainer(first: bool) -> Any:
        return SimpleNamespace(is_global_zero=first, strategy=SimpleNamespace(broadcast=broadcast))

    with pytest.raises(KeyError, match="broken"):
        decided_by_first(trainer(True), fail)
    with pytest.raises(RuntimeError, match="KeyError: 'broken'"):
        decided_by_first(trainer(False), fail)
    sent.clear()
    assert [decided_by_first(trainer(first), refuse) for first in (True, False)] == ["no group"] * 2


def test_frozen_layers_go_on_gathering_statistics() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    frozen = freeze(net, [net[1]])
    assert {id(parameter) for parameter in frozen} == {id(parameter) for parameter in net[1].parameters()}
    assert not any(parameter.requires_grad for parameter in net[1].parameters())
    net(torch.randn(16, 4) + 5)
    assert net[1].num_batches_tracked == 1
    assert float(net[1].running_mean.abs().max()) > 0


def test_a_module_that_other_groups_call_too_is_not_frozen(tmp_path: Path) -> None:
    class Sharing(Net):
        """Calls its first block once more at the end, in the place of its last."""

        def forward(self, x: Tensor) -> Tensor:
            for block in (*self.blocks[:8], self.blocks[0]):
                x = block(x)
            return self.head(x)

    names = (*NAMES[:8], "blocks.0#2")
    growth = [np.array([1, 1, 2.0**k, 2.0**k, 2.0**k, 1, 1, 1]) for k in range(6)]
    looks = [named(look(k + 1, growth=growth[k]), names) for k in range(6)]
    freezing = FreezeSettledGroups(looks=2, floor=0)
    net = fit(tmp_path, Looks(looks), freezing, net=Sharing())
    assert set(freezing.frozen) == {"blocks.1", "blocks.6", "blocks.7"}
    assert all(parameter.requires_grad for parameter in net.blocks[0].parameters())
    control = FreezeSettledGroups(looks=2, floor=0, control=7)
    fit(tmp_path, Looks([named(look(k + 1, growth=growth[k]), names) for k in range(6)]), control, net=Sharing())
    assert len({name.split("#")[0] for name in control.frozen}) == 3
    assert control.frozen["blocks.0"] == control.frozen["blocks.0#2"]


def test_time_saved_is_told_against_all_steps_before_also_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds a step while all trains, and one after the first freezing; looks take time that is not counted."""
    clock = SimpleNamespace(now=0.0, net=Net())

    class Watching(Looks):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            super().on_train_batch_end(trainer)
            clock.now += 100
            self.seconds_spent += 100

    class Ticking(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            whole = all(parameter.requires_grad for parameter in module.parameters())
            clock.now += 2 if whole else 1

    def callbacks() -> list[Callback]:
        growth = [np.ones(8) * (2.0**k if k < 12 else 2.0**12) for k in range(20)]
        saver = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=6, save_top_k=-1)
        looks = Watching([look(k + 1, growth=growth[k]) for k in range(20)])
        return [looks, Ticking(), FreezeSettledGroups(looks=2, floor=0.5), saver]

    monkeypatch.setattr(freeze_settled, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    first = callbacks()
    fit(tmp_path, *first, steps=20)
    frozen_at = min(first[2].frozen.values())
    assert 12 < frozen_at < 16
    assert first[2].seconds_saved == pytest.approx(20 - frozen_at, abs=1)
    (saved,) = (tmp_path / "saved").glob("*step=6.ckpt")
    again = callbacks()
    again[0].history += again[0].coming[:6]
    fit(tmp_path, *again, steps=20, ckpt_path=str(saved))
    assert again[2].seconds_saved == first[2].seconds_saved
