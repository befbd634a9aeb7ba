"""What settles by forward passes alone is no training: batch and spectral normalisation are read alike at all looks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gw import GWSimilarity
from lightning_gw.activations.isolation.undisturbed import changes_of
from lightning_gw.activations.running.normalisation import normalised_widths, unsettled_layers
from lightning_gw.records.history import History


class Block(nn.Module):
    def __init__(self, wide: int, out: int, spectral: str = "") -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide, out, 3, padding=1)
        self.norm = nn.BatchNorm2d(out) if not spectral else nn.Identity()
        if spectral == "hook":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.conv = nn.utils.spectral_norm(self.conv)
        elif spectral:
            self.conv = nn.utils.parametrizations.spectral_norm(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Images(pl.LightningModule):
    """A small network on images that are far from mean 0 and variance 1."""

    def __init__(self, spectral: str = "", rate: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(3 if k == 0 else 8, 8, spectral) for k in range(5)))
        self.head = nn.Linear(8, 3)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).mean(dim=(2, 3)))

    def training_step(self, batch: Any, _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.rate)


def images(batch_size: int = 16) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    x = 4 + 3 * torch.randn(64, 3, 6, 6, generator=generator).cumsum(dim=1)
    return DataLoader(TensorDataset(x, torch.arange(64) % 3), batch_size=batch_size)


def train(
    root: Path, module: pl.LightningModule, epochs: int = 10, ckpt: Path | None = None, **options: Any
) -> History:
    defaults: dict[str, Any] = {"probe": images(), "probe_size": 32, "effort": "fast", "on_error": "raise"}
    defaults |= {"when": [4, 16, 28], "layers": "blocks.*", "verbose": False, "max_overhead": None}
    callback = GWSimilarity(save_dir=root, **(defaults | options))
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
        enable_checkpointing=False,
    )
    trainer.fit(module, images(), ckpt_path=None if ckpt is None else str(ckpt))
    trainer.save_checkpoint(root / "end.ckpt")
    assert callback.history is not None
    return callback.history


@pytest.mark.parametrize("spectral", ["", "hook", "parametrization"])
@pytest.mark.slow
def test_forward_passes_alone_are_no_growth_and_no_event(tmp_path: Path, spectral: str) -> None:
    torch.manual_seed(0)
    history = train(tmp_path, Images(spectral))
    assert [record.step for record in history] == [0, 4, 16, 28, 40]
    for record in history:
        assert record.groups.noise is not None
        beyond = np.abs(np.log(record.growth)) / record.groups.noise
        assert (beyond < 0.5).all(), f"step {record.step}: {record.growth}"
        assert record.groups.strength == "none"
        assert record.events == ()
    expected = None if spectral else "statistics of the probe"
    assert {record.probe.get("normalisation") for record in history} == {expected}


@pytest.mark.slow
def test_a_probe_in_pieces_is_read_much_as_a_whole_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Images()
    whole = train(tmp_path / "whole", module, epochs=0 + 1, probe_batch_size=32, when=[4])
    pieces = train(tmp_path / "pieces", module, epochs=1, probe_batch_size=8, when=[4])
    np.testing.assert_allclose(whole[0].groups.adjacent, pieces[0].groups.adjacent, atol=0.05)


@pytest.mark.parametrize("batch_size", [32, 8])
def test_statistics_momentum_and_modes_are_put_back(tmp_path: Path, batch_size: int) -> None:
    from lightning_gw.activations.isolation.undisturbed import undisturbed
    from lightning_gw.activations.running.normalisation import read_by_the_probe

    module = Images()
    module.train()
    module.blocks[1].norm.eval()  # frozen by its user
    batches = [batch for batch in images(batch_size)][: 32 // batch_size]
    with changes_of(module) as changes, undisturbed(module) as disturbed:
        assert read_by_the_probe(module, unsettled_layers(module), batches, lambda batch: module(batch[0])) == ""
        seen = [module(batch[0]) for batch in batches]
        assert all(torch.isfinite(output).all() for output in seen)
    assert changes == []
    assert disturbed == []
    assert module.blocks[0].norm.momentum == 0.1
    assert (module.blocks[0].norm.training, module.blocks[1].norm.training) == (True, False)


@pytest.mark.slow
def test_settled_statistics_are_read_as_they_are_through_the_whole_run(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Images(rate=0.05)
    train(tmp_path / "first", module)
    assert unsettled_layers(module) == frozenset()
    history = train(tmp_path / "second", module)
    assert {record.probe["normalisation"] for record in history} == {"own statistics"}
    assert history[0].reference == "3 re-initialised networks (reset_parameters)", "it has none of its own start"


@pytest.mark.slow
def test_a_resumed_run_goes_on_reading_as_it_began(tmp_path: Path) -> None:
    torch.manual_seed(0)
    train(tmp_path / "run", Images(rate=0.05), when=[40])
    history = train(tmp_path / "run", Images(rate=0.05), epochs=11, ckpt=tmp_path / "run/end.ckpt", when=[44])
    assert [record.step for record in history] == [0, 40, 44]
    assert {record.probe["normalisation"] for record in history} == {"statistics of the probe"}
    assert not any("no longer against" in note for record in history for note in record.notes)


def test_loaded_statistics_count_as_settled_although_no_batch_was_counted() -> None:
    layer = nn.Sequential(nn.BatchNorm1d(4))
    assert unsettled_layers(layer) == {"0"}
    layer[0].running_mean.fill_(0.3)
    assert unsettled_layers(layer) == frozenset()
    layer[0].num_batches_tracked.fill_(3)
    assert unsettled_layers(layer) == {"0"}, "0.9 ** 3 of them is still what they began with"
    layer[0].num_batches_tracked.fill_(30)
    assert unsettled_layers(layer) == frozenset()


def test_loaded_statistics_are_read_alike_also_once_a_few_batches_were_counted(tmp_path: Path) -> None:
    """Weights converted from elsewhere come with statistics and no count; after two steps the count says two."""
    torch.manual_seed(0)
    module = Images(rate=0.0)
    for block in module.blocks:
        block.norm.running_mean.normal_()
        block.norm.momentum = 0.0  # nothing moves, neither weights nor statistics
    history = train(tmp_path, module, epochs=1, when=[2])
    assert [record.step for record in history] == [0, 2, 4]
    assert module.blocks[0].norm.num_batches_tracked == 4
    for record in history:
        assert record.probe["normalisation"] == "own statistics"
        np.testing.assert_array_equal(record.growth, np.ones(4))


def test_instance_norms_that_gather_statistics_go_by_each_input_in_pieces_too() -> None:
    from lightning_gw.activations.isolation.undisturbed import undisturbed
    from lightning_gw.activations.running.normalisation import read_by_the_probe

    module = nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True), nn.BatchNorm2d(3)).eval()
    batches = [batch for batch in images(8)][:2]
    with undisturbed(module), torch.no_grad():
        read_by_the_probe(module, unsettled_layers(module), batches, lambda batch: module(batch[0]))
        for x, _ in batches:
            torch.testing.assert_close(module[0](x), nn.functional.instance_norm(x))
    assert not module[0].training
    assert not module[0].running_mean.any()


class OwnNorm(nn.Module):
    """A norm as language models bring their own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


def test_the_width_of_the_residual_stream_is_found_from_the_norms() -> None:
    network = nn.Sequential(nn.LayerNorm(12), nn.BatchNorm1d(7), nn.GroupNorm(2, 8), OwnNorm(16), nn.LayerNorm((3, 5)))
    assert normalised_widths(network) == {12, 16}
    assert normalised_widths(nn.Sequential(nn.Linear(3, 3))) == frozenset()
