"""The moves a search is made of, on whichever machinery there is: batched torch, or compiled for the CPU.

Both raise the same objective and end in the same kind of local optimum; only the order of their swaps differs. A result
names the one that found it.
"""

from __future__ import annotations

import functools
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_gw.gw.moves.batched_assignments import reassign
from lightning_gw.gw.moves.batched_swaps import SearchMatrices, anneal, descend, objective
from lightning_gw.utilities.distributed import Found

#: Working tensors of n² float32 that one pair needs at a time.
TENSORS_PER_PAIR = 8
#: Working memory of a chunk on the CPU: about what the caches hold.
CPU_CHUNK_BYTES = 16 * 2**20
#: The compiled search looks inputs up by 16 bits.
COMPILED_UP_TO = 2**16
#: Rounds of batched annealing that do the work of one compiled sweep.
ROUNDS_PER_SWEEP = 6


class Moves(ABC):
    """What a search does with pairs of layers ``first[k]``, ``second[k]``, each ``(P,)`` indices.

    Attributes:
        name: What the search ran on, for results.
        search: The matrices of all layers.
        anchor: Weight of the share of inputs moved, in units of the distortion.
        threads: Over how many threads compiled moves spread the pairs.
    """

    name: str

    def __init__(self, search: SearchMatrices, anchor: float = 0.0) -> None:
        self.search = search
        self.anchor = anchor
        self.threads = torch.get_num_threads()

    @abstractmethod
    def values(self, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        """``(P, S)`` float64 objective of ``(P, S, n)`` permutations; higher is better."""

    @abstractmethod
    def descend(self, first: Tensor, second: Tensor, starts: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        """Improve every one of ``(P, S, n)`` starts; also ``(P, S)`` bool, whether it ended in a local optimum."""

    @abstractmethod
    def anneal(
        self, first: Tensor, second: Tensor, permutations: Tensor, sweeps: int, hot: Tensor, cooling: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Shake ``(P, n)`` permutations and let them descend; also ``(P,)`` bool as above.

        The temperature of each pair falls from ``(P,)`` `hot`, in units of the objective, to `cooling` times that.
        """

    @abstractmethod
    def reassign(
        self, first: Tensor, second: Tensor, permutations: Tensor, rounds: int, noise: float, losses: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        """The best that noisy assignments from ``(P, n)`` permutations lead to (see `assignments`), and ``(P,)`` bool.

        `losses`, ``(P,)``, is how far the objective of each falls short of its ceiling.
        """

    def on(self, search: SearchMatrices) -> Moves:
        """The same machinery on other matrices."""
        moves = type(self)(search, self.anchor)
        moves.threads = self.threads
        return moves

    def share(self, work: Callable[..., Found], first: Tensor, second: Tensor, *more: Tensor) -> Found:
        """``work(first, second, *more)``, whose results are per pair; done by several processes where there are."""
        return work(first, second, *more)


def choose_moves(search: SearchMatrices, anchor: float = 0.0) -> Moves:
    """The compiled moves on a CPU with Numba installed, else the batched ones."""
    on_cpu, few = search.matrices.device.type == "cpu", search.matrices.shape[-1] < COMPILED_UP_TO
    if on_cpu and few and importlib.util.find_spec("numba") is not None:
        return CompiledMoves(search, anchor)
    return BatchedMoves(search, anchor)


def anchor_gain(search: SearchMatrices, anchor: float, first: Tensor, second: Tensor) -> Tensor:
    """``(P,)`` what an input matched to itself adds to the objective.

    The distortion to be lowered is ``const − 2 s_i s_j S / n² + anchor (1 − matches / n)``, with ``s`` the scales.
    """
    n = search.matrices.shape[-1]
    return anchor * n / (2 * search.scale[first] * search.scale[second])


def ceiling(search: SearchMatrices, anchor: float, first: Tensor, second: Tensor) -> Tensor:
    """``(P,)`` what the objective of no pair can exceed: ``Σ A ∘ Bp <= ‖A‖ ‖B‖``, which only relabelled copies attain.

    How far a permutation falls short of it, its *loss*, is its distortion in another scale.
    """
    most = search.norms[first] * search.norms[second]
    if search.diagonals is not None:
        sizes = search.diagonals.double().norm(dim=1)
        most = most + sizes[first] * sizes[second]
    if anchor > 0:
        most = most + search.matrices.shape[-1] * anchor_gain(search, anchor, first, second)
    return most


class BatchedMoves(Moves):
    """Moves in batches of pairs, in torch, on any device."""

    name = "batched torch"

    def values(self, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        found = []
        for chunk, a, b, linear in self._chunks(first, second, 1):
            columns = [objective(a, b, permutations[chunk, s], linear) for s in range(permutations.shape[1])]
            found.append(torch.stack(columns, dim=1))
        return torch.cat(found)

    def descend(self, first: Tensor, second: Tensor, starts: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        count, n = starts.shape[1:]
        parts = []
        for chunk, a, b, linear in self._chunks(first, second, count):
            a, b = a.repeat_interleave(count, dim=0), b.repeat_interleave(count, dim=0)
            linear = None if linear is None else linear.repeat_interleave(count, dim=0)
            permutation, done = descend(a, b, starts[chunk].reshape(-1, n), linear, rounds)
            parts.append((permutation.view(-1, count, n), done.view(-1, count)))
        return _joined(parts)

    def anneal(
        self, first: Tensor, second: Tensor, permutations: Tensor, sweeps: int, hot: Tensor, cooling: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        parts = []
        for chunk, a, b, linear in self._chunks(first, second, 1):
            generator = torch.Generator().manual_seed(seed)
            rounds = sweeps * ROUNDS_PER_SWEEP
            shaken = anneal(a, b, permutations[chunk], linear, rounds, generator, hot[chunk].float(), cooling)
            parts.append(descend(a, b, shaken, linear))
        return _joined(parts)

    def reassign(
        self, first: Tensor, second: Tensor, permutations: Tensor, rounds: int, noise: float, losses: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        parts = []
        for chunk, a, b, linear in self._chunks(first, second, 1):
            generator = torch.Generator().manual_seed(seed)
            parts.append(reassign(a, b, permutations[chunk], linear, rounds, noise, losses[chunk], generator))
        return _joined(parts)

    def _chunks(
        self, first: Tensor, second: Tensor, starts: int
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
        matrices = self.search.matrices
        for chunk in torch.arange(len(first), device=first.device).split(chunk_size(matrices, starts)):
            i, j = first[chunk], second[chunk]
            yield chunk, matrices[i], matrices[j], self._linear(i, j)

    def _linear(self, i: Tensor, j: Tensor) -> Tensor | None:
        diagonals = self.search.diagonals
        linear = None if diagonals is None else diagonals[i][:, :, None] * diagonals[j][:, None, :]
        if self.anchor > 0:
            n = self.search.matrices.shape[-1]
            gain = anchor_gain(self.search, self.anchor, i, j).float()
            pull = gain[:, None, None] * torch.eye(n, device=gain.device)
            linear = pull if linear is None else linear + pull
        return linear


class CompiledMoves(Moves):
    """Moves pair by pair, compiled for the CPU; pairs are spread over as many threads as torch may use."""

    name = "compiled"

    def __init__(self, search: SearchMatrices, anchor: float = 0.0) -> None:
        from lightning_gw.gw.moves import compiled_assignments, compiled_swaps
        from lightning_gw.gw.moves.warmup import prepare

        prepare()
        super().__init__(search, anchor)
        self._assignments, self._swaps = compiled_assignments, compiled_swaps
        self._matrices = search.matrices.numpy()
        none = np.zeros(self._matrices.shape[:2], dtype=np.float32)
        self._diagonals = none if search.diagonals is None else search.diagonals.numpy()

    def values(self, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        def one(pair: int, sides: tuple, several: NDArray[np.int64]) -> list[float]:
            return [self._swaps.objective_of(*sides, p) for p in several]

        found = self._each(one, first, second, permutations.numpy())
        return torch.tensor(found, dtype=torch.float64).reshape(permutations.shape[:2])

    def descend(self, first: Tensor, second: Tensor, starts: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        def one(pair: int, sides: tuple, several: NDArray[np.int64]) -> list[bool]:
            work = self._memory()
            return [self._swaps.descend(*sides, p, rounds, work) for p in several]

        return self._changed(one, first, second, starts)

    def anneal(
        self, first: Tensor, second: Tensor, permutations: Tensor, sweeps: int, hot: Tensor, cooling: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        temperatures = hot.tolist()

        def one(pair: int, sides: tuple, p: NDArray[np.int64]) -> bool:
            work = self._memory()
            self._swaps.anneal(*sides, p, sweeps, temperatures[pair], cooling, seed, work)
            return bool(self._swaps.descend(*sides, p, 1000, work))

        return self._changed(one, first, second, permutations)

    def reassign(
        self, first: Tensor, second: Tensor, permutations: Tensor, rounds: int, noise: float, losses: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        short = losses.tolist()

        def one(pair: int, sides: tuple, p: NDArray[np.int64]) -> bool:
            return bool(self._assignments.reassign(*sides, p, rounds, noise, short[pair], seed, self._memory()))

        return self._changed(one, first, second, permutations)

    def _memory(self) -> NDArray[np.float32]:
        """What the compiled moves of one pair work in."""
        return np.empty((3, *self._matrices.shape[1:]), dtype=np.float32)

    def _changed(
        self, one: Callable[..., object], first: Tensor, second: Tensor, permutations: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What `one` makes of a copy of the permutations, and whether each is a local optimum, as it returns."""
        found = permutations.numpy().copy()
        converged = self._each(one, first, second, found)
        return torch.from_numpy(found), torch.tensor(converged, dtype=torch.bool).reshape(permutations.shape[:-1])

    def _each(
        self, one: Callable[..., object], first: Tensor, second: Tensor, permutations: NDArray[np.int64]
    ) -> list[Any]:
        """``one(pair, sides, permutations[pair])`` of all pairs in order; every compiled move begins with `sides`.

        Threads take whole pairs, so that the result does not depend on them.
        """
        anchors = anchor_gain(self.search, self.anchor, first, second).numpy().astype(np.float32)
        sides = [
            (self._matrices[i], self._matrices[j], self._diagonals[i], self._diagonals[j], anchor)
            for i, j, anchor in zip(first.tolist(), second.tolist(), anchors, strict=True)
        ]
        workers = min(self.threads, len(sides))
        with _blas().limit(limits=1, user_api="blas"):  # the threads are ours; each product stays on its own
            if workers <= 1:
                return list(map(one, range(len(sides)), sides, permutations))
            with ThreadPoolExecutor(workers) as pool:
                return list(pool.map(one, range(len(sides)), sides, permutations))


@functools.cache
def _blas() -> Any:
    """The process's BLAS libraries, looked up once: that takes longer than searching a small pair."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Permutations and convergence of all chunks of pairs, in order."""
    found, converged = zip(*parts, strict=True)
    return torch.cat(found), torch.cat(converged)


def chunk_size(matrices: Tensor, starts: int) -> int:
    """How many pairs to work on at once: what fits the cache on a CPU, a tenth of the free memory on a GPU."""
    n = matrices.shape[-1]
    per_pair = TENSORS_PER_PAIR * n * n * 4 * starts
    if matrices.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(matrices.device)
        budget = free // 10
    else:
        budget = CPU_CHUNK_BYTES
    return max(1, int(budget // per_pair))
