"""The process beside training that solves looks: how it is started, what goes to it and comes back, what it runs.

Not a thread: solving sets the precision of matrix products and isolates the random states, both of which belong to the
whole process, so that training beside it would compute otherwise than without. The process is a plain child of this
interpreter, not a fork (which would copy the devices' state) and not a `multiprocessing` spawn (which would run the
user's script a second time). What goes to it and comes back are tensors and plain values, read ``weights_only``.
"""

from __future__ import annotations

import gc
import io
import os
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

from lightning_gw.analysis.analysis import Analysis
from lightning_gw.analysis.config import AnalysisConfig
from lightning_gw.analysis.job import LookJob
from lightning_gw.analysis.solver import InlineWorker
from lightning_gw.figures.png import Picture
from lightning_gw.records.history import History
from lightning_gw.records.record import Record

#: What a message begins with: its length.
_HEADER = struct.Struct(">Q")
#: How much less urgent than training the process is, where the system knows niceness. On a core that training wants for
#: itself Linux gives it a quarter, so that the looks of a short training are solved before it ends.
NICENESS = 5
#: Seconds within which a process that was killed is gone, unless the system holds on to it.
ENDED_WITHIN = 10.0


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


def start_process() -> subprocess.Popen[bytes]:
    """Start it: messages go to its standard input, and each is answered on its standard output."""
    home = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    # One thread unless a look says otherwise, and no device: cores and the memory of the accelerator are training's.
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_gw.analysis.worker"],
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


def end_process(process: subprocess.Popen[bytes], patience: float = ENDED_WITHIN) -> None:
    """Wait so many seconds for its end, and close what led to it."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:
                continue  # what was still to be written has nobody to read it


def main() -> None:
    """Solve what comes in on standard input until it ends, as it does when the training process is gone."""
    torch.set_num_threads(1)  # until a look says otherwise
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed here must not get between the messages
    InlineWorker(AnalysisConfig()).warm_up(
        torch.device("cpu")
    )  # before there is a look, which is to be charged with itself alone
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
        # Nobody waits now. What is here stays, and the collector need not go through it while the next look is drawn.
        gc.collect()
        gc.freeze()


def _answer(message: Mapping[str, Any], looks: list[Record]) -> dict[str, Any]:
    """Solve a look, and draw it where pictures are wanted; `looks` are those known so far, which this one joins."""
    torch.set_num_threads(message["threads"])
    analysis = Analysis(AnalysisConfig(**message["config"]))
    analysis.load_state_dict(message["memory"])
    with torch.no_grad():
        record = LookJob.from_state(message["job"]).solve(analysis)
    reply: dict[str, Any] = {"record": packed_record(record), "memory": analysis.state_dict()}
    if "looks" in message:
        from lightning_gw.figures.png import draw_pictures

        looks += [unpacked_record(look) for look in message["looks"]]
        looks.append(record)
        drawn = draw_pictures(record, History(looks, message["metrics"]))
        reply["pictures"] = {name: x if isinstance(x, str) else packed_picture(x) for name, x in drawn.items()}
    return reply


def packed_record(record: Record) -> dict[str, Any]:
    """A record as it goes through a message."""
    arrays = {name: torch.from_numpy(values.copy()) for name, values in record.arrays().items()}
    return {"line": record.to_json(), "arrays": arrays}


def packed_picture(picture: Picture) -> dict[str, Any]:
    """A picture as it goes through a message."""
    return {**vars(picture), "png": torch.frombuffer(bytearray(picture.png), dtype=torch.uint8)}


def unpacked_picture(state: Mapping[str, Any]) -> Picture:
    return Picture(**{**state, "png": state["png"].numpy().tobytes()})


def unpacked_record(packed: Mapping[str, Any]) -> Record:
    return Record.from_json(packed["line"], {name: x.numpy() for name, x in packed["arrays"].items()})


if __name__ == "__main__":
    main()
