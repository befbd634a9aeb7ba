"""What goes wrong during training costs what it hit, is said once, and is noted in the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from callback_nets import (
    CLASSES,
    Block,
    Net,
    loader,
    steps,
    trainer,
    watcher,
)
from torch import Tensor, nn

import lightning_gw as lgw


class Breaking(nn.Module):
    """Works at first; later breaks in evaluation mode, or puts out what cannot be compared."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net = nn.ModuleList([nn.Linear(8, 12), Block(), Block(), nn.Linear(12, CLASSES)])
        self.how = how
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        h = self.net[1](self.net[0](x))
        if not self.training and self.steps >= 2:
            if self.how == "raise":
                raise RuntimeError("out of memory, says the test")
            h = h * float("nan") if self.how == "nan" else h * 0 + 1
        return self.net[3](self.net[2](h))


def test_an_error_in_a_look_costs_the_look_only(tmp_path: Path) -> None:
    module = Net(Breaking("raise"))
    callback = watcher(tmp_path, when=[1, 3, 5], on_error="warn", layers=["net.net.1", "net.net.2"])
    with pytest.warns(UserWarning, match=r"could not look at step 3, and training goes on.*says the test") as caught:
        trainer(tmp_path, callback).fit(module, loader())
    assert steps(callback) == [0, 1]
    assert sum("says the test" in str(warning.message) for warning in caught) == 1
    with pytest.raises(RuntimeError, match="says the test"):
        trainer(tmp_path, watcher(tmp_path / "2", when=[3])).fit(Net(Breaking("raise")), loader())


@pytest.mark.parametrize("how", ["nan", "constant"])
def test_a_layer_that_cannot_be_compared_is_named_and_the_rest_stands(tmp_path: Path, how: str) -> None:
    callback = watcher(tmp_path, when=[1, 3, 5], layers=["net.net.0", "net.net.1", "net.net.2"])
    module = Net(Breaking(how))

    def spoil(layer: nn.Module, args: Any, output: Tensor) -> Tensor:
        fill = float("nan") if how == "nan" else 1.0
        return torch.full_like(output, fill) if not layer.training and module.net.steps >= 2 else output

    module.net.net[1].register_forward_hook(spoil)
    module.net.how = "fine" if how == "constant" else how
    trainer(tmp_path, callback).fit(module, loader())
    assert steps(callback) == [0, 1, 3, 5, 8]
    record = lgw.load_history(tmp_path)[3]
    assert "net.net.1" in record.gw.degenerate
    assert any("net.net.1" in note for note in record.notes)
    assert np.isnan(record.gw.distortion[1]).all()
    if how == "constant":
        assert np.isfinite(record.gw.distortion[0, [0]]).all()


def test_ctrl_c_during_a_look_passes_through(tmp_path: Path) -> None:
    def probe_step(module: Any, batch: Any) -> None:
        if module.trainer.global_step == 2:
            raise KeyboardInterrupt
        module(batch[0])

    callback = watcher(tmp_path, when=[2, 3], on_error="warn", probe_step=probe_step)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(tmp_path, callback).fit(Net(), loader())
    assert steps(callback) == [0]
