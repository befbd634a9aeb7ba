"""`GWSimilarity` without arguments, beside others, and from a config, in real Trainers."""

from __future__ import annotations

import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from callback_nets import (
    CLASSES,
    Net,
    assert_same_history,
    loader,
    module_class,
    no_warning_of_ours,
    plain_net,
    steps,
    trainer,
    watcher,
)
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from snapshots import Snapshots, error_of
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lightning_gw as lgw
from lightning_gw.groups.roughness import why_no_roughness


@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
@pytest.mark.representatives("pytorch_lightning")
def test_no_arguments_needed(tmp_path: Path, package: str, capsys: pytest.CaptureFixture[str]) -> None:
    pl = pytest.importorskip(package)
    callback = lgw.GWSimilarity()
    fit = trainer(tmp_path, callback, pl=pl, logger=True, enable_checkpointing=True, num_sanity_val_steps=2)
    with no_warning_of_ours():
        fit.fit(module_class(pl)(), loader(64, 16, shuffle=True), loader(160, 16))
    assert steps(callback) == [0, 4, 8]
    on_disk = lgw.load_history(Path(fit.log_dir))
    assert_same_history(on_disk, callback.history)
    last = on_disk[-1]
    assert last.layers == ("net.1", "net.3", "net.5", "net.6")
    assert last.probe["size"] == 128
    assert last.probe["source"] == "validation data"
    assert last.metrics.keys() == {"val_loss"}
    assert [row["step"] for row in on_disk.metrics] == [4, 8]
    assert set(last.measures) == {"paired_dcor", "paired_cka", "debiased_cka", "gw_anchored"}
    np.testing.assert_allclose(last.growth, last.groups.adjacent / on_disk[0].groups.adjacent)
    printed = capsys.readouterr().out
    assert len(re.findall(r"^gw step \d+: .*\(\d+\.\d s(?:, [\d.]+ s of it for .*)?\)$", printed, re.MULTILINE)) == 3
    assert lgw.describe(on_disk) in printed
    assert str(on_disk.path) in printed


@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
@pytest.mark.slow
def test_huggingface_bert_from_a_config(tmp_path: Path, package: str) -> None:
    pl, transformers = pytest.importorskip(package), pytest.importorskip("transformers")

    class Bert(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            config = transformers.BertConfig(
                vocab_size=20, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
            )
            self.model = transformers.BertForSequenceClassification(config)

        def forward(self, **batch: Tensor) -> Any:
            return self.model(**batch)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self(**batch).loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 1e-3)

    lengths = [2 + k % 4 for k in range(24)]
    items = [
        {
            "input_ids": torch.tensor([2 + (k * j) % 17 if j < length else 0 for j in range(6)]),
            "attention_mask": torch.tensor([int(j < length) for j in range(6)]),
            "labels": k % 2,
        }
        for k, length in enumerate(lengths)
    ]
    callback = lgw.GWSimilarity(verbose=False, save_dir=tmp_path, on_error="raise")
    with pytest.warns(UserWarning, match="24 inputs, all there are in the training data"):
        trainer(tmp_path, callback, max_epochs=1, pl=pl).fit(Bert(), DataLoader(items, batch_size=8))
    assert steps(callback) == [0, 3]
    record = callback.history[-1]
    assert record.layers == ("model.bert.embeddings", *(f"model.bert.encoder.layer.{k}" for k in range(3)))
    assert record.probe["size"] == 24
    assert any("24 inputs" in note for note in record.notes)


def test_a_network_too_shallow_for_roughness_is_told_so_once_in_its_record(tmp_path: Path) -> None:
    callback = watcher(tmp_path, when=[2, 4])
    with warnings.catch_warnings(record=True) as said_aloud:
        warnings.simplefilter("always")
        trainer(tmp_path, callback, max_epochs=1, logger=CSVLogger(tmp_path, name="log", version="one")).fit(
            Net(), loader(), loader(32)
        )
    assert not any("not finite" in str(warning.message) for warning in said_aloud)
    said = [[note for note in record.notes if "Roughness" in note] for record in callback.history]
    assert said == [[why_no_roughness(callback.history[0].groups.roughness)], [], []]
    assert "at least 4 distances above zero between neighbouring layers" in said[0][0]
    header = (tmp_path / "log/one/metrics.csv").read_text().splitlines()[0].split(",")
    assert "gw/groups/count" in header
    assert "gw/groups/roughness" not in header


def test_two_named_instances_share_a_trainer(tmp_path: Path) -> None:
    first = watcher(tmp_path, name="first", layers=["net.1", "net.3"])
    second = watcher(tmp_path, name="second", layers="net.*")
    saver = ModelCheckpoint(tmp_path / "c", save_top_k=-1)
    logger = CSVLogger(tmp_path, name="log", version="one")
    trainer(tmp_path, saver, first, second, logger=logger).fit(Net(), loader(), loader(32))
    assert steps(first) == steps(second) == [0, 4, 8]
    assert len(lgw.load_history(tmp_path / "gw-first")) == len(lgw.load_history(tmp_path / "gw-second")) == 3
    callbacks = torch.load(saver.best_model_path, weights_only=True)["callbacks"]
    assert {first.state_key, second.state_key} <= callbacks.keys()
    header = (tmp_path / "log/one/metrics.csv").read_text().splitlines()[0]
    assert "gw/first/groups/count" in header
    assert "gw/second/groups/count" in header


@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
@pytest.mark.parametrize(("name", "said"), [(None, "have no name"), ("words", "have the same name, 'words',")])
def test_two_instances_of_one_name_are_told_to_use_another(
    tmp_path: Path, package: str, name: str | None, said: str
) -> None:
    pl = pytest.importorskip(package)
    fit = trainer(tmp_path, watcher(tmp_path, name=name), watcher(tmp_path, name=name), pl=pl)
    with pytest.raises(ValueError, match=rf"Two GWSimilarity callbacks {said}.*GWSimilarity\(name='words'\)"):
        fit.fit(module_class(pl)(), loader(), loader(32))


def test_history_lies_beside_the_checkpoints(tmp_path: Path) -> None:
    callback = lgw.GWSimilarity(probe_size=12, effort="fast", verbose=False)
    fit = trainer(tmp_path, callback, logger=CSVLogger(tmp_path, name="n", version="v"), enable_checkpointing=True)
    fit.fit(Net(), loader(), loader(32))
    assert callback.history.path == tmp_path / "n/v/gw"
    assert Path(fit.checkpoint_callback.dirpath) == tmp_path / "n/v/checkpoints"


@pytest.mark.slow
def test_a_logger_that_throws_costs_neither_record_nor_training(tmp_path: Path) -> None:
    class Broken(CSVLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            if any(key.startswith("gw/") for key in metrics):
                raise ConnectionError("the dashboard is away")

    callback = watcher(tmp_path, when=[2, 4], on_error="warn")
    with pytest.warns(UserWarning, match="the dashboard is away"):
        trainer(tmp_path, callback, logger=Broken(tmp_path)).fit(Net(), loader(), loader(32))
    assert len(lgw.load_history(tmp_path)) == 4


def test_every_argument_can_come_from_a_config(tmp_path: Path) -> None:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Callback, "callback")
    config = tmp_path / "config.yaml"
    config.write_text(
        "callback:\n"
        "  class_path: lightning_gw.GWSimilarity\n"
        "  init_args:\n"
        "    layers: ['net.*']\n    probe: train\n    probe_size: 12\n    probe_batch_size: 6\n    balance: 1\n"
        "    pooling: mean\n    geometry: dcor\n    when: [1, 2]\n    looks: 3\n    every_n_steps: 4\n"
        f"    save_dir: {tmp_path}\n    seed: 3\n    prefix: gw/\n    name: yaml\n    verbose: false\n"
        "    probe_step: callback_nets.step_of_a_config\n    effort: fast\n    warm_start: false\n    on_error: raise\n"
    )
    callback = parser.instantiate(parser.parse_path(config)).callback
    assert isinstance(callback, lgw.GWSimilarity)
    trainer(tmp_path, callback, max_epochs=1).fit(Net(), loader())
    assert steps(callback) == [0, 1, 2, 4]
    assert callback.history[0].gw.geometry == "dcor"
    assert callback.history[0].probe["pooling"] == "mean"
    assert callback.history.path == tmp_path / "gw-yaml"


@pytest.mark.slow
def test_two_processes_look_alike_and_one_writes(tmp_path: Path) -> None:
    """Every rank looks, so that no collective is missed; what is written equals the single process's first look."""
    callback = watcher(tmp_path / "two", when=[2])
    fit = trainer(tmp_path, callback, max_epochs=1)
    fit = type(fit)(
        accelerator="cpu",
        devices=2,
        strategy="ddp_fork",
        callbacks=[callback],
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=1,
    )
    fit.fit(Net(plain_net()), loader(), loader(32))
    two = lgw.load_history(tmp_path / "two")
    assert [record.step for record in two] == [0, 2]
    alone = watcher(tmp_path / "one", when=[2])
    trainer(tmp_path, alone, max_epochs=1).fit(Net(plain_net()), loader(), loader(32))
    assert two[0].probe == alone.history[0].probe
    np.testing.assert_array_equal(two[0].gw.distortion, alone.history[0].gw.distortion)


@pytest.mark.slow
def test_compiled_networks_are_looked_at(tmp_path: Path) -> None:
    module = Net(plain_net())
    compiled = torch.compile(module, backend="eager")
    callback = watcher(tmp_path, when=[2])
    trainer(tmp_path, callback, max_epochs=1).fit(compiled, loader(), loader(32))
    assert callback.history[-1].layers == ("net.1", "net.3", "net.5", "net.6")


def test_lazy_networks_are_explained(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.LazyLinear(CLASSES))
    with pytest.raises(ValueError, match="lazy modules"):
        watcher(tmp_path)._observer.prepare(None, Net(net), None, ())  # type: ignore[arg-type]


WRONG_OPTIONS: tuple[dict[str, Any], ...] = (
    {"geometry": "standardised"},
    {"effort": "hi"},
    {"solve": "elsewhere"},
    {"when": "checkpoints"},
    {"when": "every_n_steps"},
    {"when": [1, 2.5]},
    {"when": "log", "looks": 0},
    {"when": "log", "every_n_steps": 0},
    {"null_samples": -1},
    {"measures": ["ckka"]},
    {"max_overhead": 0.0},
    {"on_error": "ignore"},
)


def test_a_wrong_option_is_refused_at_once(snapshots: Snapshots) -> None:
    told = [f"{options}\n    {error_of(partial(lgw.GWSimilarity, **options))}" for options in WRONG_OPTIONS]
    assert all("ValueError: " in line for line in told)
    snapshots.compare("wrong options", "\n".join(told))


def test_an_argument_that_there_is_none_of_is_refused_with_near_names() -> None:
    with pytest.raises(TypeError, match=r"GWSimilarity has no argument 'prob_size'\. Near names: probe_size"):
        lgw.GWSimilarity(prob_size=64)  # type: ignore[call-arg]
