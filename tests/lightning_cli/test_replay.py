"""What is replayed from saved checkpoints equals what was found live, to the last bit."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import lightning_gw as lgw
from lightning_gw.activations.observer import Observer
from lightning_gw.activations.running.normalisation import unsettled_layers
from lightning_gw.cli import main
from lightning_gw.lightning_cli.checkpoints import Checkpoint
from lightning_gw.lightning_cli.p_values import last_checkpoint
from lightning_gw.records.history import History, load_history
from lightning_gw.utilities.errors import UsageError

_CODE = """
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(LightningModule):
    steps = 0

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.Tanh(),
                                                    nn.Dropout(0.1)) for _ in range(4)))
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.layers(x))

    def training_step(self, batch, index):
        Net.steps += 1
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-2)


class Data(LightningDataModule):
    def make(self, count, seed):
        x = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
        return TensorDataset(x, (x[:, 0] > 0).long())

    def train_dataloader(self):
        return DataLoader(self.make(64, 0), batch_size=16, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.make(32, 1), batch_size=16)
"""


def config(solve: str, when: Any, watched: bool = True, steps: int = 9) -> dict[str, Any]:
    watcher = {
        "class_path": "lightning_gw.GWSimilarity",
        "init_args": {"layers": ["layers.*"], "probe_size": 16, "when": when, "max_overhead": None, "solve": solve},
    }
    saver = {"class_path": "ModelCheckpoint", "init_args": {"every_n_train_steps": steps // 3, "save_top_k": -1}}
    return {
        "seed_everything": 3,
        "model": {"class_path": "my_net.Net"},
        "data": {"class_path": "my_net.Data"},
        "trainer": {
            "accelerator": "cpu",
            "max_steps": steps,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [*([watcher] if watched else []), saver],
        },
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_net.py").write_text(_CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_net", raising=False)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    return tmp_path


def run(here: Path, solve: str = "inline", when: Any = "checkpoint", watched: bool = True, steps: int = 9) -> list[str]:
    """Train, and give the names of the checkpoints, the newest first."""
    (here / "base.yaml").write_text(yaml.safe_dump(config(solve, when, watched, steps)))
    assert main(["fit", "-c", "base.yaml", "--run_dir=live"]) == 0
    files = sorted((here / "live/checkpoints").glob("*.ckpt"), reverse=True)
    assert len(files) == 3
    return [str(file) for file in files]


def assert_equal(replayed: History, live: History) -> None:
    by_step = {record.step: record for record in live}
    for again in replayed:
        record = by_step[again.step]
        one, other = again.to_json(), record.to_json()
        for line in (one, other):
            del line["seconds"], line["gw_seconds"]
        assert one == other
        arrays = record.arrays()
        assert again.arrays().keys() == arrays.keys()
        for name, values in again.arrays().items():
            np.testing.assert_array_equal(values, arrays[name], err_msg=f"{name} at step {again.step}")


@pytest.mark.parametrize(
    ("solve", "when", "shared"),
    [("inline", "checkpoint", {3, 6, 9}), ("background", [3, 5, 6, 9], {3, 6, 9}), ("inline", [2, 6], {6})],
)
@pytest.mark.representatives("inline-checkpoint-*")
def test_replayed_records_equal_the_live_ones_to_the_last_bit(
    here: Path, capsys: pytest.CaptureFixture[str], solve: str, when: Any, shared: set[int]
) -> None:
    files = run(here, solve, when)
    trained = sys.modules["my_net"].Net.steps
    assert main(["replay", *files, "-c", "live/config.yaml", "--out", "again"]) == 0
    assert sys.modules["my_net"].Net.steps == trained, "a step was trained"
    replayed, live = load_history(here / "again"), load_history(here / "live")
    assert [record.step for record in replayed] == [3, 6, 9]
    assert {record.step for record in live} & {3, 6, 9} == shared | {9}
    assert_equal(History([record for record in replayed if record.step in shared]), live)
    # The look at the end of fit comes after the last checkpoint and its validation, and sees the same weights.
    np.testing.assert_array_equal(replayed[-1].gw.couplings, live[-1].gw.couplings)
    assert replayed[-1].events == live[-1].events
    said = capsys.readouterr().out
    assert "For a page to look at:  lightning-gw report again" in said
    assert not list(here.glob("lightning_logs"))


@pytest.mark.slow
def test_one_checkpoint_alone_gives_the_record_that_the_run_found_after_others(here: Path) -> None:
    files = run(here)
    assert main(["replay", files[0], "--config=live/config.yaml"]) == 0
    replayed = load_history(here / "replay")
    assert [record.step for record in replayed] == [9]
    assert_equal(replayed, load_history(here / "live"))
    assert not (replayed[0].growth == 1).any(), "growth was measured against this very record"


@pytest.mark.slow
def test_a_run_that_nobody_watched_gets_its_records(here: Path) -> None:
    files = run(here, watched=False)
    assert not (here / "live/gw").exists()
    assert main(["replay", *files, files[0], "-c", "live/config.yaml", "--out=first"]) == 0
    history = load_history(here / "first")
    assert [record.step for record in history] == [3, 6, 9]
    assert any("growth and groups begin at this record" in note for note in history[0].notes)
    assert (history[0].growth == 1).all()
    assert not (history[2].growth == 1).any()
    module, data = sys.modules["my_net"].Net(), sys.modules["my_net"].Data()
    named = lgw.GWSimilarity("layers.*", probe_size=16, name="words")
    assert lgw.replay(module, data, files, here / "second", named).path == here / "second/gw-words"


@pytest.mark.slow
@pytest.mark.parametrize("watched", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_finished_run_gets_p_values(here: Path, capsys: pytest.CaptureFixture[str], watched: bool) -> None:
    files = run(here, watched=watched)
    trained = sys.modules["my_net"].Net.steps
    assert main(["test", "live", "--networks=19"]) == 0
    assert sys.modules["my_net"].Net.steps == trained, "a step was trained"
    (record,) = load_history(here / "live/test")
    assert record.step == 9
    assert record.null.startswith("19 re-initialised networks")
    assert record.groups.p_value is not None
    assert record.groups.p_value >= 1 / 20
    said = capsys.readouterr().out
    assert "against 19 re-initialised networks" in said
    if watched:  # the same look of the same weights, held against more
        live = load_history(here / "live")[-1]
        np.testing.assert_array_equal(record.gw.distortion, live.gw.distortion)
        np.testing.assert_array_equal(record.growth, live.growth)
        assert said.endswith(f"The page of the run shows it:  {(here / 'live/report.html').as_uri()}\n")
        assert "made after training by lightning-gw test" in (here / "live/report.html").read_text(encoding="utf-8")
    else:
        assert said.endswith("For a page to look at:  lightning-gw report live/test\n")
    shutil.copy(files[0], "alone.ckpt")
    module, data = sys.modules["my_net"].Net(), sys.modules["my_net"].Data()
    watcher = lgw.GWSimilarity("layers.*", probe_size=16) if watched else None
    again = lgw.p_values(module, data, files[0], here / "again", watcher, networks=19)
    assert again.groups.p_values == record.groups.p_values
    for wrong in (["nowhere"], ["live", "--networks=5"], ["alone.ckpt", "--out=other"], ["live", "--networks=19"]):
        assert main(["test", *wrong]) == 2, wrong
    said = capsys.readouterr().err
    for what in ("nowhere does not exist", "fewer than 19", "config.yaml does not exist", "holds a history already"):
        assert what in said


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "not watched"])
@pytest.mark.parametrize("command", ["replay", "skip-test", "probe-report"])
@pytest.mark.representatives("replay-watched")
def test_layers_are_read_as_a_run_reads_them_also_once_their_own_statistics_are_settled(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: str, watched: bool
) -> None:
    file = run(here, when=[36], watched=watched, steps=36)[0]
    network = sys.modules["my_net"].Net()
    network.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
    assert unsettled_layers(network) == frozenset(), "too few steps"
    read: list[str] = []
    observe = Observer.observe
    monkeypatch.setattr(Observer, "observe", lambda self, *to: read.append(self.normalisation) or observe(self, *to))
    few = ["--sizes=16", "--draws-of-probe=1"] if command == "probe-report" else []
    assert main([command, file, *few, "-c", "live/config.yaml", "--out", "again"]) == 0
    assert set(read) == {"statistics of the probe"}
    if command == "replay" and watched:
        (again,) = load_history(here / "again")
        assert_equal(History([again]), load_history(here / "live"))
        assert again.reference.startswith("its own first look (step 0)")


def test_the_last_checkpoint_is_found_among_what_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    for place in ("sharded.ckpt", "checkpoints"):
        (run / place).mkdir(parents=True)
    (run / "checkpoints/cut.ckpt").write_bytes(b"PK\x03\x04 and no more")
    for wrong in (("test", str(run)), ("test", str(run), "--networks=0"), ("test", str(run / "sharded.ckpt"))):
        assert main([*wrong]) == 2
    said = capsys.readouterr()
    assert "holds no checkpoint (*.ckpt) to read" in said.err
    assert "--networks 0: fewer than 19" in said.err
    for step in (3, 12, 9):
        torch.save({"state_dict": {"w": torch.ones(2)}, "global_step": step}, run / f"checkpoints/{step}.ckpt")
    old = {"state_dict": {}, "global_step": 1}
    torch.save(old, run / "checkpoints/old.ckpt", _use_new_zipfile_serialization=False)
    assert last_checkpoint(run) == Checkpoint(run / "checkpoints/12.ckpt", 12)
    notes = capsys.readouterr().out.splitlines()
    assert [note.split(" ")[1] for note in notes] == [str(run / "checkpoints/cut.ckpt"), str(run / "sharded.ckpt")]
    with pytest.raises(UsageError, match="networks=5: fewer than 19"):
        lgw.p_values(torch.nn.Linear(2, 2), None, "unused.ckpt", networks=5)


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


def test_nothing_that_is_read_is_unpickled(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "base.yaml").write_text(yaml.safe_dump(config("inline", "checkpoint")))
    torch.save({"state_dict": {}, "global_step": 3, "callbacks": Bomb()}, here / "bomb.ckpt")
    (here / "raw.ckpt").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.ckpt", "raw.ckpt"):
        assert main(["replay", name, "-c", "base.yaml"]) == 2
        assert name in capsys.readouterr().err
    assert not (here / "exploded").exists()
    pickle.loads((here / "raw.ckpt").read_bytes())
    assert (here / "exploded").exists(), "the test's bomb is a dud"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "x.ckpt does not exist"),
        ({"global_step": 3}, "holds no state_dict"),
        ({"state_dict": {}}, "names no global_step"),
        ({"state_dict": {"other": torch.zeros(2)}, "global_step": 3}, "do not fit the model of the config"),
    ],
)
@pytest.mark.representatives("content1*", "None*")
def test_a_file_that_cannot_be_used_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], content: Any, said: str
) -> None:
    (here / "base.yaml").write_text(yaml.safe_dump(config("inline", "checkpoint")))
    if content is not None:
        torch.save(content, here / "x.ckpt")
    assert main(["replay", "x.ckpt", "-c", "base.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lightning-gw: ")
    assert said in error


@pytest.mark.slow
def test_a_history_that_is_there_is_not_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = run(here)
    before = (here / "live/gw/history.jsonl").read_bytes()
    assert main(["replay", *files, "-c", "live/config.yaml", "--out", "live"]) == 2
    assert "holds a history already. Name another folder: --out, or in a script out." in capsys.readouterr().err
    assert (here / "live/gw/history.jsonl").read_bytes() == before
