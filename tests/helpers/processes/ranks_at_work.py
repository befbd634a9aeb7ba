"""What processes of a group do in the tests of `shared`: calls that must agree with one process, and calls that fail.

A module of its own because spawned processes import it.
"""

from __future__ import annotations

import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

import lightning_gw.gw.search.pairs as pairs_module
from lightning_gw.gw import GWMatrix, gw_matrix
from lightning_gw.gw.moves.choice import BatchedMoves, choose_moves
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.errors import RestoreError

#: A group that waits longer than this has lost a member.
PATIENCE = 60.0


def layers(count: int = 5, n: int = 24, seed: int = 0) -> dict[str, Tensor]:
    """A drift through random tanh layers, in float32 as a network would give them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=generator)
    out = {"layer.0": x}
    for k in range(1, count):
        x = torch.tanh(x @ torch.randn(x.shape[1], 8 + k, generator=generator) / 2)
        out[f"layer.{k}"] = x
    return out


def earlier() -> GWMatrix:
    """The matrix of the same layers before they all moved a little."""
    generator = torch.Generator().manual_seed(9)
    moved = {name: x + 0.02 * torch.randn(x.shape, generator=generator) for name, x in layers().items()}
    return gw_matrix(moved)


def distances() -> dict[str, Tensor]:
    return {name: torch.cdist(x.double(), x.double()) for name, x in layers().items()}


def with_constant_layer() -> dict[str, Tensor]:
    found = layers()
    found["layer.2"] = torch.ones_like(found["layer.2"])
    return found


@contextmanager
def batched_torch() -> Iterator[None]:
    """Search in torch though Numba is installed."""
    pairs_module.choose_moves = BatchedMoves  # type: ignore[assignment]
    try:
        yield
    finally:
        pairs_module.choose_moves = choose_moves


def in_batches(**options: Any) -> GWMatrix:
    with batched_torch():
        return gw_matrix(layers(), **options)


#: Calls whose result must not depend on how many processes make them.
SAME: dict[str, Callable[..., GWMatrix]] = {
    "default": lambda **group: gw_matrix(layers(), **group),
    "fast": lambda **group: gw_matrix(layers(), effort="fast", **group),
    "batched torch": in_batches,
    "warm": lambda **group: gw_matrix(layers(), warm_start=earlier(), **group),
    "tight": lambda **group: gw_matrix(layers(3, 9), bounds="tight", effort="fast", **group),
    "anchored": lambda **group: gw_matrix(layers(), anchor=0.4, seed=3, **group),
    "one pair": lambda **group: gw_matrix(layers(2), **group),
    "three pairs": lambda **group: gw_matrix(layers(3), **group),
    "one layer": lambda **group: gw_matrix(layers(1), **group),
    "degenerate layer": lambda **group: gw_matrix(with_constant_layer(), **group),
    "rectangle": lambda **group: gw_matrix(layers(3), layers(2, seed=1), **group),
    "unequal sizes": lambda **group: gw_matrix(layers(3), layers(2, 17, seed=1), **group),
    "precomputed": lambda **group: gw_matrix(distances(), geometry="precomputed", **group),
    "enumerated": lambda **group: gw_matrix(layers(3, 6), **group),
}


def other_values(rank: int, by: float) -> dict[str, Tensor]:
    """Representations that differ on rank 1 by noise of this size in one layer."""
    found = layers()
    if rank == 1:
        noise = torch.randn(found["layer.3"].shape, generator=torch.Generator().manual_seed(5))
        found["layer.3"] = found["layer.3"] + by * noise
    return found


def progress_that_fails(rank: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if rank == 1:
            raise ZeroDivisionError("rank 1 cannot count")

    return progress


#: Calls in which rank 1 does something else than the others.
APART: dict[str, Callable[[int], GWMatrix]] = {
    "rounding": lambda rank: gw_matrix(other_values(rank, 1e-6), process_group="world"),
    "values": lambda rank: gw_matrix(other_values(rank, 1.0), process_group="world"),
    "layers": lambda rank: gw_matrix(layers(4 if rank == 1 else 5), process_group="world"),
    "shape": lambda rank: gw_matrix(layers(n=23 if rank == 1 else 24), process_group="world"),
    "others": lambda rank: gw_matrix(layers(), layers(2, seed=1) if rank == 1 else None, process_group="world"),
    "effort": lambda rank: gw_matrix(layers(), effort="fast" if rank == 1 else "default", process_group="world"),
    "warm start": lambda rank: gw_matrix(layers(), warm_start=earlier() if rank == 1 else None, process_group="world"),
    "degenerate": lambda rank: gw_matrix(with_constant_layer() if rank == 1 else layers(), process_group="world"),
    "bad option": lambda rank: gw_matrix(layers(), anchor=-1.0 if rank == 1 else 0.0, process_group="world"),
    "failure": lambda rank: gw_matrix(layers(), progress=progress_that_fails(rank), process_group="world"),
}


def subgroup(rank: int) -> GWMatrix:
    """A group of the last two ranks only; the first is no member of it."""
    world = dist.get_world_size()
    return gw_matrix(layers(), process_group=dist.new_group([world - 2, world - 1]))


def alone(rank: int) -> GWMatrix | None:
    """A plain call that only one rank makes."""
    return gw_matrix(layers()) if rank == 0 else None


def shares(rank: int) -> dict[int, list[int]]:
    """Which rank worked on each pair, for lists of a few lengths."""

    def work(first: Tensor, second: Tensor) -> Tensor:
        assert len(first) == len(second) > 0
        return torch.full((len(first),), rank)

    ranks = Ranks("world")
    return {count: ranks.pairs(work, torch.arange(count), torch.arange(count)).tolist() for count in (1, 3, 10)}


def left(fails: int, after: int, caught: bool, kind: type[Exception] = ZeroDivisionError) -> Callable[[int], list[Any]]:
    """One rank fails after so many of three exchanges, which others may not mind; what comes of it, and of the next."""

    def work(rank: int) -> list[Any]:
        ranks, found = Ranks("world", "The work"), []
        try:
            with ranks.leaving_together():
                for turn in range(3):
                    if rank == fails and turn == after:
                        raise kind("enough")
                    try:
                        ranks.exchange(turn)
                    except Exception:
                        if not caught:
                            raise
                if rank == fails and after == 3:
                    raise kind("enough")
            found.append("done")
        except Exception as error:
            ranks.leave(error)  # for the second time, which is nothing
            found.append(f"{type(error).__name__}: {error}")
        return [*found, ranks.exchange(rank)]  # nobody is left waiting, and nobody is behind

    return work


#: Which rank fails, after how many exchanges, and whether the others go on from what they are told.
LEFT = {
    f"left: rank {fails} after {after}, {'caught' if caught else 'not caught'}": left(fails, after, caught)
    for fails in (0, 1)
    for after in (0, 1, 3)
    for caught in (True, False)
}
LEFT["left: nobody"] = left(9, 0, caught=False)
LEFT["left: not restored"] = left(1, 3, caught=False, kind=RestoreError)


def everything(rank: int) -> dict[str, Any]:
    """All of the above, by name; an exception in place of the result where there was one."""
    tasks: dict[str, Callable[[], Any]] = {
        name: (lambda call=call: call(process_group="world")) for name, call in SAME.items()
    }
    tasks["shares"] = lambda: shares(rank)
    if dist.get_world_size() > 1:
        tasks |= {name: (lambda call=call: call(rank)) for name, call in (APART | LEFT).items()}
        tasks |= {"subgroup": lambda: subgroup(rank), "alone": lambda: alone(rank)}
    found: dict[str, Any] = {}
    for name, task in tasks.items():
        try:
            found[name] = task()
        except Exception as error:
            found[name] = error
    return found


def on_a_device(rank: int) -> GWMatrix:
    """One matrix of layers that lie on a CUDA device: the rank's own where there are enough."""
    device = f"cuda:{rank % torch.cuda.device_count()}"
    return gw_matrix({name: x.to(device) for name, x in layers().items()}, process_group="world")


def _member(rank: int, size: int, work: Callable[[int], Any], folder: Path, backend: str) -> None:
    torch.set_num_threads(1)
    if backend == "nccl":
        torch.cuda.set_device(rank)
    dist.init_process_group(
        backend,
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=PATIENCE),
    )
    (folder / f"rank-{rank}.pickle").write_bytes(pickle.dumps(work(rank)))
    dist.destroy_process_group()


def run_ranks(size: int, work: Callable[[int], Any], folder: Path, backend: str = "gloo") -> list[Any]:
    """Let `size` real processes do `work` in one group; what each returned, in the order of ranks.

    Raises:
        TimeoutError: If they are not done after two waits of the group; none is left behind.
    """
    # A server that has imported everything once forks the ranks from itself: cheaper than importing in each of them.
    multiprocessing.set_forkserver_preload(["lightning_gw.gw.moves.compiled.swaps", "lightning_gw.metric.metric", "ot"])
    context = mp.start_processes(_member, (size, work, folder, backend), size, join=False, start_method="forkserver")
    deadline = time.monotonic() + 2 * PATIENCE
    try:
        while not context.join(timeout=deadline - time.monotonic()):  # comes back whenever one of them is done
            if time.monotonic() > deadline:
                raise TimeoutError(f"{size} ranks were not done after {2 * PATIENCE:.0f} s.")
    finally:
        for process in context.processes:
            process.kill()
    return [pickle.loads((folder / f"rank-{rank}.pickle").read_bytes()) for rank in range(size)]
