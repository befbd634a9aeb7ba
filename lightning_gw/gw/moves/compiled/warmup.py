"""Compiles the search ahead of its first use."""

from __future__ import annotations

import functools
import logging
import threading

import numpy as np

from lightning_gw.gw.moves.compiled.assignments import reassign
from lightning_gw.gw.moves.compiled.descent import descend
from lightning_gw.gw.moves.compiled.heat_bath import gumbel_noise, heat_bath
from lightning_gw.gw.moves.compiled.sorted_rows import assign, certified, reduce
from lightning_gw.gw.moves.compiled.swaps import distortion_of, objective_of
from lightning_gw.gw.moves.low_rank import RANK

_log = logging.getLogger(__name__)


@functools.cache
def prepare() -> None:
    """Compile everything, or load what an earlier process compiled; says so when it takes longer than two seconds."""
    notice = threading.Timer(
        2.0,
        _log.warning,
        ["lightning-gw prepares its search; compiling it, once after installing, takes about 15 seconds."],
    )
    notice.start()
    try:
        matrix, zeros, anchor = np.zeros((8, 8), dtype=np.float32), np.zeros(8, dtype=np.float32), np.float32(0)
        p, work = np.arange(8), np.empty((4, 8, 8), dtype=np.float32)
        descend(matrix, matrix, zeros, zeros, anchor, p, 10, work)
        objective_of(matrix, matrix, zeros, zeros, anchor, p)
        distortion_of(matrix.astype(np.float64), matrix.astype(np.float64), p)
        reassign(matrix, matrix, zeros, zeros, anchor, p, 1, 0.1, 1.0, 1, work)
        factors, noise = np.zeros((RANK, 8), dtype=np.float32), gumbel_noise(8)
        heat_bath(factors, factors, zeros, matrix, zeros, zeros, anchor, p, True, 1, 0.1, 0.1, 1, 1, noise)
        rows = matrix.astype(np.float64)
        certified(matrix, reduce(matrix, zeros) + assign(matrix, p), np.float32(0), rows, rows, rows[0], p)
    finally:
        notice.cancel()
