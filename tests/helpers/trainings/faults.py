"""Faults put into every call that looks make into our own code, found by tracing a training, not listed by hand."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytorch_lightning as pl

import lightning_gw

HOME = f"{Path(lightning_gw.__file__).parent}{os.sep}"
#: What Lightning itself calls is no call that a look makes; nothing could stand between.
LIGHTNING = f"{os.sep}pytorch_lightning{os.sep}"
#: Nor is what PyTorch calls while Lightning validates: the guard around hooks itself, whatever fails inside it.
GUARD = "activations/riding.py:Riding._guarded.<locals>.guarded"


class Fault(Exception):
    """What an injected call raises."""


class Site(NamedTuple):
    """One call: who calls, from which line, whom."""

    caller: str
    line: int
    callee: str

    def __str__(self) -> str:
        return f"{self.caller}:{self.line} → {self.callee}"


class Tracer(pl.Callback):
    """Collects the calls of the looks of a training from its second step on, or has one of them raise, once.

    Args:
        fault: The call that raises; None for none.
        rank: The process that it raises on.
    """

    def __init__(self, fault: Site | None = None, rank: int = 0) -> None:
        self.fault = fault
        self.rank = rank
        self.sites: dict[Site, None] = {}
        self.raised = False
        self._process = 0

    @property
    def here(self) -> bool:
        """Whether this is the process that it raises on."""
        return self._process == os.getpid()

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1 and trainer.global_rank == self.rank:
            self._process = os.getpid()
            threading.settrace(self._trace)
            sys.settrace(self._trace)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        # A generator that goes on is no new call: it stands on another line than that which it is defined on.
        if not code.co_filename.startswith(HOME) or frame.f_lineno != code.co_firstlineno or self.raised:
            return
        caller = frame.f_back
        while caller is not None and "contextlib" in caller.f_code.co_filename:
            caller = caller.f_back
        if caller is None or LIGHTNING in caller.f_code.co_filename or not self.here:
            return
        site = Site(_name(caller.f_code), caller.f_lineno, _name(code))
        if site.callee == GUARD:
            return
        self.sites[site] = None
        if site == self.fault:
            self.raised = True
            raise Fault(f"injected into {site}")


@contextmanager
def tracing() -> Iterator[None]:
    """Tracing ends with what runs inside."""
    before = sys.gettrace()
    try:
        yield
    finally:
        threading.settrace(None)  # type: ignore[arg-type]
        sys.settrace(before)


def _name(code: CodeType) -> str:
    return f"{code.co_filename.removeprefix(HOME)}:{code.co_qualname}"
