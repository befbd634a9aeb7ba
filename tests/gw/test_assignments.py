"""Linear assignments as a start of the search."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gw.gw.starts import assignment_steps

PAIRS = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])


def spaces(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    points = torch.randn(3, n, 4, generator=generator, dtype=torch.float64)
    distances = torch.cdist(points, points)
    return distances - distances.sum(dim=(1, 2), keepdim=True) / (n * (n - 1)) * (1 - torch.eye(n, dtype=torch.float64))


def values(matrices: Tensor, permutations: Tensor) -> Tensor:
    return torch.stack(
        [(matrices[i] * matrices[j][p][:, p]).sum() for i, j, p in zip(*PAIRS, permutations, strict=True)]
    )


def test_every_further_step_is_at_least_as_good_and_all_are_permutations() -> None:
    matrices, n = spaces(50), 50
    start = torch.arange(n).repeat(3, 1)
    before = values(matrices, start)
    for steps in range(8):
        found = assignment_steps(matrices, *PAIRS, start, steps)
        assert torch.equal(found.sort(dim=1).values, start)
        after = values(matrices, found)
        assert (after >= before).all()
        before = after
    assert (before > values(matrices, start)).all()


def test_no_steps_are_the_start_and_a_relabelled_copy_stays_where_it_is_matched() -> None:
    matrices = spaces(30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    matrices[1] = matrices[0][order][:, order]
    matched = torch.empty(30, dtype=torch.int64)
    matched[order] = torch.arange(30)
    start = matched.repeat(3, 1)
    assert torch.equal(assignment_steps(matrices, *PAIRS, start, 0), start)
    assert torch.equal(assignment_steps(matrices, *PAIRS, start, 20)[0], matched)
