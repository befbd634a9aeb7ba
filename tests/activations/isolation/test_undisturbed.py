"""Inside `undisturbed` a network is in evaluation mode and logs nothing; afterwards it is as it was, errors or not."""

from __future__ import annotations

import functools
import random

import pytest
import torch
from every_network import Normed
from torch import nn

from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.utilities.random_state import isolated_randomness


def test_what_a_module_caches_during_a_look_can_serve_a_backward_pass() -> None:
    """Also when the look is asked for inside inference mode, whose tensors autograd refuses."""
    net, kept = nn.Linear(2, 2), []
    with torch.inference_mode(), undisturbed(net):
        kept.append(net(torch.ones(1, 2)))
        assert not torch.is_grad_enabled()
    (net(torch.ones(1, 2)) * kept[0]).sum().backward()
    assert net.weight.grad is not None


def test_everything_is_put_back_after_an_error() -> None:
    net = Normed()
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


def test_hooks_of_others_are_off_and_pytorchs_own_are_on() -> None:
    ran: list[str] = []
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.utils.spectral_norm(nn.Linear(4, 4)))
    hooks = [net[1].register_forward_hook(lambda *_, name=name: ran.append(name)) for name in "abc"]
    hooks.append(net[0].register_forward_pre_hook(functools.partial(lambda name, *_: ran.append(name), "before")))
    hooks.append(nn.modules.module.register_module_forward_hook(lambda *_: ran.append("everywhere")))
    x = torch.randn(3, 4)
    try:
        before = [
            list(held.items()) for child in net.modules() for held in (child._forward_hooks, child._forward_pre_hooks)
        ]
        with undisturbed(net):
            seen = net(x)
        assert ran == []
        torch.testing.assert_close(seen, net.eval()(x))
        assert [name for name in ran if name != "everywhere"] == ["before", "a", "b", "c"]
        after = [
            list(held.items()) for child in net.modules() for held in (child._forward_hooks, child._forward_pre_hooks)
        ]
        assert after == before
    finally:
        for hook in hooks:
            hook.remove()
    ran.clear()
    net(x)
    assert ran == []
