"""Ends a process that was stopped for good, so that nobody waits for its answer without end."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from lightning_gw.utilities.errors import reason_of
from lightning_gw.utilities.output import warn

#: Seconds for which a process may stand still, as one does that was sent SIGSTOP, before it is ended.
STANDSTILL = 30.0
#: Seconds between two questions whether it does.
ASKED_EVERY = 0.5


@contextmanager
def watched(process: subprocess.Popen[bytes], ended: list[str]) -> Iterator[None]:
    """End `process` if it stands still while what runs inside waits for it, which then finds it gone.

    `ended` is told so. Counted are questions and not the clock, so that a job that was suspended and resumed as a whole
    loses nothing.
    """
    over = threading.Event()

    def watch() -> None:
        still = 0
        while not over.wait(ASKED_EVERY):
            still = still + 1 if _is_stopped(process) else 0
            if still * ASKED_EVERY >= STANDSTILL:
                ended.append(f"was stopped, and ended after {STANDSTILL:.0f} s")
                process.kill()
                return

    with ThreadPoolExecutor(1, "lightning-gw-watchdog") as thread:
        watching = thread.submit(watch)
        try:
            yield
        finally:
            over.set()
            if (error := watching.exception()) is not None:
                warn(f"The process that solves looks was not watched while it was waited for: {reason_of(error)}")


def _is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether the system has stopped it; False where that cannot be asked."""
    if not hasattr(os, "waitid"):
        return False
    try:
        # WNOWAIT leaves its end, should it have ended, for who waits for it.
        found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return False
    return found is not None and found.si_code == os.CLD_STOPPED
