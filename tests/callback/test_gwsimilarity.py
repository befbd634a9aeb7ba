"""`GWSimilarity` in real Trainers: when it looks, what it hands on, what it does when something is wrong."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from callback_nets import (
    CLASSES,
    Block,
    Net,
    assert_same_history,
    loader,
    module_class,
    plain_net,
    steps,
    task,
    trainer,
    watcher,
)
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lightning_gw as lgw
from lightning_gw.groups import why_no_roughness
from lightning_gw.observer import find_data


@contextmanager
def no_warning_of_ours() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*GWSimilarity.*")
        yield


# ---- the three lines of the README ----------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
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
    assert set(last.measures) == {"paired_dcor", "paired_cka"}
    np.testing.assert_allclose(last.growth, last.groups.adjacent / on_disk[0].groups.adjacent)
    printed = capsys.readouterr().out
    assert len(re.findall(r"^gw step \d+: .*\(\d+\.\d s\)$", printed, re.MULTILINE)) == 3
    assert lgw.describe(on_disk) in printed
    assert str(on_disk.path) in printed


@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
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


# ---- when -----------------------------------------------------------------------------------------------------------


def test_once_per_step_however_often_a_checkpoint_is_saved(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "a", save_top_k=-1, every_n_train_steps=3, save_last=True)
    another = ModelCheckpoint(tmp_path / "b", save_top_k=-1, every_n_epochs=1, save_last=True)
    callback = watcher(tmp_path)
    trainer(tmp_path, saver, another, callback, accumulate_grad_batches=2, max_epochs=3).fit(
        Net(), loader(64, 8), loader(32)
    )
    assert steps(callback) == [0, 3, 4, 6, 8, 9, 12]


def test_saves_from_validation_count_too(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "a", monitor="val_loss", save_top_k=-1)
    callback = watcher(tmp_path)
    trainer(tmp_path, saver, callback, max_epochs=1, val_check_interval=2).fit(Net(), loader(80), loader(32))
    assert steps(callback) == [0, 2, 4, 5]
    # What was just validated belongs to the record that was made in it.
    assert callback.history[1].metrics["val_loss"] == callback.history.metrics[0]["val_loss"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"when": "log", "looks": 4}, [0, 1, 3, 8, 24]),
        ({"when": "every_n_steps", "every_n_steps": 10}, [0, 10, 20, 24]),
        ({"when": [3, 7, 20]}, [0, 3, 7, 20, 24]),
        ({"when": [3], "every_n_steps": 12}, [0, 3, 12, 24]),
    ],
)
def test_schedules(tmp_path: Path, options: dict[str, Any], expected: list[int]) -> None:
    callback = watcher(tmp_path, **options)
    trainer(tmp_path, callback, accumulate_grad_batches=2, max_epochs=6).fit(Net(), loader(64, 8), loader(32))
    assert steps(callback) == expected


def test_log_spacing_without_a_known_end(tmp_path: Path) -> None:
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            yield from task(160)

    callback = watcher(tmp_path, when="log", probe=loader(32))
    trainer(tmp_path, callback, max_epochs=1).fit(Net(), DataLoader(Endless(), batch_size=16))
    assert steps(callback) == [0, 1, 2, 4, 8, 10]


@pytest.mark.parametrize(
    ("options", "callbacks", "reason"),
    [
        ({}, [], "has no ModelCheckpoint"),
        ({}, [ModelCheckpoint(save_weights_only=True)], "save_weights_only"),
        ({"fast_dev_run": True}, [], "fast_dev_run"),
    ],
)
def test_checkpoints_that_will_not_come_are_announced_once(
    tmp_path: Path, options: dict[str, Any], callbacks: list[Callback], reason: str
) -> None:
    callback = watcher(tmp_path)
    with pytest.warns(UserWarning, match="looks whenever a checkpoint is saved") as caught:
        trainer(tmp_path, *callbacks, callback, **options).fit(Net(), loader(), loader(32))
    told = [str(warning.message) for warning in caught if "whenever a checkpoint" in str(warning.message)]
    assert len(told) == 1
    assert reason in told[0]
    assert len(steps(callback)) == 2


def test_fast_dev_run_leaves_nothing_behind(tmp_path: Path) -> None:
    callback = lgw.GWSimilarity(probe_size=12, effort="fast", verbose=False)
    with pytest.warns(UserWarning, match="fast_dev_run"):
        trainer(tmp_path, callback, fast_dev_run=True).fit(Net(), loader(), loader(32))
    assert steps(callback) == [0, 1]
    assert not list(tmp_path.iterdir())


def test_no_look_for_the_learning_rate_finder_nor_after_an_error(tmp_path: Path) -> None:
    from pytorch_lightning.callbacks import LearningRateFinder

    class Net2(Net):  # type: ignore[misc]
        lr = 1e-2

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if self.trainer.global_step == 3:
                raise RuntimeError("the GPU fell over")
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), self.lr)

    class SavesFirst(Callback):
        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            trainer.save_checkpoint(tmp_path / "last-words.ckpt")

    finder = LearningRateFinder(num_training_steps=2, update_attr=True)
    saver = ModelCheckpoint(tmp_path, save_on_exception=True)
    callback = watcher(tmp_path)
    with pytest.raises(RuntimeError, match="fell over"):
        trainer(tmp_path, finder, SavesFirst(), saver, callback).fit(Net2(), loader(128), loader(32))
    assert (tmp_path / "last-words.ckpt").exists()
    assert steps(callback) == [0]


# ---- resuming -------------------------------------------------------------------------------------------------------


class StopAt(Callback):
    """Dies in the middle of a step, as machines do."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("power cut")


def resumable(root: Path, when: Any, *callbacks: Callback) -> tuple[lgw.GWSimilarity, Any]:
    saver = ModelCheckpoint(root / "checkpoints", filename="{step}", save_top_k=-1, every_n_train_steps=4)
    callback = watcher(root, when=when)
    return callback, trainer(root, *callbacks, saver, callback, max_epochs=3)


@pytest.mark.parametrize("when", ["checkpoint", "log", [1, 3, 5, 6, 9]], ids=["checkpoint", "log", "steps"])
def test_resumed_training_equals_uninterrupted(tmp_path: Path, when: Any) -> None:
    whole, fit = resumable(tmp_path / "whole", when)
    fit.fit(Net(plain_net()), loader(), loader(32))

    broken, fit = resumable(tmp_path / "broken", when, StopAt(7))
    with pytest.raises(RuntimeError, match="power cut"):
        fit.fit(Net(plain_net()), loader(), loader(32))
    assert steps(broken) == [step for step in steps(whole) if step <= 6]

    resumed, fit = resumable(tmp_path / "broken", when)
    with no_warning_of_ours():
        fit.fit(Net(), loader(), loader(32), ckpt_path=tmp_path / "broken/checkpoints/step=4.ckpt")
    assert_same_history(resumed.history, whole.history)
    assert_same_history(lgw.load_history(tmp_path / "broken"), lgw.load_history(tmp_path / "whole"))


def test_a_new_run_folder_gets_the_records_before_the_checkpoint(tmp_path: Path) -> None:
    whole, fit = resumable(tmp_path / "whole", "checkpoint")
    fit.fit(Net(plain_net()), loader(), loader(32))
    _, fit = resumable(tmp_path / "elsewhere", "checkpoint")
    fit.fit(Net(), loader(), loader(32), ckpt_path=tmp_path / "whole/checkpoints/step=4.ckpt")
    assert_same_history(lgw.load_history(tmp_path / "elsewhere"), whole.history)
    # The first run's own folder is as it was.
    assert_same_history(lgw.load_history(tmp_path / "whole"), whole.history)


def test_the_state_in_a_checkpoint_holds_the_look_made_for_it(tmp_path: Path) -> None:
    callback, fit = resumable(tmp_path, "checkpoint")
    fit.fit(Net(), loader(), loader(32))
    checkpoint = torch.load(tmp_path / "checkpoints/step=8.ckpt", weights_only=True)
    state = checkpoint["callbacks"][callback.state_key]
    assert state["step"] == 8
    assert state["analysis"]["couplings"].shape == (4, 4, 12)
    record = next(record for record in callback.history if record.step == 8)
    assert torch.equal(state["analysis"]["couplings"], torch.from_numpy(record.gw.couplings.astype("int32")))


def test_a_changed_probe_is_noticed_on_resume(tmp_path: Path) -> None:
    _, fit = resumable(tmp_path, "checkpoint")
    fit.fit(Net(), loader(), loader(32))
    callback, fit = resumable(tmp_path, "checkpoint")
    with pytest.warns(UserWarning, match="probe inputs are not those that this history began with"):
        fit.fit(Net(), loader(), loader(32, seed=9), ckpt_path=tmp_path / "checkpoints/step=4.ckpt")
    assert [any("hash changed" in note for note in record.notes) for record in callback.history][-2:] == [True, True]
    assert callback.history[1].notes == ()


def test_changed_layers_are_an_error_on_resume(tmp_path: Path) -> None:
    _, fit = resumable(tmp_path, "checkpoint")
    fit.fit(Net(), loader(), loader(32))
    callback = watcher(tmp_path, layers=["net.0", "net.2"])
    with pytest.raises(ValueError, match=r"began with the layers net\.1.*now they would be net\.0, net\.2"):
        trainer(tmp_path, ModelCheckpoint(tmp_path), callback).fit(
            Net(), loader(), loader(32), ckpt_path=tmp_path / "checkpoints/step=4.ckpt"
        )


def test_fit_again_with_the_same_trainer_goes_on(tmp_path: Path) -> None:
    whole = watcher(tmp_path / "whole", when=[2, 6])
    trainer(tmp_path, whole, max_epochs=2).fit(Net(plain_net()), loader(), loader(32))
    halves = watcher(tmp_path / "halves", when=[2, 6])
    fit, module = trainer(tmp_path, halves, max_epochs=1), Net(plain_net())
    fit.fit(module, loader(), loader(32))
    fit.fit_loop.max_epochs = 2
    fit.fit(module, loader(), loader(32))
    assert steps(halves) == [0, 2, 4, 6, 8]
    assert halves.history[-1].groups.boundaries is not None
    assert [record.step for record in lgw.load_history(tmp_path / "halves")] == steps(halves)


def test_a_second_run_in_the_same_folder_sets_the_first_aside(tmp_path: Path) -> None:
    for seed in range(2):
        callback = watcher(tmp_path, when=[2])
        fit = trainer(tmp_path, callback, max_epochs=1)
        if seed == 0:
            fit.fit(Net(), loader(), loader(32))
    with pytest.warns(UserWarning, match="held the history of an earlier run; it was set aside"):
        fit.fit(Net(), loader(), loader(32))
    assert steps(callback) == [0, 2, 4]
    assert (tmp_path / "gw/superseded.jsonl").read_text().count("\n") == 3


# ---- several, folders, loggers --------------------------------------------------------------------------------------


def test_a_network_too_shallow_for_roughness_is_told_so_once_in_its_record(tmp_path: Path) -> None:
    callback = watcher(tmp_path, when=[2, 4])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not finite")
        trainer(tmp_path, callback, max_epochs=1, logger=CSVLogger(tmp_path, name="log", version="one")).fit(
            Net(), loader(), loader(32)
        )
    said = [[note for note in record.notes if "Roughness" in note] for record in callback.history]
    assert said == [[why_no_roughness(callback.history[0].groups)], [], []]
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


def test_the_state_of_an_unnamed_instance_is_found_again_whatever_instance_wrote_it(tmp_path: Path) -> None:
    first, fit = resumable(tmp_path, "checkpoint")
    fit.fit(Net(), loader(), loader(32))
    second, fit = resumable(tmp_path, "checkpoint")
    with no_warning_of_ours():
        fit.validate(Net(), loader(32), ckpt_path=tmp_path / "checkpoints/step=8.ckpt", weights_only=True)
        fit.fit(Net(), loader(), loader(32), ckpt_path=tmp_path / "checkpoints/step=8.ckpt")
    assert first.state_key == second.state_key == "GWSimilarity{'name': None}"
    assert_same_history(first.history, second.history)


def test_history_lies_beside_the_checkpoints(tmp_path: Path) -> None:
    callback = lgw.GWSimilarity(probe_size=12, effort="fast", verbose=False)
    fit = trainer(tmp_path, callback, logger=CSVLogger(tmp_path, name="n", version="v"), enable_checkpointing=True)
    fit.fit(Net(), loader(), loader(32))
    assert callback.history.path == tmp_path / "n/v/gw"
    assert Path(fit.checkpoint_callback.dirpath) == tmp_path / "n/v/checkpoints"


def test_a_logger_that_throws_costs_neither_record_nor_training(tmp_path: Path) -> None:
    class Broken(CSVLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            if any(key.startswith("gw/") for key in metrics):
                raise ConnectionError("the dashboard is away")

    callback = watcher(tmp_path, when=[2, 4], on_error="warn")
    with pytest.warns(UserWarning, match="the dashboard is away"):
        trainer(tmp_path, callback, logger=Broken(tmp_path)).fit(Net(), loader(), loader(32))
    assert len(lgw.load_history(tmp_path)) == 4


# ---- data -----------------------------------------------------------------------------------------------------------


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
        ({"probe_size": None}, (64, 3), "holds 3 inputs; at least 4"),
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
    class OwnLoop(torch.utils.data.IterableDataset):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("cannot copy a stream")

        def __iter__(self) -> Iterator[Any]:
            yield from task(64)

    callback = watcher(tmp_path, when=[2])
    with pytest.raises(ValueError, match=r"can only be iterated.*Pass inputs with GWSimilarity\(probe="):
        trainer(tmp_path, callback).fit(Net(), DataLoader(OwnLoop(), batch_size=8))
    with pytest.raises(ValueError, match=r"no such data.*probe=batch or dataset"):
        trainer(tmp_path, watcher(tmp_path, when=[2], probe="validation")).fit(Net(), loader())

    nothing = SimpleNamespace(val_dataloaders=[], train_dataloader=None)
    with pytest.raises(ValueError, match=r"no validation and no training data.*Pass inputs with GWSimilarity\(probe="):
        find_data(nothing, None)


def test_an_unwritable_folder_is_an_error_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "gw").write_text("a file is in the way")
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "gw"))):
        trainer(tmp_path, watcher(tmp_path, when=[2])).fit(Net(), loader(), loader(32))


def test_unknown_arguments_are_refused_at_once() -> None:
    for arguments in ({"pooling": "avg"}, {"when": "sometimes"}, {"on_error": "ignore"}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            lgw.GWSimilarity(**arguments)


# ---- what goes wrong while training ---------------------------------------------------------------------------------


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


# ---- configs and processes ------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("argument", "message"), [({"geometry": "standardised"}, "Known: euclidean"), ({"effort": "hi"}, "Known: fast")]
)
def test_an_unknown_option_is_refused_at_once(argument: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lgw.GWSimilarity(**argument)
