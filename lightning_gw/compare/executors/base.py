"""What starts the runs of a comparison: the protocol all executors keep to, and the settings that choose one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lightning_gw.utilities.errors import UsageError, near_names, sentence

EXECUTORS = ("local", "ray")
_KEYS = ("name", "address", "cpus", "gpus", "retries")


@dataclass(frozen=True)
class Order:
    """One run to be done.

    Attributes:
        key: The run's name: its folder, relative to the comparison's.
        command: What to start.
        directory: Where to start it; absolute.
        variables: Environment variables to set.
        log: File its output is appended to; absolute.
        lock: File to lock while it runs; absolute.
        plan: The comparison's ``plan.json``; absolute.
        plan_hash: SHA-256 of its content: how a machine that sees another disk is found out.
    """

    key: str
    command: Sequence[str]
    directory: Path
    variables: Mapping[str, str]
    log: Path
    lock: Path
    plan: Path
    plan_hash: str


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        code: Its exit code; negative for one killed by a signal.
        error: Why it came to no end of its own, in a sentence; None where its log says it.
        lost: Whether what carried it is gone (a node, a worker), so that it may go on elsewhere.
    """

    code: int
    error: str | None = None
    lost: bool = False


class Executor(Protocol):
    """Starts runs, says which have ended, stops the rest. `len` gives the runs that were started and have not ended."""

    def __len__(self) -> int: ...

    @property
    def room(self) -> int | None:
        """How many runs fit at a time; None where that is not known before `open`."""

    def open(self) -> list[str]:
        """Get ready to start runs; gives what a user must know of that, in sentences.

        Raises:
            UsageError: If it cannot.
        """

    def start(self, order: Order) -> None:
        """Start a run."""

    def poll(self) -> dict[str, Ended]:
        """The runs that have ended since the last call, by their keys."""

    def stop(self, patience: float = 10.0) -> None:
        """Ask every run to stop, and after `patience` seconds make it."""

    def close(self) -> None:
        """Stop what is still at work, and undo `open`."""


@dataclass(frozen=True)
class ExecutorSettings:
    """Which executor, and what its runs ask for.

    Attributes:
        name: ``local`` or ``ray``.
        address: Of a Ray cluster; None starts one on this machine.
        cpus: Cores of each run under Ray; None for as many as it has threads.
        gpus: GPUs of each run under Ray, or a fraction of one.
        retries: How often a run that was lost with its node goes on elsewhere.
    """

    name: str = "local"
    address: str | None = None
    cpus: float | None = None
    gpus: float = 0.0
    retries: int = 2

    def chosen(self, name: str | None, address: str | None) -> ExecutorSettings:
        """These settings with what the command line says in their place.

        Args:
            name: ``--executor``, or None.
            address: ``--ray-address``, or None; asks for Ray by itself.

        Raises:
            UsageError: If there is no such executor, or an address for one that takes none.
        """
        if name is not None:
            _require_executor(name, "--executor")
        if address is not None and name == "local":
            raise UsageError("--ray-address is for --executor ray; --executor local works on this machine alone.")
        name = name or ("ray" if address is not None else self.name)
        return replace(self, name=name, address=address or self.address)


def read_executor(given: Any, where: str) -> ExecutorSettings:
    """The ``executor`` of a comparison's YAML file: a name, or a mapping with a name; None for the default.

    Raises:
        UsageError: For whatever is wrong with it, with near names; `where` names the place.
    """
    if given is None:
        return ExecutorSettings()
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise UsageError(f"{where} should be local or ray, or a mapping with such a name, but is {given!r}.")
    require_known(given, _KEYS, where)
    name = given["name"]
    _require_executor(name, where)
    if name == "local" and len(given) > 1:
        raise UsageError(f"{where}: {', '.join(key for key in given if key != 'name')} are for the executor ray.")
    address, cpus, gpus, retries = (given.get(key) for key in _KEYS[1:])
    if address is not None and not isinstance(address, str):
        raise UsageError(f"{where}: address should be like 10.0.0.1:6379, but is {address!r}.")
    if cpus is not None and (not _is_number(cpus) or cpus <= 0):
        raise UsageError(f"{where}: cpus should be a number above 0, but is {cpus!r}.")
    gpus = 0 if gpus is None else gpus
    if not _is_number(gpus) or gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise UsageError(f"{where}: gpus should be a share such as 0.25, or a whole number, but is {gpus!r}.")
    retries = ExecutorSettings.retries if retries is None else retries
    if type(retries) is not int or retries < 0:
        raise UsageError(f"{where}: retries should be a whole number from 0, but is {retries!r}.")
    return ExecutorSettings(name, address, None if cpus is None else float(cpus), float(gpus), retries)


def require_known(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Refuse a mapping of a YAML file that has other keys than the known ones."""
    for key in given:
        if key not in known:
            hint = near_names(str(key), known) or f"There are: {', '.join(known)}."
            raise UsageError(f"{where}: {key!r} is no option here. {hint}")


def _require_executor(name: str, where: str) -> None:
    if name not in EXECUTORS:
        raise UsageError(sentence(f"{where}: there is no executor {name!r}.", near_names(name, EXECUTORS)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
