"""The moves a search is made of, on whichever machinery there is: batched torch, or compiled for the CPU.

Both raise the same objective and end in the same kind of local optimum; only the order of their swaps differs. A result
names the one that found it.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
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


class Moves(Protocol):
    """What a search does with pairs of layers ``first[k]``, ``second[k]``, each ``(P,)`` indices."""

    name: str
    search: SearchMatrices
    anchor: float

    def values(self, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        """``(P, S)`` float64 objective of ``(P, S, n)`` permutations; higher is better."""
        ...

    def descend(self, first: Tensor, second: Tensor, starts: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        """Improve every one of ``(P, S, n)`` starts; also ``(P, S)`` bool, whether it ended in a local optimum."""
        ...

    def anneal(
        self, first: Tensor, second: Tensor, permutations: Tensor, sweeps: int, hot: Tensor, cooling: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Shake ``(P, n)`` permutations and let them descend; also ``(P,)`` bool as above.

        The temperature of each pair falls from ``(P,)`` `hot`, in units of the objective, to `cooling` times that.
        """
        ...

    def reassign(
        self, first: Tensor, second: Tensor, permutations: Tensor, rounds: int, noise: float, losses: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        """The best that noisy assignments from ``(P, n)`` permutations lead to (see `assignments`), and ``(P,)`` bool.

        `losses`, ``(P,)``, is how far the objective of each falls short of its ceiling.
        """
        ...

    def on(self, search: SearchMatrices) -> Moves:
        """The same machinery on other matrices."""
        ...

    def share(self, work: Callable[..., Found], first: Tensor, second: Tensor, *more: Tensor) -> Found:
        """``work(first, second, *more)``, whose results are per pair; done by several processes where there are."""
        ...


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


class BatchedMoves:
    """Moves in batches of pairs, in torch, on any device."""

    name = "batched torch"

    def __init__(self, search: SearchMatrices, anchor: float = 0.0) -> None:
        self.search = search
        self.anchor = anchor

    def values(self, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        found = []
        for chunk, a, b, linear in self._chunks(first, second, 1):
            columns = [objective(a, b, permutations[chunk, s], linear) for s in range(permutations.shape[1])]
            found.append(torch.stack(columns, dim=1))
        return torch.cat(found)

    def descend(self, first: Tensor, second: Tensor, starts: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        count, n = starts.shape[1:]
        found, converged = [], []
        for chunk, a, b, linear in self._chunks(first, second, count):
            repeated = None if linear is None else linear.repeat_interleave(count, dim=0)
            permutation, done = descend(
                a.repeat_interleave(count, dim=0),
                b.repeat_interleave(count, dim=0),
                starts[chunk].reshape(-1, n),
                repeated,
                rounds,
            )
            found.append(permutation.view(-1, count, n))
            converged.append(done.view(-1, count))
        return torch.cat(found), torch.cat(converged)

    def anneal(
        self, first: Tensor, second: Tensor, permutations: Tensor, sweeps: int, hot: Tensor, cooling: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        found, converged = [], []
        for chunk, a, b, linear in self._chunks(first, second, 1):
            generator = torch.Generator().manual_seed(seed)
            rounds = sweeps * ROUNDS_PER_SWEEP
            shaken = anneal(a, b, permutations[chunk], linear, rounds, generator, hot[chunk].float(), cooling)
            permutation, done = descend(a, b, shaken, linear)
            found.append(permutation)
            converged.append(done)
        return torch.cat(found), torch.cat(converged)

    def reassign(
        self, first: Tensor, second: Tensor, permutations: Tensor, rounds: int, noise: float, losses: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        found, converged = [], []
        for chunk, a, b, linear in self._chunks(first, second, 1):
            generator = torch.Generator().manual_seed(seed)
            permutation, done = reassign(a, b, permutations[chunk], linear, rounds, noise, losses[chunk], generator)
            found.append(permutation)
            converged.append(done)
        return torch.cat(found), torch.cat(converged)

    def on(self, search: SearchMatrices) -> BatchedMoves:
        return BatchedMoves(search, self.anchor)

    def share(self, work: Callable[..., Found], first: Tensor, second: Tensor, *more: Tensor) -> Found:
        return work(first, second, *more)

    def _chunks(
        self, first: Tensor, second: Tensor, starts: int
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
        matrices = self.search.matrices
        size = chunk_size(matrices, starts)
        for chunk in torch.arange(len(first), device=first.device).split(size):
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


class CompiledMoves:
    """Moves pair by pair, compiled for the CPU; pairs are spread over as many threads as torch may use."""

    name = "compiled"

    def __init__(self, search: SearchMatrices, anchor: float = 0.0) -> None:
        from lightning_gw.gw.moves.warmup import prepare

        prepare()
        self.threads = torch.get_num_threads()
        self.search = search
        self._matrices = search.matrices.numpy()
        count, n = self._matrices.shape[:2]
        none = np.zeros((count, n), dtype=np.float32)
        self._diagonals = none if search.diagonals is None else search.diagonals.numpy()
        self.anchor = anchor

    def values(self, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        from lightning_gw.gw.moves import compiled_swaps as compiled

        def one(pair: int) -> list[float]:
            a, b, a_diagonal, b_diagonal, anchor = arguments[pair]
            return [compiled.objective_of(a, b, a_diagonal, b_diagonal, anchor, p) for p in hosts[pair]]

        arguments, hosts = self._arguments(first, second), permutations.numpy()
        return torch.tensor(self._each(one, len(first)), dtype=torch.float64).reshape(permutations.shape[:2])

    def descend(self, first: Tensor, second: Tensor, starts: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        from lightning_gw.gw.moves import compiled_swaps as compiled

        def one(pair: int) -> list[bool]:
            a, b, a_diagonal, b_diagonal, anchor = arguments[pair]
            work = np.empty((3, *a.shape), dtype=np.float32)
            return [compiled.descend(a, b, a_diagonal, b_diagonal, anchor, p, rounds, work) for p in found[pair]]

        arguments, found = self._arguments(first, second), starts.numpy().copy()
        converged = self._each(one, len(first))
        return torch.from_numpy(found), torch.tensor(converged, dtype=torch.bool).reshape(starts.shape[:2])

    def anneal(
        self, first: Tensor, second: Tensor, permutations: Tensor, sweeps: int, hot: Tensor, cooling: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        from lightning_gw.gw.moves import compiled_swaps as compiled

        def one(pair: int) -> bool:
            a, b, a_diagonal, b_diagonal, anchor = arguments[pair]
            p, work = found[pair], np.empty((3, *a.shape), dtype=np.float32)
            compiled.anneal(a, b, a_diagonal, b_diagonal, anchor, p, sweeps, temperatures[pair], cooling, seed, work)
            return bool(compiled.descend(a, b, a_diagonal, b_diagonal, anchor, p, 1000, work))

        arguments, found = self._arguments(first, second), permutations.numpy().copy()
        temperatures = hot.tolist()
        converged = self._each(one, len(first))
        return torch.from_numpy(found), torch.tensor(converged, dtype=torch.bool)

    def reassign(
        self, first: Tensor, second: Tensor, permutations: Tensor, rounds: int, noise: float, losses: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        from lightning_gw.gw.moves import compiled_assignments

        def one(pair: int) -> bool:
            a, b, a_diagonal, b_diagonal, anchor = arguments[pair]
            p, work = found[pair], np.empty((3, *a.shape), dtype=np.float32)
            return bool(
                compiled_assignments.reassign(
                    a, b, a_diagonal, b_diagonal, anchor, p, rounds, noise, short[pair], seed, work
                )
            )

        arguments, found = self._arguments(first, second), permutations.numpy().copy()
        short = losses.tolist()
        converged = self._each(one, len(first))
        return torch.from_numpy(found), torch.tensor(converged, dtype=torch.bool)

    def on(self, search: SearchMatrices) -> CompiledMoves:
        moves = CompiledMoves(search, self.anchor)
        moves.threads = self.threads
        return moves

    def share(self, work: Callable[..., Found], first: Tensor, second: Tensor, *more: Tensor) -> Found:
        return work(first, second, *more)

    def _arguments(self, first: Tensor, second: Tensor) -> list[tuple]:
        anchors = anchor_gain(self.search, self.anchor, first, second).numpy().astype(np.float32)
        return [
            (self._matrices[i], self._matrices[j], self._diagonals[i], self._diagonals[j], anchor)
            for i, j, anchor in zip(first.tolist(), second.tolist(), anchors, strict=True)
        ]

    def _each(self, one: Callable[[int], object], count: int) -> list:
        """Results of all pairs in order; threads take whole pairs, so that the result does not depend on them."""
        workers = min(self.threads, count)
        with _blas().limit(limits=1, user_api="blas"):  # the threads are ours; each product stays on its own
            if workers <= 1:
                return [one(pair) for pair in range(count)]
            with ThreadPoolExecutor(workers) as pool:
                return list(pool.map(one, range(count)))


@functools.cache
def _blas() -> Any:
    """The process's BLAS libraries, looked up once: that takes longer than searching a small pair."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


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
