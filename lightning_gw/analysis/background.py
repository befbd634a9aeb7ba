"""Solves looks in a process of its own while training goes on; see `worker` for why it is one.

It remembers nothing between looks that is not sent along again, so that one that dies takes only its look with it.
"""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from lightning_gw.analysis.config import AnalysisConfig
from lightning_gw.analysis.job import LookJob, LookResult, failed
from lightning_gw.analysis.watchdog import watched
from lightning_gw.analysis.worker import (
    ENDED_WITHIN,
    end_process,
    packed_record,
    receive,
    send,
    start_process,
    unpacked_picture,
    unpacked_record,
)
from lightning_gw.records.history import History
from lightning_gw.records.record import Record

#: Seconds between two glances at whether anybody is still at work on what is waited for.
_GLANCE = 0.5


class SolvingError(RuntimeError):
    """A look could not be solved in the background; the message says why."""


class ProcessWorker:
    """Solves looks one after the other in another process, fed by a thread that waits on a pipe and holds up nobody.

    At most `capacity` looks wait or are being solved, each with its pooled representations in the memory of the host.
    The process starts with its first look, which its imports would have slowed down otherwise.

    Args:
        config: How looks are analysed. The geometry must be one of the known names: a function of one's own cannot be
            handed to another process without code being unpickled there.

    Raises:
        ValueError: If the geometry is no name.
    """

    capacity: int | None = 4
    aside = True

    def __init__(self, config: AnalysisConfig) -> None:
        if not isinstance(config.geometry, str):
            raise ValueError(
                "solve='background' takes a geometry by its name, because a function of one's own stays in this "
                "process. Use solve='inline' with it."
            )
        self._config = config.to_json()
        self._memory: dict[str, Any] = {}
        self._thread: _Feeder | None = None
        self._threads = 1
        self._history: History | None = None  # what a timeline shows; None where no pictures are wanted

    @property
    def ready(self) -> int:
        return self._thread.results.qsize() if self._thread is not None else 0

    def begin(self, memory: dict[str, Any]) -> None:
        self.close()
        self._memory = memory
        self._history = None

    def close(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None
        self._threads = 1

    def submit(self, job: LookJob, shared: bool) -> None:
        if self._thread is None or not self._thread.alive:
            self._thread = _Feeder(self._config, self._memory, self._threads)
            if self._history is not None:
                self._thread.render_in_worker(self._history)
        self._thread.jobs.put(job)

    def end_job(self, reason: str) -> None:
        if self._thread is not None:
            self._thread.end_job(reason)

    def take(self, wait: float) -> list[LookResult]:
        results: list[LookResult] = []
        until = time.monotonic() + wait
        while self._thread is not None:
            left = 0.0 if results else min(until - time.monotonic(), _GLANCE)
            try:
                results.append(self._thread.results.get(block=left > 0, timeout=max(left, 0.0) or None))
                self._memory = results[-1].after
            except queue.Empty:
                if left < _GLANCE or not self._thread.alive:  # nothing comes of a thread that is over
                    break
        return results

    def warm_up(self, device: torch.device) -> None:
        """Nothing: see above."""

    def set_threads(self, threads: int) -> None:
        self._threads = threads
        if self._thread is not None:
            self._thread.threads = threads

    def render_in_worker(self, history: History) -> None:
        self._history = history
        if self._thread is not None:
            self._thread.render_in_worker(history)


class _Feeder:
    """A thread that feeds one process, job by job.

    Args:
        config: How looks are analysed, as plain JSON values.
        memory: What the analysis remembers.
        threads: How many the process solves with, from the next job on.
    """

    def __init__(self, config: Mapping[str, Any], memory: dict[str, Any], threads: int) -> None:
        self.threads = threads
        self._history: History | None = None
        self._looks: list[Record] = []
        self._told = 0  # of these looks, how many the process knows
        self.jobs: queue.Queue[LookJob | None] = queue.Queue()
        self.results: queue.Queue[LookResult] = queue.Queue()
        self._config = config
        self._memory = memory
        self._stopped = False
        self._ended: list[str] = []  # why the process was ended on purpose
        self._lock = threading.Lock()  # between stopping and starting again
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(OSError):  # the look that finds no process tries again, and says why there is none
            self._process = start_process()
        self._thread = threading.Thread(target=self._run, name="lightning-gw-solver", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether there is anybody who takes jobs."""
        return self._thread.is_alive()

    def render_in_worker(self, history: History) -> None:
        """Have the looks drawn that are handed in from now on."""
        self._looks = list(history)
        self._history = history

    def stop(self) -> None:
        """End the process, at once; a look that is being solved is lost."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()
        self.jobs.put(None)
        self._thread.join(ENDED_WITHIN)
        if self._process is not None:
            end_process(self._process)

    def end_job(self, reason: str) -> None:
        """End the process, which costs the look that it solves; the next look is given to another."""
        with self._lock:
            if self._process is not None:
                self._ended.append(reason)
                self._process.kill()

    def _run(self) -> None:
        while (job := self.jobs.get()) is not None:
            started = time.perf_counter()
            try:
                record, reply, pictures = self._solve(job)
                result = LookResult(
                    job,
                    record,
                    None,
                    before=self._memory,
                    after=reply["memory"],
                    solving=time.perf_counter() - started,
                    alone=reply["seconds"],
                    aside=True,
                    pictures=pictures,
                )
            except Exception as error:
                if self._stopped:
                    return
                result = failed(job, error, self._memory, time.perf_counter() - started, aside=True)
            self._memory = result.after
            self.results.put(result)

    def _solve(self, job: LookJob) -> tuple[Record, dict[str, Any], dict[str, Any] | None]:
        with self._lock:
            if (self._process is None or self._process.poll() is not None) and not self._stopped:
                if self._process is not None:
                    end_process(self._process)
                self._process = None
                self._process = start_process()
                self._told = 0
                self._ended.clear()
            process = self._process
        message: dict[str, Any] = {"config": self._config, "memory": self._memory, "job": job.state_dict()}
        message["threads"] = self.threads
        if self._history is not None:
            message["looks"] = [packed_record(look) for look in self._looks[self._told :]]
            message["metrics"] = [row for row in self._history.metrics if row["step"] <= job.step]
            self._told = len(self._looks)
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with watched(process, self._ended):
                send(process.stdin, message)
                reply = receive(process.stdout)
        except (OSError, EOFError):
            process.kill()  # one that no longer talks may live on
            code = process.wait(ENDED_WITHIN)
            reason = f"signal {-code}" if code < 0 else f"exit code {code}"
            hint = "; the system ends processes so when memory runs out" if code == -9 else ""
            raise SolvingError(f"the solving process {''.join(self._ended) or f'ended with {reason}{hint}'}.") from None
        except Exception:  # what follows a message that cannot be read would be taken for another
            process.kill()
            raise
        if "error" in reply:
            raise SolvingError(reply["error"])
        record = replace(unpacked_record(reply["record"]), seconds=job.seconds)
        pictures = reply.get("pictures")
        if self._history is not None:
            self._looks.append(record)
            self._told += 1  # the process kept what it found
        if pictures is not None:
            pictures = {name: x if isinstance(x, str) else unpacked_picture(x) for name, x in pictures.items()}
        return record, reply, pictures
