"""Solves looks in a process of its own while training goes on; see `solving_process` for why it is one.

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

from lightning_gw.analysis.solver import Job, Outcome, Solver
from lightning_gw.analysis.worker import (
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


class SolvingError(RuntimeError):
    """A look could not be solved in the background; the message says why."""


class BackgroundSolver(Solver):
    """Solves looks one after the other in another process.

    At most `capacity` looks wait or are being solved, each with its pooled representations in the memory of the host;
    `backlog` says when there will be room. With more than that, `submit` waits.

    Args:
        arguments: Those of `Analysis`, by name. The geometry must be one of the known names: a function of one's own
            cannot be handed to another process without code being unpickled there.

    Raises:
        ValueError: If an argument is unknown, or the geometry is no name.
    """

    #: Looks that may wait or be in work.
    capacity = 4

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        if not isinstance(arguments.get("geometry", ""), str):
            raise ValueError(
                "solve='background' takes a geometry by its name, because a function of one's own stays in this "
                "process. Use solve='inline' with it."
            )
        self._worker: _Worker | None = None
        self._threads = 1
        super().__init__(arguments)

    def reset(self) -> None:
        self.close()
        super().reset()
        self._latest = self._state  # as of the last look solved, collected or not
        self._history: History | None = None  # what a timeline shows; None where no pictures are wanted
        self._solving = self._alone = 0.0

    @property
    def ready(self) -> bool:
        return self._ready() > 0

    def warm_up(self, device: torch.device) -> None:
        """Nothing: the process starts with its first look, which its imports would have slowed down."""

    def hurry(self, threads: int) -> None:
        self._threads = threads
        if self._worker is not None:
            self._worker.threads = threads

    def draw_beside(self, history: History) -> None:
        self._history = history
        if self._worker is not None:
            self._worker.draw(history)

    @property
    def backlog(self) -> float:
        return max(self._solving, 0.1) if len(self._pending) - self._ready() >= self.capacity else 0.0

    @property
    def closing(self) -> float:
        return self._alone

    def submit(self, job: Job) -> None:
        job = replace(job, representations={name: x.detach().cpu() for name, x in job.representations.items()})
        while self.backlog:
            self._take(wait=None)
        super().submit(job)

    def collect(self, patience: float = 0.0) -> list[Outcome]:
        self._take(wait=0.0)
        while patience and self._ready() < len(self._pending):
            if not self._take(wait=patience):
                break
        return super().collect()

    def abandon(self) -> tuple[int, ...]:
        self._take(wait=0.0)
        solved = {outcome.job.step for outcome in self._done}
        left = tuple(job.step for job in self._pending if job.step not in solved)
        self._pending = [job for job in self._pending if job.step in solved]
        self.close()
        return left

    def close(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        self._threads = 1

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._latest = self._state

    def share(self, processes: int) -> None:
        """The process that solves is one for all; the processes of the training only make looks."""

    def _work(self, job: Job) -> None:
        self._hire().jobs.put(job)

    def _hire(self) -> _Worker:
        if self._worker is None:
            self._worker = _Worker(self.arguments, self._latest, self._threads)
            if self._history is not None:
                self._worker.draw(self._history)
        return self._worker

    def _ready(self) -> int:
        return len(self._done) + (self._worker.outcomes.qsize() if self._worker is not None else 0)

    def _take(self, wait: float | None) -> bool:
        """Fetch what the worker finished; waits for the first of it, for ever where `wait` is None."""
        if self._worker is None:
            return False
        block = wait is None or wait > 0
        found = False
        while True:
            try:
                outcome = self._worker.outcomes.get(block=block and not found, timeout=wait or None)
            except queue.Empty:
                return found
            found = True
            self._done.append(outcome)
            self._latest, self._solving = outcome.after, outcome.solving
            self._alone = outcome.alone or self._alone


class _Worker:
    """A thread that feeds one process, job by job; it waits on a pipe and holds up nobody.

    Args:
        arguments: Those of `Analysis`, by name.
        state: What the analysis remembers.
        threads: How many the process solves with, from the next job on.
    """

    def __init__(self, arguments: Mapping[str, Any], state: dict[str, Any], threads: int) -> None:
        self.threads = threads
        self._history: History | None = None
        self._looks: list[Record] = []
        self._told = 0  # of these looks, how many the process knows
        self.jobs: queue.Queue[Job | None] = queue.Queue()
        self.outcomes: queue.Queue[Outcome] = queue.Queue()
        self._arguments = dict(arguments)
        self._state = state
        self._stopped = False
        self._lock = threading.Lock()  # between stopping and starting again
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(OSError):  # the look that finds no process tries again, and says why there is none
            self._process = start_process()
        self._thread = threading.Thread(target=self._run, name="lightning-gw-solver", daemon=True)
        self._thread.start()

    def draw(self, history: History) -> None:
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
        self._thread.join()
        if self._process is not None:
            end_process(self._process)

    def _run(self) -> None:
        while (job := self.jobs.get()) is not None:
            started = time.perf_counter()
            try:
                record, reply, pictures = self._solve(job)
                outcome = Outcome(
                    job,
                    record,
                    None,
                    before=self._state,
                    after=reply["state"],
                    solving=time.perf_counter() - started,
                    alone=reply["seconds"],
                    aside=True,
                    pictures=pictures,
                )
            except Exception as error:
                if self._stopped:
                    return
                # Looks after a first one that failed are held against the null that came with it.
                after = self._state if job.null is None else {**self._state, "null": job.null}
                outcome = Outcome(
                    job, None, error, self._state, after, solving=time.perf_counter() - started, aside=True
                )
            self._state = outcome.after
            self.outcomes.put(outcome)

    def _solve(self, job: Job) -> tuple[Record, dict[str, Any], dict[str, Any] | None]:
        with self._lock:
            if (self._process is None or self._process.poll() is not None) and not self._stopped:
                if self._process is not None:
                    end_process(self._process)
                self._process = None
                self._process = start_process()
                self._told = 0
            process = self._process
        message: dict[str, Any] = {"arguments": self._arguments, "state": self._state, "job": job.state_dict()}
        message["threads"] = self.threads
        if self._history is not None:
            message["looks"] = [packed_record(look) for look in self._looks[self._told :]]
            message["metrics"] = [row for row in self._history.metrics if row["step"] <= job.step]
            self._told = len(self._looks)
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            send(process.stdin, message)
            reply = receive(process.stdout)
        except (OSError, EOFError):
            code = process.wait()
            reason = f"signal {-code}" if code < 0 else f"exit code {code}"
            hint = "; the system ends processes so when memory runs out" if code == -9 else ""
            raise SolvingError(f"the solving process ended with {reason}{hint}.") from None
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
