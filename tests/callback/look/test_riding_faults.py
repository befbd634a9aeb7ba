"""Nothing of ours goes wrong in the validation that looks ride along with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from callback_nets import Net, StopAt, plain_net
from every_training import differences
from riding_trainings import assert_found_alike, own_passes, run
from torch import nn

from lightning_gw.activations.isolation.weights import weights_of
from lightning_gw.activations.riding import Riding

pytestmark = pytest.mark.usefixtures("few_draws")


#: Methods, and how often each does its part before it fails.
FAULTS = {"prepare": 0, "compare": 0, "board": 1, "batch_begins": 5, "batch_ends": 5, "arrive": 1, "take": 2}


@pytest.mark.parametrize("method", FAULTS)
@pytest.mark.parametrize("every_n_steps", [None, 4], ids=["checkpoints", "every so many steps"])
@pytest.mark.representatives("checkpoints-batch_begins", "every so many steps-arrive")
def test_a_fault_costs_the_ride_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, every_n_steps: int | None
) -> None:
    original, calls = getattr(Riding, method), 0

    def failing(self: Riding, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > FAULTS[method]:
            raise RuntimeError("this is ours")
        return original(self, *args)

    monkeypatch.setattr(Riding, method, failing)
    with pytest.warns(UserWarning, match="could not capture .* this is ours"):
        rode = run(tmp_path / "rode", every_n_steps=every_n_steps)
    monkeypatch.setattr(Riding, method, original)
    assert_found_alike(rode, own_passes(tmp_path / "own", monkeypatch, every_n_steps=every_n_steps))
    assert differences(rode.state, run(tmp_path / "alone", False).state) == []


def test_a_hook_that_fails_does_not_fail_in_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_gw.activations.reading.capture import Collector

    original = Collector.hook

    def hook(self: Collector, layer: str, *args: Any) -> None:
        if self._picked is not None:
            raise torch.OutOfMemoryError("this is ours")
        original(self, layer, *args)

    monkeypatch.setattr(Collector, "hook", hook)
    with pytest.warns(UserWarning, match="could not capture a look during validation.*this is ours"):
        rode = run(tmp_path / "rode")
    assert rode.captured == []
    assert rode.callback is not None
    assert len(rode.callback.history or ()) == 5
    assert differences(rode.state, run(tmp_path / "alone", False).state) == []


def test_a_validation_that_fails_is_left_without_hooks(tmp_path: Path) -> None:
    class Broken(Net):  # type: ignore[misc, valid-type]
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            if self.trainer.current_epoch == 2 and self.trainer.validating and hooked(self):
                raise RuntimeError("the user's own")

    def hooked(module: nn.Module) -> int:
        return sum(len(child._forward_hooks) for child in module.modules())

    module = Broken(plain_net())
    with pytest.raises(RuntimeError, match="the user's own"):
        run(tmp_path, module=lambda: module)
    assert hooked(module) == 0


def test_a_resumed_training_rides_again(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", shuffle=False)
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "broken", others=lambda: [StopAt(9)], shuffle=False)
    saved = tmp_path / "broken/saved/epoch=1-step=8.ckpt"
    resumed = run(tmp_path / "broken", ckpt_path=saved, shuffle=False)
    assert_found_alike(resumed, whole)
    assert whole.captured == [8, 12, 16]
    assert resumed.captured == [8, 16]  # the first look of every training is made both ways
    assert differences(resumed.state["weights"], whole.state["weights"]) == []


def test_weights_are_told_from_others_by_every_bit() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = weights_of(net)
    assert weights_of(net) == before
    for tensor in (*net.parameters(), *net.buffers()):
        kept = tensor.detach().clone()
        tensor.data.view(-1)[0] = (
            torch.nextafter(kept.view(-1)[0], torch.tensor(9.0)) if kept.is_floating_point() else 1
        )
        assert weights_of(net) != before
        tensor.data.copy_(kept)
        assert weights_of(net) == before
    assert weights_of(nn.Identity()) == ()
