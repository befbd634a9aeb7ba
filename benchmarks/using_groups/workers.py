"""Processes that measure side by side; only their parent writes, so that nothing is written behind its back."""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.using_groups.measurements import Row
from benchmarks.using_groups.plan import Network

#: What one process is given at a time: network, seed, and the cases that are missing.
Job = tuple[Network, int, tuple[str, ...]]


class StudyError(RuntimeError):
    """A measurement failed; the message holds the worker's own traceback."""


def run_jobs(jobs: Sequence[Job], out: Path, workers: int, add: Callable[[Row], None]) -> None:
    """Do all jobs, several at a time, in the order given.

    A worker whose parent is gone ends at once, so that a study that is begun anew finds nobody else in its folders.

    Args:
        jobs: What to measure.
        out: Folder of the study.
        workers: Processes at a time.
        add: Called here with every measurement.

    Raises:
        StudyError: If a measurement fails or a process ends; what the others measured until then was added.
    """
    context = multiprocessing.get_context("spawn")
    os.environ.setdefault("TQDM_DISABLE", "1")  # read by the workers when they import what draws bars of its own
    left = list(jobs)
    busy: dict[Connection, Any] = {}
    try:
        for _ in range(min(workers, len(left))):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, str(out)), daemon=True)
            process.start()
            theirs.close()
            busy[ours] = process
            ours.send(left.pop(0))
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                kind, content = _received(connection)
                if kind == "row":
                    add(content)
                elif kind == "failed":
                    raise StudyError(content)
                elif left:
                    connection.send(left.pop(0))
                else:
                    connection.send(None)
                    busy.pop(connection).join()
    finally:
        for process in busy.values():
            process.terminate()
            process.join()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _received(connection: Connection) -> tuple[str, Any]:
    try:
        message: tuple[str, Any] = connection.recv()
    except EOFError:
        return "failed", "A process of the study ended without a word: was there too little memory?"
    return message


def _work(connection: Connection, out: str) -> None:
    from benchmarks.using_groups.job import be_quiet, measure

    threading.Thread(target=_end_with_parent, daemon=True).start()
    be_quiet()
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):  # the parent is gone or going: nobody is to be told
        while (job := connection.recv()) is not None:
            network, seed, cases = job
            try:
                measure(network, seed, Path(out), cases, lambda row: connection.send(("row", row)))
            except (BrokenPipeError, KeyboardInterrupt):
                raise
            except BaseException:
                connection.send(("failed", f"{network.name}, seed {seed}:\n{traceback.format_exc()}"))
                return
            connection.send(("done", None))
