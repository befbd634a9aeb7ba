"""A look late in a long training takes no more than an early one: no memory, descriptors, threads or time pile up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from callback_nets import Net, loader, plain_net, trainer, watcher
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_gw import gw_matrix
from lightning_gw.callback.look.look_loop import LookLoop

#: Share by which the late may exceed the early, and looks over which is measured at either end.
ALLOWED, SPAN = 0.05, 100


class Taken(NamedTuple):
    """What one look took, in units of the same piece of work done beside it; what the process then held."""

    work: float
    memory: int
    descriptors: int
    threads: int


def looks_of(root: Path, monkeypatch: pytest.MonkeyPatch, count: int, logger: Any) -> list[Taken]:
    taken: list[Taken] = []
    look = LookLoop._look
    generator = np.random.default_rng(0)
    layers = {f"layer {k}": generator.standard_normal((12, 6)) for k in range(4)}

    def seconds(run: Callable[[], Any]) -> float:
        started = time.process_time()
        run()
        return time.process_time() - started

    def measured(self: Any, *args: Any, **options: Any) -> None:
        # A processor that others use too is slower for minutes on end: for a look and for what is like one alike.
        unit = seconds(lambda: gw_matrix(layers, progress=False))
        took = seconds(lambda: look(self, *args, **options))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        held = pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")), threading.active_count()
        taken.append(Taken(took / unit, *held))

    monkeypatch.setattr(LookLoop, "_look", measured)
    watching = watcher(root, every_n_steps=1, max_overhead=None, null_samples=0, bootstrap_samples=2)
    fit = trainer(root, watching, max_epochs=-1, max_steps=count, logger=logger, log_every_n_steps=10**9)
    fit.fit(Net(plain_net()), loader(16 * 50))
    assert watching.history is not None
    assert len(watching.history) == count + 1
    return taken


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads what Linux tells of a process")
@pytest.mark.parametrize(("count", "tensorboard"), [(2000, False), (400, True)], ids=["alone", "TensorBoard"])
def test_nothing_grows_over_many_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, tensorboard: bool
) -> None:
    taken = looks_of(tmp_path, monkeypatch, count, TensorBoardLogger(tmp_path) if tensorboard else False)
    # Of the first 100, caches are filled, and of a timeline columns are added up to as many as it shows.
    early, late = taken[SPAN : 2 * SPAN], taken[-SPAN:]
    grown = []
    for what in Taken._fields:
        before, after = (np.median([getattr(look, what) for look in looks]) for looks in (early, late))
        print(f"{what}: {before:.4g} → {after:.4g}")
        if after > before * (1 + ALLOWED):
            grown.append(f"{what}: {before:.4g} → {after:.4g}")
    assert grown == []
