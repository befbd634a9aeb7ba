"""What happens when the probe does not get through: too little memory, layers that fail, inputs that no longer fit."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gw import GWSimilarity
from lightning_gw.activations.isolation.undisturbed import changes_of
from lightning_gw.utilities.errors import LookError

pytestmark = pytest.mark.usefixtures("few_draws")

WIDTH = 6


class Small(nn.Module):
    """A layer that refuses more than `room` inputs at a time in evaluation mode, as a full device does."""

    def __init__(self, room: int, error: type[Exception] = RuntimeError) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.room = room
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            ELSEWHERE.tried.append(len(x))
            if len(x) > self.room:
                raise self.error(f"CUDA out of memory. Tried to allocate {len(x)} GiB.")
        return self.linear(x)


#: Batch sizes that came by in evaluation mode; in a module that stands for another package, since a look leaves the
#: memory of the network and the globals of its own module as they were.
ELSEWHERE = ModuleType("elsewhere")
ELSEWHERE.tried = []  # type: ignore[attr-defined]


class Net(pl.LightningModule):
    def __init__(self, layer: nn.Module, change: Any = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, WIDTH), layer, nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)])
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.change is not None and self.global_step == 1:
            self.change(self)
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def data() -> DataLoader[Any]:
    x = torch.randn(48, 8, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=12)


def fit(root: Path, module: Net, **options: Any) -> GWSimilarity:
    ELSEWHERE.tried.clear()
    defaults = {"when": [2, 3], "probe_size": 24, "effort": "fast", "verbose": False, "on_error": "raise"}
    defaults |= {"max_overhead": None, "null_samples": 0}
    callback = GWSimilarity(save_dir=root, layers="layers.*", **(defaults | options))
    pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        callbacks=[callback],
        default_root_dir=root,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, data())
    return callback


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError, MemoryError])
@pytest.mark.representatives("OutOfMemoryError")
def test_a_probe_that_does_not_fit_goes_through_in_halves(tmp_path: Path, error: type[Exception]) -> None:
    plenty = fit(tmp_path / "plenty", started(100))
    # A batch and half of one to tell the layers and their axes, then all once to see how the network is run, the first
    # and the last batch once more to see that it gives the same again, and all at four looks.
    assert ELSEWHERE.tried == [12, 6] + [12] * 2 * 6
    assert plenty.history is not None
    narrow = fit(tmp_path / "narrow", started(4, error))
    # 12 and 6 are tried once; all that comes after begins with the 3 that worked.
    assert ELSEWHERE.tried == [12, 6] + [3, 2] + [3] * 8 * 6
    assert narrow.history is not None
    for one, other in zip(plenty.history, narrow.history, strict=True):
        assert one.gw.distortion == pytest.approx(other.gw.distortion, abs=1e-5)
        assert not any("fit in memory" in note for note in one.notes)
        assert "The probe went through the network 3 at a time; more did not fit in memory." in other.notes


def started(room: int, error: type[Exception] = RuntimeError) -> Net:
    torch.manual_seed(0)
    return Net(Small(room, error))


def test_when_not_even_one_input_fits_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        LookError, match=r"not even one input at a time: RuntimeError: CUDA out of memory\. Tried.* 1 GiB"
    ):
        fit(tmp_path, started(0))
    assert ELSEWHERE.tried[:4] == [12, 6, 3, 1]


def test_running_out_of_memory_later_costs_looks_and_no_training(tmp_path: Path) -> None:
    def fill(module: Net) -> None:
        module.layers[1].room = 0

    module = Net(Small(12), fill)
    with pytest.warns(UserWarning, match="could not look at step 2.*not even one input at a time"):
        callback = fit(tmp_path, module, on_error="warn")
    assert callback.history is not None
    assert [record.step for record in callback.history] == [0]
    assert module.trainer.global_step == 4


def test_a_network_that_changed_is_told_where_it_fails(tmp_path: Path) -> None:
    def widen(module: Net) -> None:
        layer = module.layers[1]
        plain = type(layer).forward
        layer.forward = lambda x: plain(layer, x) if layer.training else torch.cat([plain(layer, x)] * 2, 1)

    with pytest.raises(LookError) as caught:
        fit(tmp_path, Net(nn.Linear(WIDTH, WIDTH), widen))
    message = str(caught.value)
    assert "did not get through 'layers.2', a Linear, called with (12, 12): RuntimeError: mat1 and mat2" in message
    assert "It was probe batch 1 of 2, with (12, 8), (12,)." in message
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_failing_look_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(WIDTH)
            self.calls = 0
            self.cache = {"last": [0]}

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.cache["last"].append(self.calls)
            x = self.norm(x)
            if not self.training and self.calls > 4:  # two batches, through once for the statistics and once seen
                raise ZeroDivisionError("the layer gave up")
            return x

    module = Net(Fragile())
    with pytest.warns(UserWarning, match=r"'layers.1', a Fragile, called with \(12, 6\): ZeroDivisionError"):
        callback = fit(tmp_path, module, on_error="warn")
    assert module.layers[1].calls == 4
    assert module.layers[1].cache["last"] == [0, 1, 2, 3, 4]
    assert all(child.training for child in module.modules())
    assert not any(child._forward_hooks for child in module.modules())
    with changes_of(module) as changes, pytest.raises(LookError):
        callback._observer.observe(module.trainer, module)
    assert changes == []


def test_what_a_look_could_not_put_back_is_said_and_recorded(tmp_path: Path) -> None:
    class Projecting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                self.weight.clamp_(-0.5, 0.5)
            return super().forward(x)

    said = "parameter layers.1.weight was changed by the forward pass itself"
    with pytest.warns(UserWarning, match=f"disturbed training: {said}"):
        callback = fit(tmp_path, Net(Projecting(WIDTH, WIDTH)))
    assert callback.history is not None
    assert f"This look disturbed training: {said}." in callback.history[0].notes
