"""What a module remembers is found, put back, and named where it changed."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict, deque
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from every_network import NETS, Items, Store, plain
from torch import nn

from lightning_gw.activations.isolation.snapshot import ModuleSnapshot
from lightning_gw.activations.isolation.undisturbed import changes_of, undisturbed


class Holder(nn.Module):
    """Holds one thing of every kind; `disturb` changes one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("count", torch.zeros(3))
        self.register_buffer("sparse", torch.eye(3).to_sparse())
        self.plain = torch.tensor([0.0, float("nan")])
        self.array = np.zeros(2)
        self.deep = {"a": [{"b": deque([1, 2])}]}
        self.recent = OrderedDict(x=1, y=2)
        self.tensors = ([torch.zeros(2)], "fixed")
        self.own = torch.Generator().manual_seed(0)
        self.store = Store(kept={"rng": np.random.default_rng(0), "python": random.Random(0)})
        self.space = SimpleNamespace(hits=0)
        self.hidden = [nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))]
        self.calls = 0


#: What is done to a `Holder`, and what `changes_of` says then.
DISTURBANCES: dict[str, tuple[Any, str]] = {
    "buffer": (lambda m: m.count.add_(1), "tensor count changed"),
    "buffer replaced": (lambda m: setattr(m, "count", torch.zeros(3)), "dict _buffers has other entries"),
    "buffer added": (lambda m: m.register_buffer("late", torch.zeros(1)), "dict _buffers has 3 entries, and had 2"),
    "content assigned": (lambda m: setattr(m.count, "data", torch.ones(5)), "tensor count changed"),
    "sign of zero": (lambda m: m.count.neg_(), "tensor count changed"),
    "tensor with NaN": (lambda m: m.plain[:1].fill_(2), "tensor plain changed"),
    "array": (lambda m: m.array.__iadd__(1), "array array changed"),
    "deep container": (lambda m: m.deep["a"][0]["b"].append(3), "deque deep['a'][0]['b'] has 3 entries, and had 2"),
    "order of a cache": (lambda m: m.recent.move_to_end("x"), "OrderedDict recent has other entries"),
    "tensor in a list": (lambda m: m.tensors[0][0].add_(1), "tensor tensors[0][0] changed"),
    "generator": (lambda m: torch.rand(1, generator=m.own), "random generator own moved on"),
    "generator in an object": (lambda m: m.store.kept["rng"].random(), "random generator store.kept['rng'] moved on"),
    "Python's in an object": (lambda m: m.store.kept["python"].random(), "random generator store.kept['python'] moved"),
    "attribute of an object": (lambda m: setattr(m.store, "hits", 1), "attribute store.hits is 1 now, and was 0"),
    "attribute of a namespace": (lambda m: setattr(m.space, "new", 1), "attribute space.new is new"),
    "hidden module": (lambda m: m.hidden[0](torch.randn(4, 2)), "tensor hidden[0].1.running_mean changed"),
    "mode": (lambda m: m.linear.eval(), "attribute linear.training is False now, and was True"),
    "hook": (lambda m: m.register_forward_hook(print), "OrderedDict _forward_hooks has 1 entries, and had 0"),
    "attribute": (lambda m: setattr(m, "calls", 2), "attribute calls is 2 now, and was 0"),
    "new parameter": (lambda m: setattr(m, "w", nn.Parameter(torch.ones(1))), "dict _parameters has 1 entries, and"),
    "frozen": (lambda m: m.linear.weight.requires_grad_(False), "parameter linear.weight has requires_grad=False now"),
    "gradient": (lambda m: setattr(m.linear.bias, "grad", torch.ones(2)), "the gradient of parameter linear.bias"),
}


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_every_disturbance_is_named_and_undone(kind: str) -> None:
    disturb, said = DISTURBANCES[kind]
    torch.manual_seed(0)
    module = Holder()
    with changes_of(module) as nothing:
        pass
    assert nothing == []
    with changes_of(module) as changes:
        disturb(module)
    assert any(change.startswith(said) for change in changes), changes

    module = Holder()
    with changes_of(module) as changes, undisturbed(module) as disturbed:
        disturb(module)
    assert disturbed == []
    assert [change for change in changes if "the random state" not in change] == []


def test_hidden_modules_are_in_evaluation_mode_like_all_others() -> None:
    module = Holder()
    with undisturbed(module):
        assert not any(child.training for child in module.hidden[0].modules())
    assert all(child.training for child in module.hidden[0].modules())


def test_what_cannot_be_put_back_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Projecting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
            self.large = [torch.zeros(100)]

        def forward(self) -> None:
            self.weight.div_(2)
            self.large[0].add_(1)

    monkeypatch.setattr("lightning_gw.activations.isolation.snapshot._COPIED", 100)
    module = Projecting()
    with undisturbed(module) as disturbed:
        module()
    assert disturbed == [
        "parameter weight was changed by the forward pass itself",
        "tensor large[0], too large to be copied beforehand, was changed in place",
    ]


def test_exact_comparison_sees_weights_that_no_counter_sees() -> None:
    module = nn.Linear(2, 2)
    counted = ModuleSnapshot(module)
    with changes_of(module) as changes:
        module.weight.data.add_(1)
    assert changes == ["parameter weight changed"]
    assert counted.changes() == []


def test_global_states_and_settings_are_compared() -> None:
    with changes_of(plain()) as changes:
        torch.rand(1)
        random.random()
        np.random.rand()
        torch.set_default_dtype(torch.float64)
    torch.set_default_dtype(torch.float32)
    assert changes == [
        "torch.get_default_dtype() is torch.float64 now, and was torch.float32",
        "the random state of Python moved on",
        "the random state of NumPy moved on",
        "the random state of torch moved on",
    ]


def test_changes_are_named_after_an_error_too() -> None:
    module = Holder()
    found: list[list[str]] = []

    def fail() -> None:
        with changes_of(module) as changes:
            found.append(changes)
            module.calls = 7
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert found == [["attribute calls is 7 now, and was 0"]]


def test_who_works_with_the_world_outside_is_left_alone() -> None:
    class Writer:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.written = 0

    class Writing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.writer = Writer()
            self.data = Items("vectors", 4)

    module = Writing()
    with undisturbed(module):
        module.writer.written = 5
        module.data.y = torch.ones(2)
    assert module.writer.written == 5
    assert len(module.data) == 2


def test_scripted_modules_can_be_guarded() -> None:
    net = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    x = torch.randn(3, 2)
    with changes_of(net) as changes, undisturbed(net):
        assert not net.training
        net(x)
    assert changes == []
    assert net.training


@pytest.mark.parametrize("name", [name for name in NETS if not name.startswith(("compiled", "lazy"))])
def test_a_pass_through_any_network_leaves_nothing(name: str) -> None:
    build, kind, _ = NETS[name]
    net = build()
    net.train()
    items = Items(kind, 6)
    inputs = items.inputs.values()
    with changes_of(net) as changes, undisturbed(net) as disturbed:
        net(*inputs)
    assert disturbed == []
    assert [change for change in changes if "the random state" not in change] == []  # callback's part
