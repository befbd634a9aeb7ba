"""How torch computes while a matrix is made: full float32 precision, its usual defaults, one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from lightning_gw.utilities.random_state import usual_defaults


@contextmanager
def full_precision() -> Iterator[None]:
    """Autocast and TF32 off in matrix products: their ten-bit products cannot tell near layers apart.

    New tensors are float32 on the CPU: the starts of a search would be others under another default dtype.

    There are no convolutions here, so cuDNN's own switch is left alone. What was set is set again afterwards, whether
    by the older switches of torch or by those of 2.9 on; where the two are mixed, reading the older ones is an error.
    """
    backends: Any = torch.backends
    newer = backends.cuda.matmul, backends.mkldnn.matmul
    before = [backend.fp32_precision for backend in newer]
    precision = None
    with suppress(RuntimeError):
        precision = torch.get_float32_matmul_precision()  # `allow_tf32` is another view of the same
    for backend in newer:
        backend.fp32_precision = "ieee"
    torch.set_float32_matmul_precision("highest")
    try:
        with usual_defaults(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        if precision is not None:
            torch.set_float32_matmul_precision(precision)
        for backend, value in zip(newer, before, strict=True):
            backend.fp32_precision = value


@contextmanager
def single_threaded() -> Iterator[int]:
    """One torch thread inside; gives the number there was, for work that is shared out by pairs.

    The many small operations gain nothing from more threads, and wait for each other at every one of them as soon as
    another process uses a core.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
