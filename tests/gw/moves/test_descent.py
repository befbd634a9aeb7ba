"""The compiled descent, and the gradient that follows it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightning_gw.gw.moves.batched.swaps import GAIN_TOLERANCE

descent = pytest.importorskip("lightning_gw.gw.moves.compiled.descent")
swaps = pytest.importorskip("lightning_gw.gw.moves.compiled.swaps")

N = 40


def layer(seed: int, n: int = N) -> NDArray[np.float32]:
    """Distances of random points, scaled as the search scales them."""
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))
    distances = torch.cdist(x, x)
    off = ~torch.eye(n, dtype=torch.bool)
    if n > 2:
        distances[off] -= distances[off].mean()
        distances[off] /= distances[off].square().mean().sqrt()
    return (distances * off).numpy()


def diagonals(seed: int, there: bool, n: int = N) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32) * np.float32(there)


def exact_gains(a, b, x, y, anchor: float, p: NDArray[np.int64]) -> NDArray[np.float64]:  # type: ignore[no-untyped-def]
    """What each exchange does to the objective, by making it."""

    def value(q: NDArray[np.int64]) -> float:
        linear = (x.astype(np.float64) * y[q]).sum() + anchor * (q == np.arange(len(q))).sum()
        return float((a.astype(np.float64) * b[np.ix_(q, q)]).sum() + linear)

    gains, here = np.zeros((len(p), len(p))), value(p)
    for u in range(len(p)):
        for v in range(u):
            q = p.copy()
            q[[u, v]] = q[[v, u]]
            gains[u, v] = gains[v, u] = value(q) - here
    return gains


@pytest.mark.parametrize("changed", [0, 2, 3, N // 2, N - 1, N])
def test_the_gradient_follows_however_many_partners_changed(changed: int) -> None:
    a, b = layer(1), layer(2)
    generator = np.random.default_rng(changed)
    p, seen = generator.permutation(N), np.empty(N, np.int64)
    gradient, work = np.empty((N, N), np.float32), np.empty((3, N, N), np.float32)
    descent.take_gradient(a, b, p, seen, gradient, work[0])
    np.testing.assert_allclose(gradient, a @ b[p], atol=1e-4)
    some = generator.permutation(N)[:changed]
    p[some] = p[np.roll(some, 1)]
    descent.follow(a, b, p, seen, gradient, work)
    np.testing.assert_allclose(gradient, a @ b[p], atol=1e-4)
    np.testing.assert_array_equal(seen, p)


@pytest.mark.parametrize("anchor", [0.0, 3.0])
@pytest.mark.parametrize("diagonal", [False, True])
def test_all_swaps_are_valued_as_they_are(diagonal: bool, anchor: float) -> None:
    a, b, x, y = layer(1), layer(2), diagonals(3, diagonal), diagonals(4, diagonal)
    p, seen = np.random.default_rng(0).permutation(N), np.empty(N, np.int64)
    gradient, work, best = np.empty((N, N), np.float32), np.empty((3, N, N), np.float32), np.empty(N, np.float32)
    descent.take_gradient(a, b, p, seen, gradient, work[0])
    descent.all_gains(a, b, x, y, np.float32(anchor), p, gradient, work[0], work[1], best)
    exact = exact_gains(a, b, x, y, anchor, p)
    np.testing.assert_allclose(work[1], exact, atol=1e-3)
    np.testing.assert_allclose(best, exact.max(axis=0).clip(0), atol=1e-3)


@pytest.mark.parametrize("anchor", [0.0, 3.0])
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("n", [2, 3, 5, 17, N, 150])
def test_a_descent_climbs_to_where_no_exchange_helps(n: int, diagonal: bool, anchor: float) -> None:
    a, b, x, y = layer(1, n), layer(2, n), diagonals(3, diagonal, n), diagonals(4, diagonal, n)
    start = np.random.default_rng(n).permutation(n)
    p = start.copy()
    assert descent.descend(a, b, x, y, np.float32(anchor), p, 1000, np.empty((4, n, n), np.float32))
    np.testing.assert_array_equal(np.sort(p), np.arange(n))
    before, after = (swaps.objective_of(a, b, x, y, np.float32(anchor), q) for q in (start, p))
    assert after >= before
    if n <= N:
        assert exact_gains(a, b, x, y, anchor, p).max() <= 3 * GAIN_TOLERANCE * n


def test_the_best_swap_of_an_input_is_valued_with_those_made_before_it() -> None:
    a, b, none = layer(1), layer(2), np.zeros(N, np.float32)
    p, seen = np.random.default_rng(0).permutation(N), np.empty(N, np.int64)
    gradient, work, best = np.empty((N, N), np.float32), np.empty((3, N, N), np.float32), np.empty(N, np.float32)
    descent.take_gradient(a, b, p, seen, gradient, work[0])
    best[:] = 1  # look at every input
    before = swaps.objective_of(a, b, none, none, np.float32(0), p)
    made = descent.best_swaps(a, b, none, none, np.float32(0), p, gradient, work, best, np.float32(1e-3))
    assert made == N  # as many as there is room for
    assert swaps.objective_of(a, b, none, none, np.float32(0), p) > before + made * 1e-3
    # Input by input, best swaps first, by brute force: the same end.
    q, queue = np.random.default_rng(0).permutation(N), list(range(N))
    for _ in range(N):
        gains, u = np.full(N, -1.0), -1
        while gains.max() <= 1e-3:
            u = queue.pop(0)
            gains = exact_gains(a, b, none, none, 0.0, q)[u]
        v = int(gains.argmax())
        q[[u, v]] = q[[v, u]]
        queue += [k for k in (u, v) if k not in queue]
    np.testing.assert_array_equal(p, q)


def test_rounds_that_are_used_up_are_no_local_optimum() -> None:
    a, b, none = layer(1), layer(2), np.zeros(N, np.float32)
    p = np.random.default_rng(0).permutation(N)
    assert not descent.descend(a, b, none, none, np.float32(0), p, 0, np.empty((4, N, N), np.float32))
    np.testing.assert_array_equal(p, np.random.default_rng(0).permutation(N))
