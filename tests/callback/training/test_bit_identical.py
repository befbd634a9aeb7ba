"""Training with looks in between is training without, to the last bit: kinds of networks times kinds of training."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning
import torch
from callback_nets import Net, plain_net
from callback_nets import trainer as quick_trainer
from callback_nets import watcher as quick_watcher
from every_network import NETS, plain
from every_training import SETTINGS, differences, train, watcher
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.activations.reading.capture import capture

pytestmark = pytest.mark.usefixtures("few_draws")

#: What cannot be trained on a CPU at all, with a look or without: these fail in Lightning's own validation.
IMPOSSIBLE = {
    ("padded transformer", "bf16-mixed"): "PyTorch's fused attention does not take autocast's mixture of types",
    ("recurrent", "bf16-mixed"): "oneDNN has no LSTM for it",
}
#: The compiler takes longer than all of the other networks together.
COMPILED = ("compiled", "compiled (reduce-overhead)")
COMPILED_SETTINGS = ("32-true", "bf16-mixed", "accumulation")


#: What stands for all in the first tier: one network under the settings, and the networks under one setting.


def cases() -> list[Any]:
    found = []
    for name in NETS:
        for setting in SETTINGS:
            if (name, setting) in IMPOSSIBLE or (name in COMPILED and setting not in COMPILED_SETTINGS):
                continue
            marks = [pytest.mark.timeout(900)] if name in COMPILED else []
            found.append(pytest.param(name, setting, marks=marks, id=f"{name}-{setting}"))
    return found


@pytest.mark.parametrize(("name", "setting"), cases())
@pytest.mark.representatives("normed-bf16-mixed", "lora-32-true", "generators-32-true", "hooked-32-true")
def test_training_is_identical_to_the_last_bit(tmp_path: Path, name: str, setting: str) -> None:
    callback = watcher(tmp_path / "with", name)
    watched = train(tmp_path / "with", name, setting, callback)
    alone = train(tmp_path / "without", name, setting)
    assert differences(watched, alone) == []
    assert callback.history is not None
    assert len(callback.history) >= 3
    assert callback.history[-1].gw.distortion.max() > 0


def checkpoint_of(saver: Any) -> dict[str, Any]:
    checkpoint = torch.load(saver.last_model_path, weights_only=True)
    return {key: checkpoint[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "loops")}


@pytest.mark.parametrize("setting", ["32-true", pytest.param("accumulation", marks=pytest.mark.slow)])
@pytest.mark.parametrize("package", ["pytorch_lightning", pytest.param("lightning.pytorch", marks=pytest.mark.slow)])
def test_checkpoints_that_are_looked_at_are_the_same_in_both_packages(
    tmp_path: Path, setting: str, package: str
) -> None:
    pl = pytest.importorskip(package)
    savers = importlib.import_module(f"{package}.callbacks").ModelCheckpoint
    one, other = (savers(tmp_path / name, save_top_k=-1, every_n_epochs=1, save_last=True) for name in "ab")
    callback = watcher(tmp_path / "with", "normed", when="checkpoint", every_n_steps=3)
    watched = train(
        tmp_path / "with", "normed", setting, callback, prepare=lambda fit: fit.callbacks.append(one), package=pl
    )
    alone = train(tmp_path / "without", "normed", setting, prepare=lambda fit: fit.callbacks.append(other), package=pl)
    assert differences(watched, alone) == []
    assert differences(checkpoint_of(one), checkpoint_of(other)) == []
    assert callback.history is not None
    assert len(callback.history) >= 3


class Stored(Dataset):
    """Reads rows from a file that it opens at the first of them, in whatever process that is."""

    def __init__(self, path: Path, count: int, spawned: bool = False) -> None:
        rows = np.random.default_rng(count).standard_normal((count, 9), dtype=np.float32)
        rows.tofile(path)
        self.path, self.count = path, count
        self.file: Any = None
        self.read = 0
        # A worker that is spawned cannot be given torch's: its state is gone before the worker takes it up.
        self.noise: Any = np.random.default_rng(count) if spawned else torch.Generator().manual_seed(count)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read += 1
        if self.file is None:
            self.file = self.path.open("rb")
        self.file.seek(36 * index)
        time.sleep(0)  # where another process that shares the file may come in between
        row = torch.from_numpy(np.frombuffer(self.file.read(36), np.float32).copy())
        if isinstance(self.noise, torch.Generator):
            noise = torch.rand(8, generator=self.noise)
        else:
            noise = torch.from_numpy(self.noise.random(8, np.float32))
        return row[:8] + noise / 10, int(row[8] > 0)

    @property
    def state(self) -> Any:
        """Of its random numbers."""
        return (
            self.noise.get_state() if isinstance(self.noise, torch.Generator) else str(self.noise.bit_generator.state)
        )


LOADERS: dict[str, dict[str, Any]] = {
    "lazily opened": {},
    "with a generator of its own": {"generator": True},
    "persistent workers": {"num_workers": 2, "persistent_workers": True},
    "spawned workers": {"num_workers": 1, "multiprocessing_context": "spawn"},
}


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.representatives("persistent workers")
def test_data_sets_and_loaders_do_not_notice_that_the_probe_was_read(tmp_path: Path, kind: str) -> None:
    """Items are drawn from the very data set that is trained on, which later workers get as it is then."""

    def run(*watching: Any) -> dict[str, Any]:
        pytorch_lightning.seed_everything(5, verbose=False)
        options = dict(LOADERS[kind])
        if options.pop("generator", False):
            options["generator"] = torch.Generator().manual_seed(3)
        module, data = Net(plain_net()), Stored(tmp_path / "rows", 48, "multiprocessing_context" in options)
        loaded = DataLoader(data, 12, shuffle=True, **options)
        seen: list[Tensor] = []
        module.on_train_batch_start = lambda batch, _: seen.append(batch[0]) and None
        fit = quick_trainer(tmp_path, *watching)
        fit.fit(module, loaded)
        return {
            "weights": module.state_dict(),
            "batches": seen,
            "random states": [torch.get_rng_state(), data.state],
            "generator": None if loaded.generator is None else loaded.generator.get_state(),
            "data set": [data.read, data.file is None],
        }

    callback = quick_watcher(tmp_path, when=[2, 5], max_overhead=None)
    assert differences(run(callback), run()) == []
    assert callback.history is not None
    assert [record.step for record in callback.history] == [0, 2, 5, 8]
    assert callback.history[0].probe["source"] == "training data"


def test_looks_do_not_make_compiled_code_compile_again() -> None:
    """After a few more compilations it would go on uncompiled, and train in another order of rounding."""
    torch._dynamo.reset()
    net = plain()
    fast = torch.compile(net, backend="eager")
    x = torch.randn(4, 8)
    fast(x).sum().backward()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(10):
            with undisturbed(fast):
                assert len(capture(fast, ["0", "3"], [x[:3]], fast).representations) == 2
            fast(x).sum().backward()
