"""Numbers in lanes are what the same numbers are one by one."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from lightning_gw.gw.moves.compiled.cache import compiled
from lightning_gw.gw.moves.compiled.lanes import LANES, larger, largest, load, splat, store


@compiled(nogil=True)
def reckon(one, other, number, out):  # type: ignore[no-untyped-def]
    """Every operation once, on lanes that begin where no vector of a CPU does."""
    x, y = load(one, 3), load(other, 1)
    total = x * y
    total += splat(number)
    total -= y
    total = larger(total - x, y + y)
    store(out, 5, total)
    return largest(total)


def test_operations_are_those_of_single_numbers() -> None:
    random = np.random.default_rng(0)
    one, other = random.standard_normal((2, LANES + 5)).astype(np.float32)
    out = np.full(LANES + 10, 7, np.float32)
    most = reckon(one, other, np.float32(1.5), out)
    x, y = one[3 : LANES + 3], other[1 : LANES + 1]
    expected = np.maximum(x * y + np.float32(1.5) - y - x, y + y)
    np.testing.assert_allclose(out[5:-5], expected, rtol=1e-5, atol=1e-6)
    assert most == out[5:-5].max()
    assert (out[:5] == 7).all()
    assert (out[-5:] == 7).all()
