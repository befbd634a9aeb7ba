"""The moves a search is made of, on whichever machinery there is: batched torch, or compiled for the CPU.

Both raise the same objective and end in the same kind of local optimum; only the order of their swaps differs. A result
names the one that found it.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_gw.gw.moves.batched.assignments import reassign
from lightning_gw.gw.moves.batched.heat_bath import Baths
from lightning_gw.gw.moves.batched.swaps import (
    SearchMatrices,
    anchor_gain,
    descend,
    invert,
    objective,
    permute_both,
)
from lightning_gw.gw.moves.threads import over_threads

#: Working tensors of n² float32 that one pair needs at a time.
TENSORS_PER_PAIR = 8
#: Working memory of a chunk on the CPU: about what the caches hold.
CPU_CHUNK_BYTES = 16 * 2**20
#: The compiled search looks inputs up by 16 bits.
COMPILED_UP_TO = 2**16
#: Most sweeps of a quench; hardly any takes as many.
QUENCH_SWEEPS = 12


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
    def distortions(self, spaces: Tensor, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        """``(P,)`` mean ``(A − B[p][:, p])²`` of ``(L, n, n)`` float64 spaces, from the differences themselves."""

    @abstractmethod
    def descend(self, first: Tensor, second: Tensor, starts: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        """Improve every one of ``(P, S, n)`` starts; also ``(P, S)`` bool, whether it ended in a local optimum."""

    @abstractmethod
    def heat(
        self, first: Tensor, second: Tensor, starts: Tensor, sweeps: int, hot: Tensor, cooling: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        """A heat bath and a quench from each of ``(P, S, n)`` starts, and a descent from the best these end at.

        The temperature of each pair falls from ``(P,)`` `hot`, in units of the objective, to `cooling` times that.

        Returns:
            ``(P, n)`` permutations, and ``(P,)`` bool as above.
        """

    @abstractmethod
    def quench(self, first: Tensor, second: Tensor, permutations: Tensor, sweeps: int) -> tuple[Tensor, Tensor]:
        """What at most so many sweeps at temperature 0 make of ``(P, n)`` permutations, as the factors see them.

        Also their ``(P,)`` float64 objectives as the factors see them, which only compare with each other.
        """

    @abstractmethod
    def reassign(
        self, first: Tensor, second: Tensor, permutations: Tensor, rounds: int, noise: float, losses: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        """The best that noisy assignments from ``(P, n)`` permutations lead to (see `assignments`), and ``(P,)`` bool.

        `losses`, ``(P,)``, is how far the objective of each falls short of its ceiling.
        """

    def _second_seen(self, first: Tensor, second: Tensor) -> Tensor:
        """``(P,)`` bool: whether the factors fit the second layer of a pair better than the first."""
        residuals = self.search.factors.residuals
        return residuals[second] < residuals[first]


def choose_moves(search: SearchMatrices, anchor: float = 0.0) -> Moves:
    """The compiled moves on a CPU with Numba installed, else the batched ones."""
    on_cpu, few = search.matrices.device.type == "cpu", search.matrices.shape[-1] < COMPILED_UP_TO
    if on_cpu and few and importlib.util.find_spec("numba") is not None:
        return CompiledMoves(search, anchor)
    return BatchedMoves(search, anchor)


class BatchedMoves(Moves):
    """Moves in batches of pairs, in torch, on any device."""

    name = "batched torch"

    def values(self, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        found = []
        for chunk, a, b, linear in self._chunks(first, second, 1):
            columns = [objective(a, b, permutations[chunk, s], linear) for s in range(permutations.shape[1])]
            found.append(torch.stack(columns, dim=1))
        return torch.cat(found)

    def distortions(self, spaces: Tensor, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        found = []
        for chunk, *_ in self._chunks(first, second, 2):
            a, b = spaces[first[chunk]], spaces[second[chunk]]
            found.append((a - permute_both(b, permutations[chunk])).square().mean(dim=(1, 2)))
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

    def heat(
        self, first: Tensor, second: Tensor, starts: Tensor, sweeps: int, hot: Tensor, cooling: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        parts = []
        for chunk, a, b, linear in self._chunks(first, second, 1):
            ends = [
                self._bathed(first, second, start, chunk, sweeps, hot[chunk], cooling, seed + turn)[0]
                for turn, start in enumerate(starts.unbind(dim=1))
            ]
            top = torch.stack([objective(a, b, end, linear) for end in ends]).argmax(dim=0)
            best = torch.stack(ends)[top, torch.arange(len(chunk), device=top.device)]
            parts.append(descend(a, b, best, linear))
        return _joined(parts)

    def quench(self, first: Tensor, second: Tensor, permutations: Tensor, sweeps: int) -> tuple[Tensor, Tensor]:
        chunks = [chunk for chunk, *_ in self._chunks(first, second, 1)]
        cold = torch.zeros(len(first), device=first.device)
        parts = [self._bathed(first, second, permutations, chunk, 0, cold[chunk], 1.0, 0, sweeps) for chunk in chunks]
        return _joined(parts)

    def _bathed(
        self,
        first: Tensor,
        second: Tensor,
        permutations: Tensor,
        chunk: Tensor,
        sweeps: int,
        hot: Tensor,
        cooling: float,
        seed: int,
        quench: int = QUENCH_SWEEPS,
    ) -> tuple[Tensor, Tensor]:
        """Permutations of a chunk of pairs after heat bath and quench, and their objectives as the factors see them."""
        i, j, p = first[chunk], second[chunk], permutations[chunk]
        turned = self._second_seen(i, j)
        sides = torch.where(turned, j, i), torch.where(turned, i, j)
        start = torch.where(turned[:, None], invert(p), p)
        anchor = anchor_gain(self.search, self.anchor, i, j) if self.anchor > 0 else None
        search = self.search
        baths = Baths.of(search.factors, search.matrices, search.diagonals, anchor, sides, start)
        baths.run(sweeps, hot, cooling, quench, torch.Generator().manual_seed(seed))
        return torch.where(turned[:, None], invert(baths.permutation), baths.permutation), baths.values()

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
        from lightning_gw.gw.moves.compiled import assignments, descent, heat_bath, swaps
        from lightning_gw.gw.moves.compiled.warmup import prepare

        prepare()
        super().__init__(search, anchor)
        self._assignments, self._baths, self._descent, self._swaps = assignments, heat_bath, descent, swaps
        self._matrices = search.matrices.numpy()
        none = np.zeros(self._matrices.shape[:2], dtype=np.float32)
        self._diagonals = none if search.diagonals is None else search.diagonals.numpy()

    def values(self, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        def one(pair: int, sides: tuple, several: NDArray[np.int64]) -> list[float]:
            return [self._swaps.objective_of(*sides, p) for p in several]

        found = self._each(one, first, second, permutations.numpy())
        return torch.tensor(found, dtype=torch.float64).reshape(permutations.shape[:2])

    def distortions(self, spaces: Tensor, first: Tensor, second: Tensor, permutations: Tensor) -> Tensor:
        host, layers = spaces.numpy(), list(zip(first.tolist(), second.tolist(), strict=True))

        def one(pair: int, sides: tuple, p: NDArray[np.int64]) -> float:
            i, j = layers[pair]
            return float(self._swaps.distortion_of(host[i], host[j], p))

        return torch.tensor(self._each(one, first, second, permutations.numpy()), dtype=torch.float64)

    def descend(self, first: Tensor, second: Tensor, starts: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        def one(pair: int, sides: tuple, several: NDArray[np.int64]) -> list[bool]:
            work = self._memory()
            return [self._descent.descend(*sides, p, rounds, work) for p in several]

        return self._changed(one, first, second, starts)

    def heat(
        self, first: Tensor, second: Tensor, starts: Tensor, sweeps: int, hot: Tensor, cooling: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        temperatures, bathe = hot.tolist(), self._bathe(first, second)

        def one(pair: int, sides: tuple, several: NDArray[np.int64]) -> bool:
            for turn, p in enumerate(several):
                bathe(pair, sides, p, sweeps, temperatures[pair], cooling, QUENCH_SWEEPS, seed + turn)
            several[0] = max(several, key=lambda p: float(self._swaps.objective_of(*sides, p)))
            return bool(self._descent.descend(*sides, several[0], 1000, self._memory()))

        ends = starts.numpy().copy()
        converged = self._each(one, first, second, ends)
        return torch.from_numpy(ends[:, 0].copy()), torch.tensor(converged, dtype=torch.bool)

    def quench(self, first: Tensor, second: Tensor, permutations: Tensor, sweeps: int) -> tuple[Tensor, Tensor]:
        bathe, found = self._bathe(first, second), permutations.numpy().copy()

        def one(pair: int, sides: tuple, p: NDArray[np.int64]) -> float:
            return bathe(pair, sides, p, 0, 0.0, 1.0, sweeps, 0)

        values = self._each(one, first, second, found)
        return torch.from_numpy(found), torch.tensor(values, dtype=torch.float64)

    def _bathe(self, first: Tensor, second: Tensor) -> Callable[..., float]:
        """The compiled heat bath for these pairs: changes ``p`` in place, returns the objective the factors see."""
        factors = self.search.factors
        parts = [part.numpy() for part in (factors.left, factors.right, factors.diagonals)]
        turned = self._second_seen(first, second).tolist()
        layers = list(zip(first.tolist(), second.tolist(), strict=True))
        noise = self._baths.gumbel_noise(self._matrices.shape[1])

        def bathe(pair: int, sides: tuple, p: NDArray[np.int64], *schedule: float) -> float:
            seen, anchor = layers[pair][turned[pair]], sides[4]
            other, *diagonals = (sides[0], sides[3], sides[2]) if turned[pair] else sides[1:4]
            of_seen = (part[seen] for part in parts)
            return float(self._baths.heat_bath(*of_seen, other, *diagonals, anchor, p, turned[pair], *schedule, noise))

        return bathe

    def reassign(
        self, first: Tensor, second: Tensor, permutations: Tensor, rounds: int, noise: float, losses: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        short = losses.tolist()

        def one(pair: int, sides: tuple, p: NDArray[np.int64]) -> bool:
            return bool(self._assignments.reassign(*sides, p, rounds, noise, short[pair], seed, self._memory()))

        return self._changed(one, first, second, permutations)

    def _memory(self) -> NDArray[np.float32]:
        """What the compiled moves of one pair work in."""
        return np.empty((4, *self._matrices.shape[1:]), dtype=np.float32)

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
        """``one(pair, sides, permutations[pair])`` of all pairs in order; every compiled move begins with `sides`."""
        anchors = anchor_gain(self.search, self.anchor, first, second).numpy().astype(np.float32)
        sides = [
            (self._matrices[i], self._matrices[j], self._diagonals[i], self._diagonals[j], anchor)
            for i, j, anchor in zip(first.tolist(), second.tolist(), anchors, strict=True)
        ]
        return over_threads(min(self.threads, len(sides)), one, range(len(sides)), sides, permutations)


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
