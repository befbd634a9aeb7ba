"""What the probe is drawn from, and what is wrong before the first step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from callback_nets import (
    Net,
    loader,
    trainer,
    watcher,
)
from torch import nn

import lightning_gw as lgw
from lightning_gw.activations.probe.sources import find_sources


def test_validation_data_serves_even_when_validation_comes_late_or_never(tmp_path: Path) -> None:
    for options in ({"check_val_every_n_epoch": 2}, {"limit_val_batches": 0}):
        callback = watcher(tmp_path / str(options), when=[2])
        trainer(tmp_path, callback, max_epochs=1, **options).fit(Net(), loader(), loader(32, seed=5))
        assert callback.history[0].probe["source"] == "validation data"


def test_training_data_serves_where_there_is_no_other_or_when_asked(tmp_path: Path) -> None:
    callback = watcher(tmp_path / "only", when=[2])
    trainer(tmp_path, callback, max_epochs=1).fit(Net(), loader(shuffle=True))
    assert callback.history[0].probe["source"] == "training data"
    asked = watcher(tmp_path / "asked", when=[2], probe="train")
    trainer(tmp_path, asked, max_epochs=1).fit(Net(), loader(shuffle=True), loader(32, seed=5))
    assert asked.history[0].probe["hash"] == callback.history[0].probe["hash"]


def test_datamodules_and_balance(tmp_path: Path) -> None:
    import pytorch_lightning as pl

    class Data(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader()

        def val_dataloader(self) -> Any:
            return [loader(40, seed=1), loader(40, seed=2)]

    class TwoSets(Net):  # type: ignore[misc]
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            super().validation_step(batch, batch_idx)

    callback = watcher(tmp_path, when=[2], balance=1)
    with pytest.warns(UserWarning, match="Of 2 loaders the probe was drawn from the first"):
        trainer(tmp_path, callback, max_epochs=1).fit(TwoSets(), datamodule=Data())
    assert callback.history[0].probe["source"] == "validation data (loader 0), balanced over 3 classes"


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({"probe_size": 50}, (64, 20), "probe_size=50 asks for more inputs than the validation data holds: 20"),
        ({"probe_size": 3}, (64, 20), "at least 4 inputs are needed"),
        (
            {"probe_step": "forwards"},
            (64, 20),
            "names no method of WithIdle. Near names: forward",
        ),
        ({"layers": ["net.l"]}, (64, 32), r"'net\.l' names no module.*net\.\d"),
        ({"layers": ["net.1", "idle"]}, (64, 32), r"'idle' was never called.*Called were: net\.1"),
        ({"layers": ["net.1"]}, (64, 32), "At least 2 layers are needed"),
        ({"probe": "test"}, (64, 32), "probe='test' is not understood"),
        ({"pooling": "first"}, (64, 32), r"layer 'net\.1' gave \(12, 12\)"),
        ({"geometry": "spherical"}, (64, 32), "spherical"),
    ],
)
def test_what_is_wrong_is_an_error_before_the_first_step(
    tmp_path: Path, options: dict[str, Any], data: tuple[int, int], message: str
) -> None:
    class WithIdle(Net):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Linear(2, 2)

    module = WithIdle()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, watcher(tmp_path, on_error="warn", when=[2], **options)).fit(
            module, loader(data[0]), loader(data[1])
        )
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_no_data_at_all(tmp_path: Path) -> None:
    class Nothing(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            return iter(())

    with pytest.raises(ValueError, match=r"holds 0 inputs.*Pass other inputs with GWSimilarity\(probe="):
        trainer(tmp_path, watcher(tmp_path, when=[2], probe=Nothing(), probe_size=None)).fit(Net(), loader())
    with pytest.raises(ValueError, match=r"no such data.*probe=batch or dataset"):
        trainer(tmp_path, watcher(tmp_path, when=[2], probe="validation")).fit(Net(), loader())

    nothing = SimpleNamespace(val_dataloaders=[], train_dataloader=None)
    with pytest.raises(ValueError, match=r"no validation and no training data.*Pass inputs with GWSimilarity\(probe="):
        find_sources(nothing, None)


def test_an_unwritable_folder_is_an_error_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "gw").write_text("a file is in the way")
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "gw"))):
        trainer(tmp_path, watcher(tmp_path, when=[2])).fit(Net(), loader(), loader(32))


def test_unknown_arguments_are_refused_at_once() -> None:
    for arguments in ({"pooling": "avg"}, {"when": "sometimes"}, {"on_error": "ignore"}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            lgw.GWSimilarity(**arguments)
