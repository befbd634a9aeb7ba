"""One run as a process: started under its lock, in a group of its own, and ended with all that it left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import BinaryIO

from lightning_gw.compare.executors.base import Ended, Order
from lightning_gw.compare.executors.locks import LockedError, hold

#: Names the process a run belongs to; a run whose parent is no longer that process stops (`child.RunProgress`).
PARENT_VARIABLE = "LIGHTNING_GW_PARENT"
#: Seconds that a network disk may take to show what another machine wrote.
_DISK_DELAY = 15.0
#: Seconds to wait for a process that is still at work on the same run.
_LOCK_PATIENCE = 60.0


class RunProcess:
    """A run's command as a child process.

    It is a process group of its own: Ctrl-C in the terminal reaches only its parent, which then stops it in order.

    Args:
        order: What to start.
        patience: Seconds to wait for another process that is at work on the same run.

    Raises:
        LockedError: If there still is one.
        OSError: If the command cannot be started or its log not be written.
    """

    def __init__(self, order: Order, patience: float = _LOCK_PATIENCE) -> None:
        lock = hold(order.lock, patience)
        try:
            self._process = self._start(order, lock)
        finally:
            if lock is not None:
                lock.close()  # the child keeps it

    @staticmethod
    def _start(order: Order, lock: BinaryIO | None) -> subprocess.Popen[bytes]:
        with order.log.open("ab") as stream:
            heading = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  on {socket.gethostname()}  {' '.join(order.command)}"
            stream.write(f"\n--- {heading}\n".encode())
            stream.flush()
            return subprocess.Popen(
                order.command,
                cwd=order.directory,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **order.variables, PARENT_VARIABLE: str(os.getpid())},
                start_new_session=True,
                pass_fds=() if lock is None else (lock.fileno(),),
            )

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait(self, grace: float = 5.0) -> int:
        """Wait for its exit code; when this is interrupted, it has `grace` seconds to stop."""
        code = None
        try:
            while (code := self.poll()) is None:
                time.sleep(0.05)
            return code
        finally:
            if code is None:
                self.ask()
                self.end(grace)

    def ask(self) -> None:
        """Ask it to stop."""
        self._signal(signal.SIGTERM)

    def end(self, patience: float) -> None:
        """Make it stop once it had `patience` seconds to do so by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, patience))
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        # The group outlives its first process when that leaves helpers behind (data loaders, the W&B service).
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def begin(order: Order) -> RunProcess | Ended:
    """Start a run here; where it cannot be started, say why."""
    try:
        return RunProcess(order)
    except LockedError:
        return Ended(1, f"another process is still at work on {order.key}, as {socket.gethostname()} sees it")
    except OSError as error:
        return Ended(1, f"{order.command[0]} could not be started on {socket.gethostname()}: {error}")


def carry_out(order: Order, grace: float = 5.0, disk_delay: float = _DISK_DELAY) -> Ended:
    """Do a run here, on a machine that may not be the comparison's, and wait for its end as `RunProcess.wait` does.

    The disk may take `disk_delay` seconds to show what another machine wrote.
    """
    here = socket.gethostname()
    if unseen := _unseen(order, disk_delay):
        return Ended(
            1,
            f"{unseen} on {here}. Every node must see the comparison's folder under the same path: put it on a disk "
            "that all of them share, and give that with --out.",
        )
    process = begin(order)
    return process if isinstance(process, Ended) else Ended(process.wait(grace))


def file_hash(file: Path) -> str | None:
    """SHA-256 of a file's content; None where it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _unseen(order: Order, patience: float) -> str:
    """What of the comparison cannot be seen from here, in words; empty where all is there."""
    deadline = time.monotonic() + patience
    while True:
        found = file_hash(order.plan)
        missing = next((folder for folder in (order.directory, order.log.parent) if not folder.is_dir()), None)
        if found == order.plan_hash and missing is None:
            return ""
        if time.monotonic() > deadline:
            if found is not None and found != order.plan_hash:
                return f"{order.plan} is that of another comparison"
            return f"{missing or order.plan} is not there"
        time.sleep(0.5)
