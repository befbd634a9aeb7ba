"""A solving process that is there at once: forked from the test instead of started, which costs seconds of imports."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from typing import IO

import torch

from lightning_gw.analysis import worker as solving_process


class ForkedProcess:
    """As much of `subprocess.Popen` as the solver asks for."""

    def __init__(self) -> None:
        to_child, mine = os.pipe()
        theirs, from_child = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            for descriptor in (mine, theirs):
                os.close(descriptor)
            os.dup2(to_child, 0)
            os.dup2(from_child, 1)
            sys.stdin = open(0)  # noqa: SIM115
            sys.settrace(None)
            torch.set_num_threads(1)
            torch.set_num_threads = lambda threads: None  # type: ignore[assignment]  # a fork must start none
            try:
                solving_process.main()
            finally:
                os._exit(0)
        os.close(to_child)
        os.close(from_child)
        self.stdin: IO[bytes] = os.fdopen(mine, "wb")
        self.stdout: IO[bytes] = os.fdopen(theirs, "rb")

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while (code := self._reap(os.WNOHANG)) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("forked solver", timeout or 0.0)
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode
