"""Solves looks in a process of its own while training goes on.

Not in a thread: solving sets the precision of matrix products and isolates the random states, both of which belong to
the whole process, so that training beside it would compute otherwise than without. The process is a plain child of this
interpreter, not a fork (which would copy the devices' state) and not a `multiprocessing` spawn (which would run the
user's script a second time). What goes to it and comes back are tensors and plain values, read ``weights_only``; it
remembers nothing between looks, so that one that dies takes only its look with it.
"""

from __future__ import annotations

import io
import os
import queue
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import torch

from lightning_gw.history import History
from lightning_gw.record import Record
from lightning_gw.solving import Job, Outcome, Solver

#: What a message begins with: its length.
_HEADER = struct.Struct(">Q")
#: How much less urgent than training the process is, where the system knows niceness. On a core that training wants for
#: itself Linux gives it a quarter, so that the looks of a short training are solved before it ends.
NICENESS = 5


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

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._latest = self._state

    def share(self, processes: int) -> None:
        """The process that solves is one for all; the processes of the training only make looks."""

    def _work(self, job: Job) -> None:
        self._hire().jobs.put(job)

    def _hire(self) -> _Worker:
        if self._worker is None:
            self._worker = _Worker(self.arguments, self._latest)
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
    """A thread that feeds one process, job by job; it waits on a pipe and holds up nobody."""

    def __init__(self, arguments: Mapping[str, Any], state: dict[str, Any]) -> None:
        self._history: History | None = None
        self._looks: list[Record] = []
        self._told = 0  # of these looks, how many the process knows
        self.jobs: queue.Queue[Job | None] = queue.Queue()
        self.outcomes: queue.Queue[Outcome] = queue.Queue()
        self._arguments = dict(arguments)
        self._state = state
        self._stopped = False
        self._lock = threading.Lock()  # between stopping and starting again
        self._process = _start()
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
            self._process.kill()
        self.jobs.put(None)
        self._thread.join()
        _end(self._process)

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
                outcome = Outcome(job, None, error, self._state, self._state, time.perf_counter() - started)
            self._state = outcome.after
            self.outcomes.put(outcome)

    def _solve(self, job: Job) -> tuple[Record, dict[str, Any], dict[str, Any] | None]:
        with self._lock:
            if self._process.poll() is not None and not self._stopped:
                _end(self._process)
                self._process = _start()
                self._told = 0
        message: dict[str, Any] = {"arguments": self._arguments, "state": self._state, "job": job.state_dict()}
        if self._history is not None:
            message["looks"] = [_packed(look) for look in self._looks[self._told :]]
            message["metrics"] = [row for row in self._history.metrics if row["step"] <= job.step]
            self._told = len(self._looks)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(self._process.stdin, message)
            reply = receive(self._process.stdout)
        except (OSError, EOFError):
            code = self._process.wait()
            reason = f"signal {-code}" if code < 0 else f"exit code {code}"
            hint = "; the system ends processes so when memory runs out" if code == -9 else ""
            raise SolvingError(f"the solving process ended with {reason}{hint}.") from None
        if "error" in reply:
            raise SolvingError(reply["error"])
        record = replace(_unpacked(reply["record"]), seconds=job.seconds)
        pictures = reply.get("pictures")
        if self._history is not None:
            self._looks.append(record)
            self._told += 1  # the process kept what it found
        if pictures is not None:
            pictures = {name: x.numpy() if isinstance(x, torch.Tensor) else x for name, x in pictures.items()}
        return record, reply, pictures


def send(stream: IO[bytes], message: Mapping[str, Any]) -> None:
    """Write a message of tensors and plain values."""
    buffer = io.BytesIO()
    torch.save(dict(message), buffer)
    stream.write(_HEADER.pack(buffer.tell()))
    stream.write(buffer.getbuffer())
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any]:
    """Read a message; nothing but tensors and plain values is taken from it.

    Raises:
        EOFError: If the other side is gone.
    """
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    (length,) = _HEADER.unpack(header)
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    message: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    return message


def _start() -> subprocess.Popen[bytes]:
    home = str(Path(__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    # One thread, and no device: the cores and the memory of the accelerator are training's.
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_gw.background"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **threads, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        # Ctrl-C is for training to answer. Not a session of its own: Linux may share the cores out by session, and what
        # is nice gives way within its session only.
        process_group=0,
    )
    if hasattr(os, "setpriority"):
        with suppress(OSError):  # where it may not, it is as urgent as training
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, process.pid, own + NICENESS)  # from here: its imports are to give way too
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:
                continue  # what was still to be written has nobody to read it


def main() -> None:
    """Solve what comes in on standard input until it ends, as it does when the training process is gone."""
    torch.set_num_threads(1)
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed here must not get between the messages
    Solver({}).warm_up(torch.device("cpu"))  # before there is a look, which is to be charged with itself alone
    looks: list[Record] = []
    while True:
        try:
            message = receive(incoming)
        except EOFError:
            return
        started = time.process_time()  # not the clock, which runs on while training has the processor
        try:
            reply = _answer(message, looks) | {"seconds": time.process_time() - started}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        send(outgoing, reply)


def _answer(message: Mapping[str, Any], looks: list[Record]) -> dict[str, Any]:
    """Solve a look, and draw it where pictures are wanted; `looks` are those known so far, which this one joins."""
    from lightning_gw.analysis import Analysis

    analysis = Analysis(**message["arguments"])
    analysis.load_state_dict(message["state"])
    with torch.no_grad():
        record = Job.from_state(message["job"]).solve(analysis)
    reply: dict[str, Any] = {"record": _packed(record), "state": analysis.state_dict()}
    if "looks" in message:
        from lightning_gw.pictures import draw_pictures

        looks += [_unpacked(look) for look in message["looks"]]
        looks.append(record)
        drawn = draw_pictures(record, History(looks, message["metrics"]))
        reply["pictures"] = {name: x if isinstance(x, str) else torch.from_numpy(x) for name, x in drawn.items()}
    return reply


def _packed(record: Record) -> dict[str, Any]:
    arrays = {name: torch.from_numpy(values.copy()) for name, values in record.arrays().items()}
    return {"line": record.to_json(), "arrays": arrays}


def _unpacked(packed: Mapping[str, Any]) -> Record:
    return Record.from_json(packed["line"], {name: x.numpy() for name, x in packed["arrays"].items()})


if __name__ == "__main__":
    main()
