"""Processes that fail together: what one of them cannot do, none of them goes on from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from lightning_gw.activations.failures import LookError, RestoreError


@contextmanager
def together(what: str) -> Iterator[None]:
    """Run the same on every process, and fail on every process if it fails on one.

    At its end all processes tell each other how it went. So all of them must come by here equally often, and inside
    there must be no other exchange that a failing process would miss. Alone, or where `torch.distributed` is not
    initialised, it does nothing.

    Args:
        what: What is done, for the error, such as ``"The look at step 8"``.

    Raises:
        Exception: The error itself, on the process where it happened.
        LookError: On the others; it names the process and the error. A `RestoreError` on all, if on any of them.
    """
    problem: Exception | None = None
    try:
        yield
    except Exception as error:
        problem = error
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        everyone: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, None if problem is None else f"{type(problem).__name__}: {problem}")
        failed = [f"process {rank} ({reason})" for rank, reason in enumerate(everyone) if reason is not None]
        # What all do next depends on whether the network of any of them is no longer what it was.
        kind = RestoreError if any(str(reason).startswith(RestoreError.__name__) for reason in everyone) else LookError
        if failed and not isinstance(problem, kind if kind is RestoreError else Exception):
            raise kind(f"{what} failed on {'; '.join(failed)}.") from problem
    if problem is not None:
        raise problem
