"""Every protection taken out shows as a difference: so the tests of undisturbed training can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import two_processes
from every_training import differences, train, watcher
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.multiprocessing import ProcessRaisedException

import lightning_gw.activations.isolation.undisturbed as undisturbed_module
import lightning_gw.activations.observer
import lightning_gw.activations.passes
import lightning_gw.activations.probe.probe
import lightning_gw.callback.guard
import lightning_gw.callback.look.look_loop
import lightning_gw.callback.look.look_maker
from lightning_gw import load_history
from lightning_gw.activations.isolation import snapshot
from lightning_gw.activations.isolation.undisturbed import changes_of, undisturbed
from lightning_gw.utilities.distributed import Ranks

pytestmark = pytest.mark.usefixtures("few_draws")

Patch = Callable[[pytest.MonkeyPatch], None]


def _nothing_put_back(kind: str) -> Patch:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        for method in ("put_back", "changes"):  # nor is it looked at afterwards
            patch.setattr(getattr(snapshot, kind), method, lambda self: [])

    return take_out


def _no_generators(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(snapshot, "state_of", lambda value: None)


def _no_plain_objects(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(snapshot, "is_plain_object", lambda value: False)


def _no_hidden_modules(patch: pytest.MonkeyPatch) -> None:
    original = snapshot.ModuleSnapshot._keep

    def keep(self: Any, name: str, value: Any, depth: int) -> None:
        if not isinstance(value, nn.Module):
            original(self, name, value, depth)

    patch.setattr(snapshot.ModuleSnapshot, "_keep", keep)


def _not_nested(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(snapshot, "_DEEPEST", 1)


def _training_mode(patch: pytest.MonkeyPatch) -> None:
    """The look goes through networks that are still in training mode."""
    original = undisturbed_module.ModuleSnapshot

    class Blind(original):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.modules = {}

    patch.setattr(undisturbed_module, "ModuleSnapshot", Blind)
    # It silences no module's logging either then, which would fail before anything differs.
    patch.setattr("pytorch_lightning.LightningModule.log", lambda self, *args, **options: None)


def _no_seeded_randomness(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lightning_gw.callback.look.look_maker, "isolated_randomness", lambda seed: nullcontext())


def _nothing_undisturbed(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def only_silent(module: Any, trainer: Any) -> Iterator[list[str]]:
        module.__dict__["log"] = lambda *args, **kwargs: None
        yield []
        del module.__dict__["log"]

    patch.setattr(lightning_gw.activations.passes, "undisturbed", only_silent)


def _evaluation_mode_left_on(patch: pytest.MonkeyPatch) -> None:
    def forgetful(modes: Any, memory: Any, disturbed: Any, restored: Any) -> None:
        memory.restore()
        restored.append(True)
        for child, _ in modes:
            child.training = False

    patch.setattr(undisturbed_module, "_restore", forgetful)


def _hooks_of_others_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(undisturbed_module, "foreign_hooks_off", lambda modules: nullcontext([]))
    patch.setattr(lightning_gw.activations.observer, "kept_weights", lambda module: nullcontext([]))


#: What is taken out, of which network's training, and where the difference shows.
TAKEN_OUT: dict[str, tuple[Patch, str, str]] = {
    "attributes": (_nothing_put_back("Attributes"), "normed", "/memories/net/calls"),
    "tensors": (_nothing_put_back("TensorContent"), "normed", "/memories/net/scale"),
    "containers": (_nothing_put_back("Container"), "caching", "/memories/net/nested"),
    "arrays": (_nothing_put_back("ArrayContent"), "caching", "/memories/net/counts"),
    "nested memory": (_not_nested, "caching", "/memories/net/nested"),
    "plain objects": (_no_plain_objects, "caching", "/memories/net/store"),
    "generators": (_no_generators, "generators", "/memories/net/own"),
    "list of a network": (_nothing_put_back("Container"), "normed", "/memories/net/trace"),
    "seeded randomness": (_no_seeded_randomness, "normed", "/random states"),
    "everything undisturbed": (_nothing_undisturbed, "normed", "/buffers"),
    "training mode afterwards": (_evaluation_mode_left_on, "normed", "/modes"),
    "hooks of others": (_hooks_of_others_on, "hooked", "/weights/net.net.3.weight"),
    "hidden modules": (_no_hidden_modules, "hiding", "/memories/net/teacher"),
}

#: Those that stand for all in the first tier.


@pytest.mark.parametrize("protection", TAKEN_OUT)
@pytest.mark.representatives("everything undisturbed", "generators")
def test_without_a_protection_training_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protection: str
) -> None:
    take_out, name, shows_in = TAKEN_OUT[protection]
    alone = train(tmp_path / "without", name, "32-true")
    take_out(monkeypatch)
    watched = train(tmp_path / "with", name, "32-true", watcher(tmp_path / "with", name))
    found = differences(watched, alone)
    assert any(path.startswith(shows_in) for path in found), found


@pytest.mark.slow
def test_without_evaluation_mode_dropout_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody puts the random states back here: only evaluation mode keeps them from moving.
    monkeypatch.setattr("lightning_gw.callback.look.look_maker.isolated_randomness", lambda seed: nullcontext())
    alone = train(tmp_path / "without", "lora", "32-true")
    watched = train(tmp_path / "with", "lora", "32-true", watcher(tmp_path / "with", "lora"))
    assert differences(watched, alone) == []
    _training_mode(monkeypatch)
    watched = train(tmp_path / "again", "lora", "32-true", watcher(tmp_path / "again", "lora"))
    assert any(path.startswith("/random states/2") for path in differences(watched, alone))


def test_without_eager_code_warm_compiled_layers_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_gw.activations.reading.capture import capture

    def layers_seen() -> int:
        torch._dynamo.reset()
        net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        fast = torch.compile(net, backend="eager")
        x = torch.randn(4, 4)
        with torch.no_grad():
            fast.eval()(x)
        with undisturbed(fast):
            return len(capture(fast, ["0", "1"], [x], fast, optional=True).representations)

    assert layers_seen() == 2
    monkeypatch.setattr(torch.compiler, "set_stance", lambda stance: nullcontext())
    assert layers_seen() == 0


def test_without_plain_tensors_a_cache_breaks_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def train_after_a_look() -> None:
        net, kept = nn.Linear(2, 2), []
        with torch.inference_mode(), undisturbed(net):
            kept.append(net(torch.ones(1, 2)))
        (net(torch.ones(1, 2)) * kept[0]).sum().backward()

    train_after_a_look()
    monkeypatch.setattr(undisturbed_module, "plain_tensors", nullcontext)
    with pytest.raises(RuntimeError, match=r"[Ii]nference tensor"):
        train_after_a_look()


def test_without_its_check_a_careless_look_is_named_by_the_comparison() -> None:
    """`changes_of` sees what a plain forward pass of every guarded kind leaves, and nothing where it is guarded."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4))
    x = torch.randn(4, 4)
    with changes_of(net) as careless:
        net(x)
    assert [change.split()[-2] for change in careless] == [
        "2.running_mean",
        "2.running_var",
        "2.num_batches_tracked",
        "moved",
    ]
    with changes_of(net) as careful, undisturbed(net):
        net(x)
    assert careful == []


@pytest.mark.slow
def test_without_failing_together_processes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process waits for its share of a look that another one could not make, until the group's own timeout."""

    class EachForItself(Ranks):
        def __init__(self, group: Any, what: str) -> None:
            super().__init__(None, what)

    callback = lightning_gw.callback
    for room in (lightning_gw.activations.observer, callback.look.look_loop, callback.look.look_maker, callback.guard):
        monkeypatch.setattr(room, "Ranks", EachForItself)
    impatient = DDPStrategy(start_method="fork", timeout=timedelta(seconds=5))
    with pytest.raises(ProcessRaisedException):
        two_processes.train(tmp_path, impatient, 2, fails={1: (2, "this layer gave up")}, on_error="warn")
    assert [record.step for record in load_history(tmp_path)] == [0]
