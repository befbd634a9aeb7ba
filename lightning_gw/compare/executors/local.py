"""Runs as processes on this machine."""

from __future__ import annotations

import os
import time

from lightning_gw.compare.executors.base import Ended, Order
from lightning_gw.compare.executors.process import RunProcess, begin


def default_workers(threads: int) -> int:
    """How many runs of `threads` threads fit on the cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


class LocalExecutor:
    """Runs as child processes of this one; an `Executor`.

    Args:
        threads: Compute threads of each run, by which the cores are shared out.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._processes: dict[str, RunProcess] = {}
        self._refused: dict[str, Ended] = {}

    def __len__(self) -> int:
        return len(self._processes) + len(self._refused)

    @property
    def room(self) -> int:
        """How many runs fit on the cores."""
        return default_workers(self._threads)

    def open(self) -> list[str]:
        """Nothing to prepare."""
        return []

    def start(self, order: Order) -> None:
        """Start a run."""
        match begin(order):
            case Ended() as refused:
                self._refused[order.key] = refused
            case process:
                self._processes[order.key] = process

    def poll(self) -> dict[str, Ended]:
        """The runs that have ended since the last call."""
        ended = {key: Ended(code) for key, process in self._processes.items() if (code := process.poll()) is not None}
        for key in ended:
            del self._processes[key]
        ended |= self._refused
        self._refused = {}
        return ended

    def stop(self, patience: float = 10.0) -> None:
        """Ask every run to stop, and after `patience` seconds make it."""
        for process in self._processes.values():
            process.ask()
        deadline = time.monotonic() + patience
        for process in self._processes.values():
            process.end(deadline - time.monotonic())
        self._processes.clear()

    def close(self) -> None:
        """Stop what is still at work."""
        self.stop()
