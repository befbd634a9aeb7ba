"""The convex lower bound: never above the optimum, never below the spectral bound, tight where it can be known."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gw.gw.bounds.permutations import Spectrum, spectral_bound
from lightning_gw.gw.bounds.tight import tight_bounds
from lightning_gw.gw.moves.batched.swaps import permute_both


def optimum(a: Tensor, b: Tensor, anchor: float = 0.0) -> float:
    n = len(a)
    every = torch.from_numpy(np.array(list(permutations(range(n)))))
    values = (a - permute_both(b.expand(len(every), n, n), every)).square().mean(dim=(1, 2))
    return float((values + anchor * (every != torch.arange(n)).double().mean(dim=1)).min())


def euclidean(x: Tensor) -> Tensor:
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def instance(kind: str, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    if kind == "distances":
        return euclidean(normal(n, 3)), euclidean(normal(n, 3))
    if kind == "near":
        x = normal(n, 3)
        order = torch.randperm(n, generator=generator)
        return euclidean(x), euclidean((x + 0.1 * normal(n, 3))[order])
    if kind == "duplicates":
        return euclidean(normal(n, 2)[torch.arange(n) // 2]), euclidean(normal(n, 2)[torch.arange(n) // 3])
    if kind == "simplex":
        return 1 - torch.eye(n, dtype=torch.float64), euclidean(normal(n, 2))
    if kind == "rank one":
        u, v = normal(n, 1), normal(n, 1)
        return 1e3 * u @ u.T, 1e3 * v @ v.T
    a, b = normal(n, n), normal(n, n)
    return a + a.T, b + b.T


def bound(a: Tensor, b: Tensor, target: float, **options: float) -> float:
    first, second = torch.tensor([0]), torch.tensor([1])
    found = tight_bounds(torch.stack([a, b]), first, second, torch.tensor([target], dtype=torch.float64), **options)
    return float(found)


KINDS = ["distances", "near", "duplicates", "simplex", "rank one", "symmetric"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("anchor", [0.0, 0.3])
@pytest.mark.representatives("0.3-distances")
def test_never_above_the_best_of_all_permutations(kind: str, anchor: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (3, 4, 5, 6):
        for goal in (1.0, 3.0):  # a target out of reach must not be believed
            a, b = instance(kind, n, generator)
            best = optimum(a, b, anchor)
            found = bound(a, b, goal * best + 0.1 * (goal - 1), iterations=12, anchor=anchor)
            assert 0 <= found <= best


@pytest.mark.parametrize("kind", KINDS)
def test_never_below_the_spectral_bound(kind: str) -> None:
    a, b = instance(kind, 16, torch.Generator().manual_seed(1))
    spectral = float(spectral_bound(Spectrum.of(torch.stack([a, b])), torch.tensor([0]), torch.tensor([1])))
    scale = float(a.square().mean() + b.square().mean())
    assert bound(a, b, float((a - b).square().mean()), iterations=3) >= spectral - 1e-12 * scale


def test_every_stage_tightens_the_bound_of_distances() -> None:
    generator = torch.Generator().manual_seed(2)
    a, b = instance("distances", 24, generator)
    a, b = a / a.square().mean().sqrt(), b / b.square().mean().sqrt()
    spectral = float(spectral_bound(Spectrum.of(torch.stack([a, b])), torch.tensor([0]), torch.tensor([1])))
    target = float((a - b).square().mean())
    convex, split = (bound(a, b, target, iterations=iterations) for iterations in (0, 20))
    assert spectral * 1.1 < convex
    assert convex * 1.1 < split
    assert split <= target


def test_equal_and_relabelled_matrices_have_bound_zero() -> None:
    generator = torch.Generator().manual_seed(3)
    for kind in KINDS:
        a, _ = instance(kind, 12, generator)
        order = torch.randperm(12, generator=generator)
        for other in (a, a[order][:, order]):
            for target in (0.0, 0.5):
                assert bound(a, other, target, iterations=5) == 0


def test_a_large_anchor_closes_the_gap_to_the_identity() -> None:
    a, b = instance("distances", 10, torch.Generator().manual_seed(4))
    identity = float((a - b).square().mean())
    assert bound(a, b, identity, anchor=100.0) == pytest.approx(identity, rel=0.01)


def test_scaling_both_matrices_scales_the_bound() -> None:
    a, b = instance("distances", 12, torch.Generator().manual_seed(5))
    target = float((a - b).square().mean())
    plain = bound(a, b, target, iterations=10)
    assert bound(1024 * a, 1024 * b, 1024**2 * target, iterations=10) == pytest.approx(1024**2 * plain, rel=1e-6)


def test_no_scale_is_too_large_or_too_small() -> None:
    a, b = instance("distances", 12, torch.Generator().manual_seed(5))
    target = float((a - b).square().mean())
    plain = bound(a, b, target, iterations=10)
    assert plain > 0
    for scale in (2.0**200, 2.0**-200):
        assert bound(scale * a, scale * b, scale**2 * target, iterations=10) == pytest.approx(
            scale**2 * plain, rel=1e-9
        )


def test_matrices_that_vanish_beside_the_anchor_have_a_bound() -> None:
    a, b = instance("distances", 6, torch.Generator().manual_seed(5))
    best = optimum(1e-25 * a, 1e-25 * b, 1.0)
    assert 0 <= bound(1e-25 * a, 1e-25 * b, best, anchor=1.0, iterations=5) <= best


def test_the_order_of_the_two_matrices_does_not_matter() -> None:
    a, b = instance("distances", 16, torch.Generator().manual_seed(8))
    target = float((a - b).square().mean())
    assert bound(a, b, target, iterations=15) == pytest.approx(bound(b, a, target, iterations=15), rel=0.02)


def test_progress_counts_every_pair() -> None:
    generator = torch.Generator().manual_seed(6)
    matrices = torch.stack([*instance("distances", 8, generator), *instance("near", 8, generator)])
    first, second = torch.triu_indices(4, 4, 1)
    target = (matrices[first] - matrices[second]).square().mean(dim=(1, 2))
    seen: list[int] = []
    found = tight_bounds(matrices, first, second, target, iterations=2, progress=seen.append)
    assert seen == [1] * 6
    assert (found <= target).all()
    alone = tight_bounds(matrices, first[3:4], second[3:4], target[3:4], iterations=2)
    assert found[3] == pytest.approx(float(alone), rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_smallest_spaces(n: int) -> None:
    matrices = torch.stack([torch.ones(n, n), 2 * torch.ones(n, n)]).double()
    target = torch.ones(1, dtype=torch.float64)
    found = tight_bounds(matrices, torch.tensor([0]), torch.tensor([1]), target)
    assert float(found) == pytest.approx(1.0)


def test_wrong_input_is_named() -> None:
    one = torch.tensor([0])
    with pytest.raises(ValueError, match=r"float64, got \(1, 4, 4\) torch.float32"):
        tight_bounds(torch.zeros(1, 4, 4), one, one, torch.zeros(1))
    with pytest.raises(ValueError, match="anchor"):
        tight_bounds(torch.zeros(1, 4, 4, dtype=torch.float64), one, one, torch.zeros(1), anchor=-1.0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_same_bound_on_cuda() -> None:
    matrices = torch.stack(instance("distances", 24, torch.Generator().manual_seed(7)))
    pair = torch.tensor([0]), torch.tensor([1])
    target = (matrices[:1] - matrices[1:]).square().mean(dim=(1, 2))
    host = tight_bounds(matrices, *pair, target, iterations=10)
    device = tight_bounds(matrices.cuda(), *(index.cuda() for index in pair), target.cuda(), iterations=10)
    assert device.is_cuda
    assert float(device) == pytest.approx(float(host), rel=1e-2)
