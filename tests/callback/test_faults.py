"""Whatever call of ours fails in a look, training ends as it would have without, and the reason is said once."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from callback_nets import Net, loader, plain_net, trainer, watcher
from faults import Site, Tracer, tracing
from forked_solver import ForkedProcess
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_gw.analysis import background, worker
from lightning_gw.gw.moves.warmup import prepare

pytestmark = pytest.mark.usefixtures("few_draws")

#: Where a fault costs a line on the screen or less, which is nothing to be said.
COSMETIC = ("utilities/output.py:", "callback/progress_bar.py:", "callback/messages.py:say")
#: Sites of the first tier, and into how many cases the second tier parts all of them.
SAMPLE, PARTS = 4, 16


class Remembering(Net):  # type: ignore[misc, valid-type]
    """Writes down in which mode every training step found it."""

    def __init__(self) -> None:
        super().__init__(plain_net())
        self.modes: list[bool] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.modes.append(all(child.training for child in self.modules()) and torch.is_grad_enabled())
        return super().training_step(batch, batch_idx)  # type: ignore[no-any-return]


def train(
    root: Path, solve: str, tracer: Tracer | None = None, looks: bool = True
) -> tuple[Any, list[bool], list[str]]:
    """Weights in the end, modes at every step, and what was said."""
    torch.manual_seed(1)
    module = Remembering()
    callbacks: list[Any] = [ModelCheckpoint(root / "checkpoints", every_n_train_steps=3, save_top_k=-1)]
    if looks:
        options = {"when": [2], "on_error": "warn", "null_samples": 0, "verbose": True, "max_overhead": None}
        callbacks.append(watcher(root, solve=solve, **options))
    fitting = trainer(root, *callbacks, *([tracer] if tracer else []), max_epochs=1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with tracing(tracer or Tracer()):
            fitting.fit(module, loader(), loader(32))
    assert fitting.global_step == 4
    assert fitting.state.finished
    return module.state_dict(), module.modes, [str(warning.message) for warning in said]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What training is without looks, and the sites of every way of solving, once asked for."""
    prepare()  # here, so that every forked process has it
    return {"alone": train(tmp_path_factory.mktemp("alone"), "inline", looks=False)}


def sites(found: dict[str, Any], solve: str, root: Path) -> list[Site]:
    """One call into every function that looks call, in the order of the first calls."""
    if solve not in found:
        tracer = Tracer()
        train(root / "traced", solve, tracer)
        found[solve] = list({site.callee: site for site in reversed(tracer.sites)}.values())[::-1]
    return found[solve]  # type: ignore[no-any-return]


@pytest.mark.parametrize("solve", ["inline", "background"])
@pytest.mark.parametrize("part", ["sample", *(f"part {k}" for k in range(PARTS))])
@pytest.mark.representatives("sample-inline")
def test_a_fault_anywhere_in_a_look_changes_nothing_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], solve: str, part: str
) -> None:
    monkeypatch.setattr(worker, "NICENESS", 0)
    monkeypatch.setattr(background, "start_process", ForkedProcess)
    every = sites(found, solve, tmp_path)
    assert len(every) > 150  # the tracing sees the looks
    chosen = random.Random(solve).sample(every, SAMPLE) if part == "sample" else every[int(part.split()[1]) :: PARTS]
    weights, modes, _ = found["alone"]
    for number, site in enumerate(chosen):
        ended, seen, said = train(tmp_path / str(number), solve, Tracer(site))
        assert all(torch.equal(ended[name], weights[name]) for name in weights), site
        assert seen == modes == [True] * 4, site
        reasons = [message for message in said if "injected into" in message]
        assert len(reasons) == 1 or (not reasons and site.callee.startswith(COSMETIC)), f"{site}: {reasons}"
