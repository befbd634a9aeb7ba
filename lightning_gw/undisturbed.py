"""Guards that leave everything as it was: random states, modes, buffers, caches, metrics, logging.

Training with looks in between is to be identical to the last bit to training without. Not covered: generators that a
module or data set keeps to itself, caches nested inside a module's own objects, and side effects outside the process.
"""

from __future__ import annotations

import copy
import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: What a module consists of rather than what it remembers; `nn.Module` keeps these in its ``__dict__`` too.
_STRUCTURE = frozenset({"_parameters", "_buffers", "_modules", "training"})
#: Plain containers whose content is put back when it was changed in place.
_CONTAINERS = (list, dict, set, deque, OrderedDict, defaultdict)


@contextmanager
def isolated_randomness(seed: int) -> Iterator[None]:
    """Seed every global random state inside, and put all of them back afterwards, also after an error.

    Seeding makes a random data augmentation or a sampling layer give the same result at every look. Devices that were
    not in use yet are left alone: asking for their state would start them.

    Args:
        seed: Seed for Python, NumPy, torch and the devices in use.
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices = [device for device in (torch.cuda, getattr(torch, "xpu", None)) if device and _in_use(device)]
    states = [device.get_rng_state_all() for device in devices]
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reach for devices not in use
        for device in devices:
            device.manual_seed_all(seed)
        if mps is not None:
            torch.mps.manual_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        for device, state in zip(devices, states, strict=True):
            device.set_rng_state_all(state)
        if mps is not None:
            torch.mps.set_rng_state(mps)


@contextmanager
def undisturbed(module: nn.Module, trainer: Any = None) -> Iterator[None]:
    """Evaluation mode without gradients, after which the module is what it was before.

    Inside, every submodule is in evaluation mode, ``self.log`` does nothing, compiled code runs eagerly (hooks do not
    fire in warm compiled graphs), fused attention is off (it hands hooks nested tensors), and the trainer says that it
    is validating, so that batch hooks do not augment. Afterwards modes, buffers and all plain attributes are restored
    per module, which covers the states of torchmetrics and caches that a module keeps.

    Args:
        module: The network, usually the LightningModule.
        trainer: Its Trainer, where there is one.
    """
    modules = list(module.modules())
    modes = [(child, child.training) for child in modules]
    memories = [_Memory(child) for child in modules]
    stage = trainer.state.stage if trainer is not None else None
    with ExitStack() as stack:
        # The order matters: what is restored is written under the gradient mode of the caller, as it was read.
        stack.callback(_restore, modes, memories)
        if trainer is not None:
            stack.callback(setattr, trainer.state, "stage", stage)
            trainer.validating = True
        for child in modules:
            # Assigned rather than .eval(), which some modules override to merge weights and the like.
            child.training = False
            if hasattr(child, "log") and hasattr(child, "log_dict"):
                child.__dict__["log"] = child.__dict__["log_dict"] = _silent
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(_eager())
        stack.enter_context(plain_tensors())
        yield


@contextmanager
def plain_tensors() -> Iterator[None]:
    """No gradients, yet no inference mode either, even where the caller is in it.

    A tensor that a module caches under inference mode would break a later backward pass.
    """
    with torch.inference_mode(False), torch.no_grad():
        yield


def _in_use(device: Any) -> bool:
    return bool(device.is_available() and device.is_initialized())


def _silent(*args: Any, **kwargs: Any) -> None:
    """Stands in for ``self.log``."""


def _eager() -> Any:
    set_stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    return set_stance("force_eager") if set_stance is not None else nullcontext()


def _restore(modes: list[tuple[nn.Module, bool]], memories: list[_Memory]) -> None:
    for memory in memories:
        memory.restore()
    for child, training in modes:
        child.training = training


class _Memory:
    """Everything a single module remembers besides its parameters: buffers and plain attributes."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._buffers = dict(module._buffers)
        self._attributes = {name: value for name, value in vars(module).items() if name not in _STRUCTURE}
        held = [*self._buffers.values(), *self._attributes.values()]
        self._tensors = [(tensor, tensor.detach().clone()) for tensor in held if _is_plain(tensor)]
        self._containers = [(value, copy.copy(value)) for value in held if type(value) in _CONTAINERS]

    def restore(self) -> None:
        module = self._module
        if module._buffers != self._buffers:  # dicts compare identities first, so equal content is never looked at
            module._buffers.clear()
            module._buffers.update(self._buffers)
        now = vars(module)
        for name in [name for name in now if name not in self._attributes and name not in _STRUCTURE]:
            del now[name]
        for name, value in self._attributes.items():
            if now.get(name, _MISSING) is not value:
                now[name] = value
        for container, before in self._containers:
            _refill(container, before)
        with torch.no_grad():
            for tensor, saved in self._tensors:
                if not torch.equal(tensor, saved):
                    tensor.copy_(saved)


_MISSING = object()


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_meta and not nn.parameter.is_lazy(value)


def _refill(container: Any, before: Any) -> None:
    """Put the same objects back into a container, and do not touch it where they are still there."""
    if isinstance(container, dict):
        same = len(container) == len(before) and all(
            key in before and before[key] is value for key, value in container.items()
        )
    elif isinstance(container, set):
        same = container == before
    else:
        same = len(container) == len(before) and all(a is b for a, b in zip(container, before, strict=True))
    if same:
        return
    container.clear()
    if isinstance(container, dict | set):
        container.update(before)
    else:
        container.extend(before)
