"""Training with looks in between is training without, to the last bit: kinds of networks times kinds of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trust_nets import NETS
from trust_runs import SETTINGS, differences, train, watcher

#: Besides every network in "32-true" and every setting with "normed", pairs that cover all settings on other networks.
COVERING = {
    ("recurrent", "64-true"),
    ("recurrent", "clipping"),
    ("convolutional", "stochastic weight averaging"),
    ("convolutional", "bf16-mixed"),
    ("padded transformer", "accumulation"),
    ("padded transformer", "64-true"),
    ("bert", "manual"),
    ("lora", "bf16-mixed"),
    ("tied", "weight averaging"),
    ("checkpointed", "bf16-mixed"),
    ("lazy", "early stopping"),
    ("caching", "accumulation"),
    ("caching", "64-true"),
    ("generators", "manual"),
    ("hiding", "early stopping"),
    ("compiled (eager)", "bf16-mixed"),
}
#: What cannot be trained at all, with a look or without.
IMPOSSIBLE = {("padded transformer", "bf16-mixed"): "PyTorch's fused attention refuses autocast in validation"}
#: The compiler takes longer than all of the other networks together.
COMPILED = ("compiled", "compiled (reduce-overhead)")


def cases() -> list[Any]:
    found = []
    for name in NETS:
        for setting in SETTINGS:
            if (name, setting) in IMPOSSIBLE:
                continue
            first = setting == "32-true" or name == "normed" or (name, setting) in COVERING
            marks = [] if first and name not in COMPILED else [pytest.mark.slow]
            found.append(pytest.param(name, setting, marks=marks, id=f"{name}-{setting}"))
    return found


@pytest.mark.parametrize(("name", "setting"), cases())
def test_training_is_identical_to_the_last_bit(tmp_path: Path, name: str, setting: str) -> None:
    callback = watcher(tmp_path / "with", name)
    watched = train(tmp_path / "with", name, setting, callback)
    alone = train(tmp_path / "without", name, setting)
    assert differences(watched, alone) == []
    assert callback.history is not None
    assert len(callback.history) >= 3
    assert callback.history[-1].gw.distortion.max() > 0
