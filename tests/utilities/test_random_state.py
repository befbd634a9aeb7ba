"""Randomness inside a look is seeded, and every random state outside is put back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gw.utilities.random_state import isolated_randomness


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


def test_randomness_inside_is_seeded() -> None:
    drawn = []
    for _ in range(2):
        with isolated_randomness(5):
            drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
        torch.rand(3)
    assert drawn[0] == drawn[1]


def test_every_random_state_is_put_back_where_another_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(state: Any) -> None:
        raise ValueError("no such state")

    before = torch.get_rng_state(), random.getstate()
    monkeypatch.setattr(np.random, "set_state", refuse)

    def draw() -> None:
        with isolated_randomness(3):
            torch.rand(3)
            random.random()

    with pytest.raises(ValueError, match="no such state"):
        draw()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
