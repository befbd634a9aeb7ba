"""Random states of every kind put back, no gradients, no defaults: training and what runs beside it do not meet."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch


@contextmanager
def isolated_randomness(seed: int) -> Iterator[None]:
    """Seed every global random state inside, and put all of them back afterwards, also after an error.

    Seeding makes a random data augmentation or a sampling layer give the same result at every look. Devices that were
    not in use yet are left alone: asking for their state would start them.

    Args:
        seed: Seed for Python, NumPy, torch and the devices in use.
    """
    devices = [device for device in (torch.cuda, getattr(torch, "xpu", None)) if device and _in_use(device)]
    with ExitStack() as stack:  # which puts back each of them, also where another cannot be
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        stack.callback(torch.set_rng_state, torch.get_rng_state())
        for device in devices:
            stack.callback(device.set_rng_state_all, device.get_rng_state_all())
        if mps := torch.backends.mps.is_available():
            stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reach for devices not in use
        for device in devices:
            device.manual_seed_all(seed)
        if mps:
            torch.mps.manual_seed(seed)
        yield


@contextmanager
def plain_tensors() -> Iterator[None]:
    """No gradients, yet no inference mode either, even where the caller is in it.

    A tensor that a module caches under inference mode would break a later backward pass.
    """
    with torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def usual_defaults() -> Iterator[None]:
    """New tensors are float32 on the CPU, whatever training made the default: its choice is none for the analysis.

    Usable as a decorator too. Never around the network itself, whose own new tensors are to be as training has them.
    """
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    torch.set_default_dtype(torch.float32)
    try:
        # A device context goes through Python at every operation, so there is none where nothing has to change.
        with nullcontext() if device.type == "cpu" else torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


def random_states() -> dict[str, Callable[[], Any]]:
    """How to ask for every global random state there is, by name."""
    states: dict[str, Callable[[], Any]] = {
        "Python": random.getstate,
        "NumPy": np.random.get_state,
        "torch": torch.get_rng_state,
    }
    for device in (torch.cuda, getattr(torch, "xpu", None)):
        if device and _in_use(device):
            states[device.__name__] = device.get_rng_state_all
    if torch.backends.mps.is_available():
        states["torch.mps"] = torch.mps.get_rng_state
    return states


def _in_use(device: Any) -> bool:
    return bool(device.is_available() and device.is_initialized())
