"""A look that takes long enough to wonder shows itself, and says what it cost."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from callback_nets import Net, loader, trainer, watcher
from pytorch_lightning.callbacks import Callback, RichProgressBar, TQDMProgressBar

from lightning_gw.callback import progress_bar as progress
from lightning_gw.callback.progress_bar import shown


def slowly(module: Any, batch: Any) -> None:
    time.sleep(0.3)
    module(batch[0])


class Spy(Callback):
    """Notes what the bar says at the end of every step."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        bar = trainer.progress_bar_callback
        if isinstance(bar, RichProgressBar):
            self.seen.append(bar.progress.tasks[0].description)
        else:
            self.seen.append(bar.train_progress_bar.desc)


@pytest.mark.parametrize("bar", [TQDMProgressBar, RichProgressBar])
@pytest.mark.representatives("RichProgressBar")
def test_a_slow_look_shows_in_the_bar_and_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bar: Any
) -> None:
    said: list[str] = []
    real = {name: getattr(progress, name) for name in ("_in_tqdm", "_in_rich", "_in_log")}
    for name, show in real.items():
        monkeypatch.setattr(progress, name, lambda *args, show=show: (said.append(args[-1]), show(*args))[1])
    monkeypatch.setattr(progress.shown.__wrapped__, "__defaults__", (0.05,))
    spy, shows = Spy(), bar()
    callback = watcher(tmp_path, when=[2, 6], probe_step=slowly)
    trainer(tmp_path, shows, callback, spy, enable_progress_bar=True).fit(Net(), loader())
    assert said == [f"Looking through the layers at step {step}" for step in (0, 2, 6, 8)]
    assert len(spy.seen) == 8
    assert all("Epoch" in text for text in spy.seen), "the bar kept what the look had shown"


def test_a_quick_look_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_in_log", lambda message: pytest.fail(message))
    with shown(SimpleNamespace(progress_bar_callback=SimpleNamespace()), "looking", after=0.5):
        pass
    time.sleep(0.6)


def test_a_trainer_without_a_bar_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.threading, "Timer", lambda *args: pytest.fail("something was about to be shown"))
    with shown(SimpleNamespace(progress_bar_callback=None), "looking", after=0.0):
        pass


def test_a_bar_that_breaks_breaks_no_look() -> None:
    class Broken:
        @property
        def desc(self) -> str:
            raise RuntimeError("no terminal")

    trainer = SimpleNamespace(progress_bar_callback=SimpleNamespace(train_progress_bar=Broken()))
    with shown(trainer, "looking", after=0.0):
        time.sleep(0.05)


@pytest.mark.slow
def test_every_look_says_what_it_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback = watcher(tmp_path, when=[2], probe_step=slowly, verbose=True)
    trainer(tmp_path, callback, max_epochs=1).fit(Net(), loader())
    printed = capsys.readouterr().out
    costs = [
        float(cost)
        for cost in re.findall(r"^gw step \d+: .*\((\d+\.\d) s(?:, [\d.]+ s of it for .*)?\)$", printed, re.MULTILINE)
    ]
    assert len(costs) == 3
    assert all(cost >= 0.3 for cost in costs)
    (total,) = re.findall(r"^Looking took (\d+\.\d) s, \d+\.\d% of \d+ s of training", printed, re.MULTILINE)
    assert float(total) >= sum(costs) - 0.2
