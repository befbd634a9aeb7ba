"""Training with looks in between is training without, to the last bit."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning
import torch
import torchmetrics
from callback_nets import CLASSES, Block, loader, steps, trainer, watcher
from torch import Tensor, nn

import lightning_gw.activations.observer
import lightning_gw.callback.look_loop
from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.utilities.random_state import isolated_randomness


class Touchy(nn.Module):
    """Everything a careless forward pass can disturb, in one network."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 12))
        self.blocks = nn.ModuleList(Block(dropout=0.3) for _ in range(3))
        self.norm = nn.BatchNorm1d(12)
        self.head = nn.Linear(12, CLASSES)
        self.register_buffer("seen", torch.zeros(()))
        self.scale = torch.ones(())  # a plain tensor, changed in place
        self.calls = 0
        self.trace: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.trace.append(len(x))
        self.seen += len(x)
        self.scale.mul_(0.999)
        noise = torch.rand(()) + random.random() + np.random.rand()
        h = torch.tanh(self.inputs(x))
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h)) * self.scale * (1 + 0.01 * noise.item() + 1e-4 * (self.calls + len(self.trace)))


def module_of(pl: Any) -> Any:
    class Disturbable(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = Touchy()
            self.net.blocks[0].eval()  # somebody froze a part; it is to stay so
            self.accuracy = torchmetrics.MeanMetric()

        def forward(self, x: Tensor) -> Tensor:
            y = self.net(x)
            self.accuracy(y.detach().abs().mean())
            self.log("activity", y.detach().abs().mean(), on_step=True, on_epoch=True)
            return y

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), 1e-2)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=40)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    return Disturbable


def train(root: Path, *callbacks: Any, pl: Any = pytorch_lightning, **options: Any) -> dict[str, Any]:
    """Train from a fixed seed; give back everything that training could have left different."""
    pl.seed_everything(1, verbose=False)
    module = module_of(pl)()
    saver = importlib.import_module(f"{pl.__name__}.callbacks").ModelCheckpoint(
        root / "checkpoints", save_top_k=-1, every_n_epochs=1, save_last=True
    )
    fit = trainer(root, saver, *callbacks, pl=pl, max_epochs=2, **options)
    fit.fit(module, loader(72, 8, shuffle=True), loader(24, 8))
    return {
        "weights and buffers": {name: value.clone() for name, value in module.state_dict().items()},
        "optimizer": fit.optimizers[0].state_dict(),
        "scheduler": fit.lr_scheduler_configs[0].scheduler.state_dict(),
        "metric": {"value": module.accuracy.mean_value, "count": module.accuracy._update_count},
        "logged": {name: float(value) for name, value in fit.logged_metrics.items()},
        "python attributes": [module.net.calls, module.net.trace, module.net.scale],
        "modes": {name: child.training for name, child in module.named_modules()},
        "attributes": {name: sorted(vars(child)) for name, child in module.named_modules()},
        "hooks": [len(child._forward_hooks) for child in module.modules()],
        "random states": [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()],
        "checkpoint": _without_callbacks(saver.last_model_path),
    }


def _without_callbacks(path: str) -> dict[str, Any]:
    checkpoint = torch.load(path, weights_only=True)
    return {
        key: value
        for key, value in checkpoint.items()
        if key in ("state_dict", "optimizer_states", "lr_schedulers", "loops")
    }


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Paths at which two nested results differ in any bit."""
    if isinstance(one, Tensor):
        return [] if torch.equal(one, other) else [path]
    if isinstance(one, dict):
        unshared = [f"{path}/{key}" for key in sorted(one.keys() ^ other.keys(), key=repr)]
        return unshared + [
            found for key in one.keys() & other.keys() for found in differences(one[key], other[key], f"{path}/{key}")
        ]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [path]
        return [
            found for k, pair in enumerate(zip(one, other, strict=True)) for found in differences(*pair, f"{path}/{k}")
        ]
    return [] if one == other else [path]


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation": {"accumulate_grad_batches": 3},
    "bf16-mixed": {"precision": "bf16-mixed", "gradient_clip_val": 1.0},
    "64-true": {"precision": "64-true"},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
def test_training_is_identical_to_the_last_bit(tmp_path: Path, setting: str, package: str) -> None:
    if package == "lightning.pytorch" and setting not in ("plain", "accumulation"):
        pytest.skip("precision is the same code in both packages")
    pl = pytest.importorskip(package)
    callback = watcher(tmp_path / "with", layers=["net.blocks.*", "net.norm"], when="checkpoint", every_n_steps=7)
    watched = train(tmp_path / "with", callback, pl=pl, **SETTINGS[setting])
    alone = train(tmp_path / "without", pl=pl, **SETTINGS[setting])
    assert len(steps(callback)) >= 3
    assert differences(watched, alone) == []


def _remove_randomness_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning_gw.callback.look_loop, "isolated_randomness", lambda seed: nullcontext())


def _remove_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_gw.activations.isolation.undisturbed.ModuleSnapshot.restore", lambda self: ([], []))


def _remove_evaluation_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def only_silent(module: Any, trainer: Any) -> Iterator[list[str]]:
        module.__dict__["log"] = lambda *args, **kwargs: None
        yield []
        del module.__dict__["log"]

    monkeypatch.setattr(lightning_gw.activations.observer, "undisturbed", only_silent)


def _leave_evaluation_mode_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(modes: Any, memory: Any, disturbed: Any) -> None:
        memory.restore()
        for child, _ in modes:
            child.training = False

    monkeypatch.setattr("lightning_gw.activations.isolation.undisturbed._restore", forgetful)


@pytest.mark.parametrize(
    ("take_out", "shows_in"),
    [
        (_remove_randomness_guard, "random states"),
        (_remove_memory, "python attributes"),
        (_remove_evaluation_mode, "weights and buffers"),
        (_leave_evaluation_mode_on, "modes"),
    ],
)
def test_without_a_guard_the_comparison_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take_out: Callable[[pytest.MonkeyPatch], None], shows_in: str
) -> None:
    """The test above can fail: every protection taken out is seen."""
    alone = train(tmp_path / "without")
    take_out(monkeypatch)
    callback = watcher(tmp_path / "with", layers=["net.blocks.*"], every_n_steps=7)
    watched = train(tmp_path / "with", callback)
    assert any(path.startswith(f"/{shows_in}") for path in differences(watched, alone))


def test_what_a_module_caches_during_a_look_can_serve_a_backward_pass() -> None:
    """Also when the look is asked for inside inference mode, whose tensors autograd refuses."""
    net, kept = nn.Linear(2, 2), []
    with torch.inference_mode(), undisturbed(net):
        kept.append(net(torch.ones(1, 2)))
        assert not torch.is_grad_enabled()
    (net(torch.ones(1, 2)) * kept[0]).sum().backward()
    assert net.weight.grad is not None


def test_everything_is_put_back_after_an_error() -> None:
    net = Touchy()
    net.blocks[1].eval()
    before = {name: child.training for name, child in net.named_modules()}
    state = torch.get_rng_state(), random.getstate()

    def look() -> None:
        with isolated_randomness(3), undisturbed(net):
            assert not any(child.training for child in net.modules())
            assert not torch.backends.mha.get_fastpath_enabled()
            net(torch.randn(4, 8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look()
    assert {name: child.training for name, child in net.named_modules()} == before
    assert net.calls == 0
    assert net.trace == []
    assert float(net.seen) == 0.0
    assert float(net.scale) == 1.0
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


def test_modules_that_change_in_eval_are_not_told() -> None:
    class Merging(nn.Linear):
        merged = False

        def train(self, mode: bool = True) -> Merging:
            self.merged = not mode  # as adapters do, which fold their weights in
            return super().train(mode)

    net = nn.Sequential(Merging(4, 4))
    with undisturbed(net):
        assert not net[0].training
    assert not net[0].merged


class Device:
    """Stands in for ``torch.cuda``: two devices, each with a state."""

    def __init__(self, started: bool) -> None:
        self.started = started
        self.states = [torch.tensor([1]), torch.tensor([2])]

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return self.started

    def get_rng_state_all(self) -> list[Tensor]:
        assert self.started, "asking for its state would start the device"
        return [state.clone() for state in self.states]

    def set_rng_state_all(self, states: list[Tensor]) -> None:
        self.states = states

    def manual_seed_all(self, seed: int) -> None:
        self.states = [torch.tensor([seed])] * 2


@pytest.mark.parametrize("started", [True, False])
def test_devices_get_their_states_back_if_they_are_in_use(monkeypatch: pytest.MonkeyPatch, started: bool) -> None:
    device = Device(started)
    monkeypatch.setattr(torch, "cuda", device)
    with isolated_randomness(7):
        assert [int(state) for state in device.states] == ([7, 7] if started else [1, 2])
    assert [int(state) for state in device.states] == [1, 2]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gets_its_state_back() -> None:
    torch.cuda.manual_seed(3)
    own = torch.Generator("cuda").manual_seed(4)
    before = torch.cuda.get_rng_state(), own.get_state()
    net = nn.Dropout().cuda()
    net.own = own
    with isolated_randomness(0), undisturbed(net):
        torch.rand(8, device="cuda")
        torch.rand(8, device="cuda", generator=own)
    assert torch.equal(torch.cuda.get_rng_state(), before[0])
    assert torch.equal(own.get_state(), before[1])


def test_randomness_inside_is_seeded() -> None:
    drawn = []
    for _ in range(2):
        with isolated_randomness(5):
            drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
        torch.rand(3)
    assert drawn[0] == drawn[1]
