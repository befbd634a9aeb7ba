"""`lightning-gw skip-test` on the checkpoint of a real run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from lightning_gw.cli import main
from lightning_gw.interventions.skips import LayerSkip, SkipTest
from lightning_gw.lightning_cli.skip_test import table_of
from lightning_gw.records.history import load_history

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
        return x + torch.tanh(self.mix(x))


class Net(LightningModule):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(4)))
        self.head = nn.Linear(width, 2)

    def forward(self, tokens):
        return self.head(self.blocks(self.embed(tokens)).mean(dim=1))

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        logits = self(batch[0])
        self.log("val/loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val/accuracy", (logits.argmax(1) == batch[1]).float().mean())

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


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_skips.py").write_text(_CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "my_skips", raising=False)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    watching = {
        "class_path": "lightning_gw.GWSimilarity",
        "init_args": {"layers": ["embed", "blocks.*"], "probe_size": 16, "max_overhead": None, "effort": "fast"},
    }
    watching["init_args"] |= {"bootstrap_samples": 0, "null_samples": 0, "skip_test": True}
    saver = {"class_path": "ModelCheckpoint", "init_args": {"save_last": True}}
    config = {
        "seed_everything": 3,
        "model": {"class_path": "my_skips.Net"},
        "data": {"class_path": "my_skips.Data"},
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 4,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [watching, saver],
        },
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "-c", "base.yaml", "--run_dir=live"]) == 0
    return "live/checkpoints/last.ckpt"


def test_it_says_what_the_end_of_training_said(
    checkpoint: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    capsys.readouterr()
    assert main(["skip-test", checkpoint, "-c", "base.yaml", "--out", "out"]) == 0
    said = capsys.readouterr().out
    assert not [message for message in caplog.messages if "available" in message or "Seed set" in message]
    live, later = (json.loads(Path(folder, "skip-test.json").read_text()) for folder in ("live/gw", "out"))
    assert later["layers"] == live["layers"]
    assert (later["metric"], later["whole"], later["step"]) == ("val/loss", live["whole"], 4)
    assert later["layers"][0]["reason"] == "it turns int64 into float32"
    assert list(later["labels"]) == list(load_history("live")[-1].groups.labels)
    for sentence in later["sentences"]:
        assert sentence in " ".join(said.split())
    assert Path("out/skip-test.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ((0, 0, 1, -1), ["1", "1", "2", "–"]),
        ((0, 0, 0, -1), ["none"] * 4),
        ((0, 0, 0, 0), ["none"] * 4),
        (None, ["–"] * 4),
    ],
)
def test_the_table_tells_no_groups_from_groups_that_are_not_known(
    labels: tuple[int, ...] | None, told: list[str]
) -> None:
    rows = tuple(LayerSkip(f"layer.{k}", 0.1, 0.01, 0.2, 0.3, 0.4) for k in range(4))
    table = table_of(SkipTest("val/loss", "min", 1.0, 16, rows, labels=labels))
    assert list(table.columns[2].cells) == told


@pytest.mark.slow
def test_another_metric_and_what_is_no_metric(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["skip-test", checkpoint, "-c", "base.yaml", "--metric=val/accuracy"]) == 0
    found = json.loads(Path("live/skip-test/skip-test.json").read_text())
    assert (found["metric"], found["mode"]) == ("val/accuracy", "max")
    assert capsys.readouterr().out.endswith(
        f"The page of the run shows it:  {Path('live/report.html').absolute().as_uri()}\n"
    )
    assert "fall of val/accuracy without it" in Path("live/report.html").read_text(encoding="utf-8")
    assert main(["skip-test", checkpoint, "-c", "base.yaml", "--metric=accuracy"]) == 2
    assert "No skip test: The module's validation logs no 'accuracy'" in capsys.readouterr().err


@pytest.mark.slow
def test_weights_of_another_model_are_named(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = yaml.safe_load(Path("base.yaml").read_text())
    other["model"]["init_args"] = {"width": 12}
    Path("other.yaml").write_text(yaml.safe_dump(other))
    assert main(["skip-test", checkpoint, "-c", "other.yaml"]) == 2
    said = capsys.readouterr().err
    assert "do not fit the model of the config" in said
    assert "blocks.0.mix.weight" in said


@pytest.mark.slow
def test_which_way_is_better_is_what_the_config_watches(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(Path("base.yaml").read_text())
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/accuracy", "mode": "min"}}
    config["trainer"]["callbacks"].append(stopping)
    Path("watched.yaml").write_text(yaml.safe_dump(config))
    for more, mode in (([], "min"), (["--mode=max"], "max")):
        assert main(["skip-test", checkpoint, "-c", "watched.yaml", "--metric=val/accuracy", *more]) == 0
        assert json.loads(Path("live/skip-test/skip-test.json").read_text())["mode"] == mode
        better = "less of it is better" if mode == "min" else "more of it is better"
        assert better in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("acting", "options"),
    [
        ("DropLayers", {"layers": ["blocks.1", "blocks.2"], "at": 0.25}),
        ("FreezeSettledGroups", {"looks": 2}),
        ("TrainGroup", {"at": 0.25}),
    ],
    ids=["drop", "freeze", "train"],
)
@pytest.mark.representatives("drop")
@pytest.mark.usefixtures("checkpoint")
def test_checkpoints_of_runs_that_acted_on_groups_are_read(acting: str, options: dict[str, object]) -> None:
    config = yaml.safe_load(Path("base.yaml").read_text())
    watching, saver = config["trainer"]["callbacks"]
    watching["init_args"] |= {"bootstrap_samples": 3, "skip_test": False}
    action = {"class_path": f"lightning_gw.{acting}", "init_args": options}
    config["trainer"]["callbacks"] = [watching, action, saver]
    Path("acting.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "-c", "acting.yaml", "--run_dir=acted"]) == 0
    saved = "acted/checkpoints/last.ckpt"
    assert main(["replay", saved, "-c", "acting.yaml", "--out", "seen"]) == 0
    (live, later) = (load_history(folder)[-1] for folder in ("acted", "seen"))
    assert (later.step, later.layers) == (live.step, live.layers)
    np.testing.assert_array_equal(later.gw.distortion, live.gw.distortion)
    assert main(["skip-test", saved, "-c", "acting.yaml", "--out", "out"]) == 0
    rises = {row["layer"]: row["rise"] for row in json.loads(Path("out/skip-test.json").read_text())["layers"]}
    assert [name for name, rise in rises.items() if rise == 0] == (
        ["blocks.1", "blocks.2"] if acting == "DropLayers" else []
    )
