"""A checkpoint of a real run, looked at under several settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning.demos.boring_classes import BoringModel
from torch import nn

from lightning_gw import GWSimilarity
from lightning_gw.cli import main
from lightning_gw.probe_report.command import place_of_labels, probe_report_of, report_on_probe
from lightning_gw.records.history import load_history
from lightning_gw.utilities.errors import UsageError

_CODE = """
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mix = nn.Linear(width, width)

    def forward(self, x):
        return x + torch.tanh(self.mix(x)) + 0.3 * x.mean(dim=1, keepdim=True)


class Net(LightningModule):
    steps = 0

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(4)))
        self.head = nn.Linear(width, 2)

    def forward(self, tokens):
        return self.head(self.blocks(self.embed(tokens)).mean(dim=1))

    def training_step(self, batch, index):
        Net.steps += 1
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-1)


class Data(LightningDataModule):
    def make(self, count, seed):
        x = torch.randint(11, (count, 5), generator=torch.Generator().manual_seed(seed))
        return TensorDataset(x, (x[:, 0] > 5).long())

    def train_dataloader(self):
        return DataLoader(self.make(64, 0), batch_size=16, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.make(48, 1), batch_size=16)
"""

_WATCHER = {
    "class_path": "lightning_gw.GWSimilarity",
    "init_args": {
        "layers": ["embed", "blocks.*"],
        "probe_size": 16,
        "max_overhead": None,
        "draws": 20,
        "null_samples": 0,
        "effort": "fast",
        "warm_start": False,
    },
}


def config(watched: bool) -> dict[str, Any]:
    saver = {"class_path": "ModelCheckpoint", "init_args": {"every_n_train_steps": 2, "save_top_k": -1}}
    return {
        "seed_everything": 3,
        "model": {"class_path": "my_tokens.Net"},
        "data": {"class_path": "my_tokens.Data"},
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 4,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [*([_WATCHER] if watched else []), saver],
        },
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_tokens.py").write_text(_CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "my_tokens", raising=False)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    return tmp_path


def train(here: Path, watched: bool = True) -> list[str]:
    """Train, and give the checkpoints, the oldest first."""
    (here / "base.yaml").write_text(yaml.safe_dump(config(watched)))
    assert main(["fit", "-c", "base.yaml", "--run_dir=live"]) == 0
    files = sorted((here / "live/checkpoints").glob("*.ckpt"))
    assert len(files) == 2
    return [str(file) for file in files]


def read(folder: str) -> Any:
    return json.loads(Path(folder, "probe-report.json").read_text())


@pytest.mark.slow
def test_a_checkpoint_is_seen_as_the_run_saw_it_and_otherwise(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = train(here)
    trained = sys.modules["my_tokens"].Net.steps
    report_on_probe(files[1], ["live/config.yaml"], "out", sizes=[16, 24, 999], draws=2)
    assert sys.modules["my_tokens"].Net.steps == trained, "a step was trained"
    found = read("out")
    rows = {row["label"]: row for row in found["settings"]}
    assert list(rows) == [
        "as the run",
        "24 inputs",
        "999 inputs",
        "tokens scaled",
        "pooling first",
        "pooling last",
        "balanced over 1",
        "without embed",
        "without dominant inputs",
        "cosine",
    ]
    assert found["layers"] == ["embed", *(f"blocks.{i}" for i in range(4))]

    record = load_history(here / "live")[-1]
    assert record.step == 4
    look = rows["as the run"]["looks"][0]
    assert look["labels"] == list(record.groups.labels)
    assert look["boundaries"] == list(record.groups.boundaries)
    np.testing.assert_equal(float(look["contrast"] or np.nan), record.groups.contrast)
    assert found["notes"] == [], "the probe is that of the run"

    assert [len(row["looks"]) for row in rows.values()] == [2, 2, 0, 2, 2, 2, 2, 2, 2, 2]
    assert rows["without dominant inputs"]["looks"][0]["inputs"] == 15
    assert "probe_size=999 asks for more inputs than the validation data holds: 48" in rows["999 inputs"]["why"]
    assert [look["inputs"] for look in rows["24 inputs"]["looks"]] == [24, 24]
    assert rows["without embed"]["looks"][0]["labels"][0] == -1
    seen = ("as the run", "pooling first", "pooling last", "balanced over 1")
    assert len({rows[name]["looks"][0]["contrast"] for name in seen}) == 4, "each sees something else"
    assert 0 < rows["as the run"]["shared_inputs"] < 1, "draws are of other inputs"
    assert Path("out/probe-report.png").read_bytes()[:4] == b"\x89PNG"

    said = capsys.readouterr().out
    assert said.index("your groups") < said.index("groups found most") < said.index("probe_size=999 asks")
    assert not list(here.glob("lightning_logs"))


@pytest.mark.slow
def test_an_unwatched_run_is_seen_with_its_own_checkpoints_weights(here: Path) -> None:
    contrasts = []
    for place, file in enumerate(train(here, watched=False)):
        report_on_probe(file, ["base.yaml"], str(place), sizes=[], poolings=[], balances=["none", "5"], without=[])
        rows = read(str(place))["settings"]
        assert [row["label"] for row in rows] == [
            "as the run",
            "balanced over 5",
            "without dominant inputs",
            "cosine",
        ]
        assert rows[0]["looks"][0]["inputs"] == 48, "all there are"
        assert rows[0]["shared_inputs"] == 1
        assert "balance=5 finds no label" in rows[1]["why"]
        contrasts.append([look["contrast"] for look in rows[0]["looks"]])
    assert contrasts[0] != contrasts[1]


def test_where_weights_come_from_is_asked_before_those_of_the_checkpoint_are_there(tmp_path: Path) -> None:
    class Wrapped(BoringModel):
        def __init__(self, layer: nn.Module) -> None:  # so that it is not built anew, but its layers are reset
            super().__init__()
            self.layer = layer

    def network() -> Wrapped:
        return Wrapped(nn.Sequential(*(nn.Linear(32, 32) for _ in range(3)), nn.Linear(32, 2)))

    trained = network()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(5).add_(1)
    torch.save({"state_dict": trained.state_dict(), "global_step": 3}, tmp_path / "x.ckpt")
    untold = dict.fromkeys(("sizes", "poolings", "balances", "without"), ())
    module, watcher = network(), GWSimilarity(probe_size=16, bootstrap_samples=0, verbose=False)
    report = probe_report_of(
        module, module.train_dataloader(), tmp_path / "x.ckpt", tmp_path, watcher, **untold, draws=1
    )
    assert report.notes == (), "copies with fresh weights are made of the network as it was built"
    torch.testing.assert_close(module.state_dict(), trained.state_dict())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"checkpoint": "none.ckpt"}, "none.ckpt does not exist"),
        ({"sizes": [2]}, "--sizes 2: at least 4 inputs"),
        ({"poolings": ["means"]}, "Near names: mean"),
        ({"draws": 0}, "--draws-of-probe 0"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(tmp_path: Path, arguments: Mapping[str, Any], said: str) -> None:
    torch.save({"state_dict": {}, "global_step": 3}, tmp_path / "x.ckpt")
    with pytest.raises(UsageError, match=said):
        report_on_probe(**{"checkpoint": tmp_path / "x.ckpt", "configs": [], "out": tmp_path / "out", **arguments})
    assert not (tmp_path / "out").exists()


def test_labels_are_found_where_batches_usually_bring_them() -> None:
    x, classes = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    assert place_of_labels((x, classes)) == 1
    assert place_of_labels([x, classes.float()]) is None
    assert place_of_labels((x,)) is None
    assert place_of_labels(x) is None
    assert place_of_labels({"input_ids": x, "labels": classes}) == "labels"
    assert place_of_labels({"input_ids": x}) is None
