"""Reads in a copy of this process, so that nothing that reading changes is changed here.

A data set may open its file at the first item, count what it gave out, fill a cache, or draw from a generator of its
own; a sampler may remember where it stopped. All of that happens in a forked copy and dies with it.
"""

from __future__ import annotations

import ctypes
import gc
import io
import os
import pickle
import random
import select
import signal
import stat
import time
import types
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import torch

T = TypeVar("T")
#: Seconds without a sign of life after which a copy is given up.
PATIENCE = 120.0
_ALIVE, _DONE = b".", b"="
#: Objects that are the same here and in the copy, and that pickle may be unable to find by name.
_SHARED = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


class ApartError(RuntimeError):
    """The copy of the process did not answer."""


def can_read_apart() -> bool:
    """Whether this system can copy a process."""
    return hasattr(os, "fork")


def read_apart(read: Callable[[Callable[[], None]], T]) -> T:
    """Call a function in a copy of this process, and bring back what it gives.

    Modules, functions and classes that were there before come back as themselves, everything else as a copy. Files
    that were open for reading stand where they stood.

    Args:
        read: Called with a function that is to be called at least every `PATIENCE` seconds, as a sign of life.

    Returns:
        What it gives.

    Raises:
        Exception: What it raises.
        ApartError: If the copy died or gave no sign of life.
    """
    receiving, sending = os.pipe()
    state = random.getstate()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that threads do not come along is known
        pid = os.fork()
    if pid == 0:
        os.close(receiving)
        random.setstate(state)  # which Python draws anew in every copy
        _answer(read, sending)
    os.close(sending)
    try:
        answer = _received(receiving)
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(receiving)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    good, value = _Unpickler(io.BytesIO(answer)).load()
    if good:
        return value
    raise value


def _received(receiving: int) -> bytes:
    data = bytearray()
    deadline = time.monotonic() + PATIENCE
    while True:
        poll = select.poll()
        poll.register(receiving, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise ApartError(f"reading in a copy of the process gave no sign of life for {PATIENCE:.0f} s")
        piece = os.read(receiving, 1 << 20)
        if not piece:
            break
        data += piece
        deadline = time.monotonic() + PATIENCE
    answer = data.lstrip(_ALIVE)
    if not answer.startswith(_DONE):
        raise ApartError("the copy of the process that was to read ended without an answer")
    return bytes(answer[1:])


def _answer(read: Callable[[Callable[[], None]], Any], sending: int) -> None:
    """What the copy does; it never returns, and runs nothing that the process would run at its end."""
    try:
        gc.freeze()  # what was there before is not to be finalised here
        torch.set_num_threads(1)  # the threads of the process did not come along
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # what is said while reading is said again when training reads
            os.dup2(nowhere, stream)
        offsets = _offsets()
        try:
            answer = _pickled((True, read(lambda: _write(sending, _ALIVE))))
        except BaseException as error:
            answer = _failure(error)
        for descriptor, offset in offsets.items():
            with suppress(OSError):
                os.lseek(descriptor, offset, os.SEEK_SET)
        _write(sending, _DONE + answer)
    finally:
        os._exit(0)


def _failure(error: BaseException) -> bytes:
    """An error, pickled; in other words where it cannot be."""
    try:
        answer = _pickled((False, error))
        _Unpickler(io.BytesIO(answer)).load()
        return answer
    except Exception:
        return _pickled((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _offsets() -> dict[int, int]:
    """Where the regular files that are open for reading stand; a copy of the process shares that with it."""
    import fcntl  # which Windows, that cannot copy a process, lacks

    found = {}
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):
            descriptor = int(name)
            reading = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
            if reading and stat.S_ISREG(os.fstat(descriptor).st_mode):
                found[descriptor] = os.lseek(descriptor, 0, os.SEEK_CUR)
    return found


def _pickled(value: Any) -> bytes:
    """Pickled, with what is shared handed over by its address, which is the same in the process and its copy."""
    own = {id(item) for item in gc.get_objects()}  # made since the copy was: all others are frozen

    class Pickler(pickle.Pickler):
        def persistent_id(self, item: Any) -> int | None:
            return id(item) if isinstance(item, _SHARED) and id(item) not in own else None

    buffer = io.BytesIO()
    Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, address: int) -> Any:
        return ctypes.cast(address, ctypes.py_object).value
