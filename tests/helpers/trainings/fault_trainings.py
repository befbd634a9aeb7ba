"""Trainings that a fault is put into: by one process, or by two that are forked once for many of them."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from callback_nets import Net, loader, plain_net, trainer, watcher
from faults import Tracer, tracing
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.environments import ClusterEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

#: Seconds after which a process that waits for another has lost it.
PATIENCE = 30.0


class Ended(NamedTuple):
    """What a training was in the end."""

    weights: dict[str, Tensor]
    modes: list[bool]
    said: list[str]


class Remembering(Net):  # type: ignore[misc, valid-type]
    """Writes down in which mode every training step found it."""

    def __init__(self) -> None:
        super().__init__(plain_net())
        self.modes: list[bool] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.modes.append(all(child.training for child in self.modules()) and torch.is_grad_enabled())
        return super().training_step(batch, batch_idx)  # type: ignore[no-any-return]


def train(root: Path, solve: str = "inline", tracer: Tracer | None = None, looks: bool = True, **options: Any) -> Ended:
    """Train for four steps, with checkpoints and looks in between; `options` are the Trainer's."""
    torch.manual_seed(1)
    module = Remembering()
    callbacks: list[Any] = [ModelCheckpoint(root / "checkpoints", every_n_train_steps=3, save_top_k=-1)]
    if looks:
        when = {"when": [2], "on_error": "warn", "null_samples": 0, "verbose": True, "max_overhead": None}
        callbacks.append(watcher(root, solve=solve, **when))
    fitting = trainer(root, *callbacks, *([tracer] if tracer else []), max_epochs=1, **options)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with tracing():
            fitting.fit(module, loader(), loader(32))
    assert fitting.global_step == 4
    assert fitting.state.finished
    return Ended(module.state_dict(), module.modes, [str(warning.message) for warning in said])


class _Pair(ClusterEnvironment):
    """Two processes that are there already."""

    def __init__(self, rank: int, port: int) -> None:
        super().__init__()
        self._rank, self._port = rank, port

    creates_processes_externally = True
    main_address = "127.0.0.1"

    @property
    def main_port(self) -> int:
        return self._port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return 2

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self._rank

    def node_rank(self) -> int:
        return 0


def train_by_two(root: Path, given: Sequence[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Train once for every element of `given`, which is passed to `train`, by two processes.

    Returns:
        For each what it was on either rank, with the tracer that was given; where that failed, the traceback.
    """
    ports = [_free_port() for _ in given]
    processes = [_forked(root, rank, given, ports) for rank in range(2)]
    deadline = time.monotonic() + 120 + 60 * len(given)
    waiting = set(processes)
    while waiting and time.monotonic() < deadline:
        waiting -= {pid for pid in waiting if os.waitpid(pid, os.WNOHANG)[0]}
        time.sleep(0.02)
    for pid in waiting:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    found = [pickle.loads((root / f"rank-{rank}").read_bytes()) for rank in range(2)]
    return list(zip(*found, strict=True))


def _forked(root: Path, rank: int, given: Sequence[dict[str, Any]], ports: Sequence[int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    found: list[Any] = []
    try:
        torch.set_num_threads(1)
        for number, (options, port) in enumerate(zip(given, ports, strict=True)):
            found.append(_guarded(lambda n=number, o=options, p=port: _train_as(root / str(n), rank, p, o)))  # type: ignore[misc]
            (root / f"rank-{rank}").write_bytes(pickle.dumps(found))
    finally:
        sys.stdout.flush()
        os._exit(0)


def _train_as(root: Path, rank: int, port: int, options: dict[str, Any]) -> tuple[Ended, Any]:
    strategy = DDPStrategy(
        cluster_environment=_Pair(rank, port),
        process_group_backend="gloo",
        timeout=timedelta(seconds=PATIENCE),
    )
    try:
        ended = train(root, strategy=strategy, devices=2, use_distributed_sampler=False, **options)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    tracer = options.get("tracer")
    return ended, tracer and (list(tracer.sites), tracer.raised)


def _guarded(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except BaseException:
        return traceback.format_exc()


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
