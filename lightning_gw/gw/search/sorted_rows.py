"""The best assignment of the sorted rows of two layers: a start of the search, and the third lower bound."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_gw.gw.moves.threads import over_threads

#: By how much the difference of two float32 costs may err for each operation that made them: by a rounding, 2⁻²⁴, of
#: either, and as much again to be safe.
ROUNDING = 4 * 2.0**-24
#: Enough for a direction that potentials are taken along.
POWER_STEPS = 5
#: Largest ratio of two layers' scales that potentials follow: beyond it they would take digits from the costs.
UNLIKE = 8.0


def sorted_rows_assignments(matrices: Tensor, first: Tensor, second: Tensor, threads: int = 1) -> tuple[Tensor, Tensor]:
    """Best assignment of the sorted rows of every pair, and its mean cost: the third lower bound (Mémoli 2011).

    Diagonal entries are matched with diagonal entries, as every permutation does; the cost of matching input ``i`` to
    ``k`` is the mean squared difference of their rows, the rest of them sorted.

    With Numba an assignment is best to float32, and its cost comes less what any other could save by the prices it was
    found with: a bound certified by itself, which float32 puts some millionths below. Without Numba both are best to
    float64.

    Args:
        matrices: ``(L, n, n)`` float64 symmetric.
        first: ``(P,)`` first layers.
        second: ``(P,)`` second layers.
        threads: Over how many threads pairs are spread, with Numba.

    Returns:
        ``(P, n)`` permutations and ``(P,)`` float64 bounds on the mean cost of any.

    Raises:
        ValueError: If squares of rows overflow.
    """
    n, device = matrices.shape[-1], matrices.device
    rows = CentredRows.of(matrices)
    if find_spec("numba") is not None:
        permutations, costs = _compiled(rows, first, second, threads)
    else:
        permutations, costs = _by_scipy(rows, first, second)
    apart = (rows.means[first] - rows.means[second]).square().sum(dim=1)
    return permutations.to(device), (costs.to(device) / n + apart) / n


@dataclass(frozen=True)
class CentredRows:
    """Sorted rows of all layers.

    Attributes:
        rows: ``(L, n, n)`` every row beside the diagonal in ascending order, the diagonal behind, less the layer's mean
            row: what those differ by costs every assignment the same.
        means: ``(L, n)`` mean rows.
        norms: ``(L, n)`` squared norms of the rows.
        scales: ``(L,)`` largest norm of a row; 1 where all are 0.
    """

    rows: Tensor
    means: Tensor
    norms: Tensor
    scales: Tensor

    @staticmethod
    def of(matrices: Tensor) -> CentredRows:
        """Of ``(L, n, n)`` matrices.

        Raises:
            ValueError: If squares of rows overflow.
        """
        rows = matrices.clone(memory_format=torch.contiguous_format)
        rows.diagonal(dim1=1, dim2=2).fill_(torch.inf)  # sorted to the end
        if rows.device.type == "cpu":
            rows.numpy().sort(axis=2)  # NumPy sorts in vectors
        else:
            rows = rows.sort(dim=2).values
        rows[:, :, -1] = matrices.diagonal(dim1=1, dim2=2)
        means = rows.mean(dim=1)
        rows -= means[:, None, :]
        norms = torch.linalg.vector_norm(rows, dim=2)
        largest = norms.amax(dim=1)
        if not bool(largest.isfinite().all()):
            raise ValueError("Some matrix has entries whose squares float64 cannot hold; scale the matrices down.")
        return CentredRows(rows, means, norms.square(), torch.where(largest > 0, largest, 1.0))

    def potentials(self, first: Tensor, second: Tensor) -> Tensor:
        """``(P, n)`` potentials of the rows of the first layers that leave little of an assignment to be solved.

        The costs are minus the products of rows, each over the scale of its layer, for neither norms of rows nor scales
        of layers change an assignment. Were rows to differ along a single direction, sorting would assign them. Most of
        what they differ by does lie along one; of the rest it is known that no squared distance is below 0.
        """
        ordered, order = self._along_main_direction().sort(dim=1)
        ratio = (self.scales[first] / self.scales[second]).clamp(1 / UNLIKE, UNLIKE)[:, None]
        s, t = ratio * ordered[first], ordered[second]
        # On sorted pairs their slope is bounded by what the neighbours on either side would pay to cross over.
        along = (s[:, 1:] - s[:, :-1]) * (s[:, 1:] + s[:, :-1] - t[:, 1:] - t[:, :-1])
        along = torch.nn.functional.pad(along.cumsum(dim=1), (1, 0))
        norms = self.norms[first] / self.scales[first, None].square()
        return torch.zeros_like(s).scatter_(1, order[first], along) / (2 * ratio) - norms * ratio / 2

    def _along_main_direction(self) -> Tensor:
        """``(L, n)`` coordinates of rows over scales where they differ most, by power iteration."""
        points = self.rows.flatten(0, 1)
        direction = points[self.norms.argmax()]
        for _ in range(POWER_STEPS):
            direction = torch.nn.functional.normalize(direction, dim=0)
            weights = (self.rows @ direction) / self.scales[:, None].square()
            direction = points.T @ weights.flatten()
        return self.rows @ torch.nn.functional.normalize(direction, dim=0) / self.scales[:, None]


def _compiled(rows: CentredRows, first: Tensor, second: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    """``(P, n)`` permutations and ``(P,)`` bounds on their costs, summed, on the host."""
    from lightning_gw.gw.moves.compiled.sorted_rows import assign, certified, reduce

    exact = rows.rows.cpu().numpy()
    norms, scales = rows.norms.cpu().numpy(), rows.scales.tolist()
    scaled = np.empty(exact.shape, dtype=np.float32)
    for k, scale in enumerate(scales):
        scaled[k] = exact[k] / scale
    found = np.empty((len(first), exact.shape[-1]), dtype=np.int64)

    def one(i: int, j: int, potentials: NDArray[np.float32], p: NDArray[np.int64]) -> float:
        costs = scaled[i] @ scaled[j].T
        columns = reduce(costs, potentials)
        prices = assign(costs, p)
        # Products of rows of norm 1 err by n roundings; then come a few operations on numbers as large as the prices.
        slack = ROUNDING * (len(p) + 8 * (1 + np.abs(columns).max() + np.abs(prices).max()))
        exact_prices = norms[j] + 2 * scales[i] * scales[j] * (columns.astype(np.float64) + prices)
        return float(certified(costs, prices, np.float32(slack), exact[i], exact[j], exact_prices, p))

    potentials = rows.potentials(first, second).float().cpu().numpy()
    costs = over_threads(threads, one, first.tolist(), second.tolist(), potentials, found)
    return torch.from_numpy(found), torch.tensor(costs, dtype=torch.float64)


def _by_scipy(rows: CentredRows, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The same, with costs that are attained."""
    found, costs = [], []
    for i, j, potentials in zip(first.tolist(), second.tolist(), rows.potentials(first, second), strict=True):
        left, right = rows.rows[i] / rows.scales[i], rows.rows[j] / rows.scales[j]
        reduced = torch.addmm(potentials[:, None], left, right.T, beta=-1, alpha=-1)
        reduced -= reduced.amin(dim=0)
        reduced -= reduced.amin(dim=1, keepdim=True)
        assigned = torch.from_numpy(linear_sum_assignment(reduced.cpu().numpy())[1]).to(reduced.device)
        found.append(assigned)
        costs.append((rows.rows[i] - rows.rows[j][assigned]).square().sum())
    return torch.stack(found), torch.stack(costs)
