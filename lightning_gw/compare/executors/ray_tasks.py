"""Runs as Ray tasks: on an existing cluster of any number of machines, or on one started here for the purpose."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import socket
import time
import warnings
from typing import Any
from urllib.parse import urlsplit

from lightning_gw.compare.executors.base import Ended, ExecutorSettings, Order
from lightning_gw.compare.executors.local import default_workers
from lightning_gw.compare.executors.process import carry_out
from lightning_gw.utilities.errors import UsageError

#: Seconds between two looks at the nodes of the cluster.
_ROOM_AGE = 5.0
#: Seconds for which an address may stay silent.
_CONNECT_PATIENCE = 10.0
#: Bytes of shared memory for a cluster of our own: all that is passed through it are exit codes.
_STORE = 100 * 2**20


class RayExecutor:
    """One Ray task per run; an `Executor`.

    A task starts the run's command as a process of its own on the node it was sent to, in the same folder, and waits
    for it. Nothing else goes through Ray: the run's log, progress and history are written to the disk that all nodes
    share, which the task checks first. Ray itself repeats nothing; a run whose worker or node is gone is reported as
    lost, and the comparison lets it go on from its last checkpoint.

    Args:
        settings: The cluster's address, and what each run asks for.
        threads: Compute threads of each run; the cores it asks for where `settings` do not say.
    """

    def __init__(self, settings: ExecutorSettings, threads: int = 1) -> None:
        self._cpus = float(threads) if settings.cpus is None else settings.cpus
        self._gpus = settings.gpus
        self._address = settings.address or os.environ.get("RAY_ADDRESS") or None
        self._ray: Any = None
        self._ours = False
        self._task: Any = None
        self._tasks: dict[str, Any] = {}
        self._seen = (-math.inf, 1)

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def room(self) -> int | None:
        """How many runs fit on the nodes that are there now."""
        if self._ray is None:
            return None if self._address else max(1, int(default_workers(1) / self._cpus))
        asked, room = self._seen
        if time.monotonic() - asked > _ROOM_AGE:
            room = max(1, sum(self._fits(node) for node in self._nodes()))
            self._seen = (time.monotonic(), room)
        return room

    def open(self) -> list[str]:
        """Join the cluster, or start one on this machine.

        Raises:
            UsageError: If no cluster answers at the address, or no node of one of our own could serve a run.
        """
        if self._address is None:
            # A comparison on one machine is nobody else's business; on a cluster its owner has decided that.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray: Any = importlib.import_module("ray")
        self._ours = not ray.is_initialized()
        if self._ours:
            self._join(ray)
        self._ray = ray
        # Ray must not repeat a lost task by itself: it knows nothing of checkpoints.
        options = {"num_cpus": self._cpus, "num_gpus": self._gpus, "max_retries": 0, "scheduling_strategy": "SPREAD"}
        self._task = ray.remote(**options)(carry_out)
        nodes = self._nodes()
        needs = f"{self._cpus:g} CPUs" + (f" and {self._gpus:g} GPUs" if self._gpus else "")
        if not any(map(self._fits, nodes)):
            if self._address is None:
                self.close()
                raise UsageError(f"A run asks for {needs}, and this machine has {_has(nodes)}.")
            return [f"A run asks for {needs}, and the nodes have {_has(nodes)}: runs wait for a node that has them."]
        graphics = sum(node.get("GPU", 0) for node in nodes)
        if graphics and not self._gpus:
            return [f"Runs ask Ray for no GPU, though there are {graphics:g}: set gpus under `executor` of the config."]
        return []

    def start(self, order: Order) -> None:
        """Hand a run to the cluster."""
        self._tasks[order.key] = self._task.options(name=order.key).remote(order)

    def poll(self) -> dict[str, Ended]:
        """The runs that have ended since the last call."""
        if not self._tasks:
            return {}
        done, _ = self._ray.wait(list(self._tasks.values()), num_returns=len(self._tasks), timeout=0)
        ended = {key: self._result(task) for key, task in self._tasks.items() if task in done}
        for key in ended:
            del self._tasks[key]
        return ended

    def stop(self, patience: float = 10.0) -> None:
        """Cancel every task, which stops its run; after `patience` seconds kill its worker, whose run then leaves."""
        for task in self._tasks.values():
            with contextlib.suppress(Exception):  # a cluster that is gone has nothing left to cancel
                self._ray.cancel(task, force=False)
        waiting = list(self._tasks.values())
        with contextlib.suppress(Exception):
            if waiting:
                _, waiting = self._ray.wait(waiting, num_returns=len(waiting), timeout=patience)
        for task in waiting:
            with contextlib.suppress(Exception):
                self._ray.cancel(task, force=True)
        self._tasks.clear()

    def close(self) -> None:
        """Stop what is still at work, and leave the cluster or shut down our own."""
        if self._ray is None:
            return
        self.stop()
        if self._ours:
            self._ray.shutdown()
        self._ray = None

    def _join(self, ray: Any) -> None:
        # Ray reports on itself at length, into its own files as well; here it would run through the progress table.
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is None:
            own = {"num_cpus": default_workers(1), "include_dashboard": False, "object_store_memory": _STORE}
            where = {"address": "local", **own}
        else:
            _require_answer(self._address)
            where = {"address": self._address}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                ray.init(**where, **quiet)
            # The last words of a node that dies are printed whatever is asked for; Ray's debugger stops them this way.
            ray._private.worker._worker_logs_enabled = False
        except Exception as error:  # Ray raises bare ones here
            ray.shutdown()
            why = next(iter(str(error).strip().splitlines()), type(error).__name__)
            if self._address is not None:
                raise UsageError(_unreachable(self._address, why)) from error
            raise UsageError(
                f"Ray could not start on this machine: {why} Try again, or use --executor local, which needs no Ray."
            ) from error

    def _nodes(self) -> list[dict[str, float]]:
        """What each living node has, busy or not."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _fits(self, node: dict[str, float]) -> int:
        """How many runs a node can serve at a time."""
        rooms = [node.get("CPU", 0.0) / self._cpus]
        if self._gpus:
            rooms.append(node.get("GPU", 0.0) / self._gpus)
        return int(min(rooms) + 1e-9)

    def _result(self, task: Any) -> Ended:
        errors = self._ray.exceptions
        try:
            ended: Ended = self._ray.get(task)
            return ended
        except errors.NodeDiedError:
            return Ended(1, "its node was lost", lost=True)
        except errors.OutOfMemoryError:
            return Ended(1, "its worker was killed for want of memory on its node", lost=True)
        except (errors.WorkerCrashedError, errors.LocalRayletDiedError, errors.OwnerDiedError, errors.ObjectLostError):
            return Ended(1, "its worker was lost", lost=True)
        except errors.TaskCancelledError:
            return Ended(1, "it was cancelled")
        except errors.RayError as error:
            said = str(error).strip().splitlines()
            return Ended(1, f"Ray could not run it: {said[-1] if said else type(error).__name__}")


def _require_answer(address: str) -> None:
    """Knock where a cluster should be: Ray itself waits long for one that is not there."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        if address == "auto":
            return
        raise UsageError(f"A Ray address is HOST:PORT, such as 10.0.0.1:6379, or auto; got {address!r}.")
    try:
        socket.create_connection((host, port), timeout=_CONNECT_PATIENCE).close()
    except OSError as error:
        raise UsageError(_unreachable(address, error.strerror or str(error))) from error


def _unreachable(address: str, why: str) -> str:
    return (
        f"No Ray cluster answers at {address}: {why.rstrip('.')}. Start one with `ray start --head`, or leave the "
        "address out for a cluster on this machine."
    )


def _has(nodes: list[dict[str, float]]) -> str:
    """What the best of some nodes have."""
    cores, graphics = (max((node.get(name, 0.0) for node in nodes), default=0.0) for name in ("CPU", "GPU"))
    return f"at most {cores:g} CPUs and {graphics:g} GPUs each"
