"""Runs as processes on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

#: Names the process a run belongs to; a run whose parent is no longer that process stops (`child.RunProgress`).
PARENT_VARIABLE = "LIGHTNING_GW_PARENT"


def default_workers(threads: int) -> int:
    """How many runs of `threads` threads fit on the cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


class LocalExecutor:
    """Starts runs as child processes, says which have ended, stops the rest.

    Each run is a process group of its own: Ctrl-C in the terminal reaches only the comparison, which then stops its
    runs in order.

    Args:
        variables: Environment variables to set for every run.
        keep_open: A file every run keeps open: the lock on the comparison's folder.
    """

    def __init__(self, variables: Mapping[str, str], keep_open: BinaryIO | None = None) -> None:
        self._environment = {**os.environ, **variables, PARENT_VARIABLE: str(os.getpid())}
        self._keep_open = () if keep_open is None else (keep_open.fileno(),)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __len__(self) -> int:
        return len(self._processes)

    def start(self, key: str, command: Sequence[str], log: Path) -> None:
        """Start a command whose output is appended to `log`."""
        with log.open("ab") as stream:
            stream.write(f"\n--- {time.strftime('%Y-%m-%d %H:%M:%S')}  {' '.join(command)}\n".encode())
            stream.flush()
            self._processes[key] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                pass_fds=self._keep_open,
            )

    def poll(self) -> dict[str, int]:
        """Exit codes of the runs that have ended since the last call; negative for one killed by a signal."""
        ended = {key: code for key, process in self._processes.items() if (code := process.poll()) is not None}
        for key in ended:
            del self._processes[key]
        return ended

    def stop(self, patience: float = 10.0) -> None:
        """Ask every run to stop, and after `patience` seconds make it."""
        for process in self._processes.values():
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + patience
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            _signal_group(process, signal.SIGKILL)
            process.wait()
        self._processes.clear()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    # The group outlives its first process when that leaves helpers behind (data loaders, the W&B service).
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
