"""Which way of running a network is taken: the first that gets the probe through all of the layers, unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning_gw.activations.layers.choice import CompiledModules
from lightning_gw.activations.reading.capture import ShapeError
from lightning_gw.activations.running.forward import Way
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.errors import ArgumentError, LookError, RestoreError
from lightning_gw.utilities.text import listed

#: Characters of a reason that a message quotes.
_QUOTED = 300


@dataclass(frozen=True)
class Choice:
    """The way that is taken.

    Attributes:
        way: Runs the network.
        failed: ``(name, reason)`` of the ways that came before it and do not work.
    """

    way: Way
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def warnings(self) -> list[str]:
        """What the user should be told: that what was asked for does not work."""
        return [
            f"{name} does not run the network on the probe ({reason}), so looks go through {self.way.name}."
            for name, reason in self.failed
            if name.startswith("probe_step")
        ]


def choose_way(
    ways: Sequence[Way],
    attempt: Callable[[Way], int],
    layers: int,
    remedies: Iterable[tuple[str, Callable[[], int]]] = (),
) -> Choice:
    """Take the first way that runs and calls all layers, else the one that calls most of them, but at least two.

    Args:
        ways: In the order in which they are tried.
        attempt: Runs the probe through the network one way, under all protections, and says how many layers put
            something out; raises where it does not get through, or leaves a trace.
        layers: How many layers are to be looked at.
        remedies: What to write, and an attempt with that: made where nothing else works, and named if it succeeds.

    Raises:
        ArgumentError: If what the user wrote is the reason that none works.
        LookError: If none works; the message says why of each, and which remedy does.
    """
    failed: list[tuple[str, str]] = []
    wrong: list[ArgumentError] = []
    misshapen = False
    best: tuple[int, Way] | None = None
    for way in ways:
        found = _attempted(partial(attempt, way))
        if isinstance(found, CompiledModules):
            raise found
        if isinstance(found, Exception):
            failed.append((way.name, reason_of(found)))
            misshapen |= isinstance(found, ShapeError)
            wrong += [found] if isinstance(found, ArgumentError) else []
            continue
        if best is None or found > best[0]:
            best = found, way
        if found >= layers or way.asked:
            break
    if best is not None:
        return Choice(best[1], tuple(failed))
    if wrong:
        raise wrong[0]
    by_reason: dict[str, list[str]] = {}
    for name, reason in failed:
        by_reason.setdefault(reason, []).append(name)
    reasons = "; ".join(f"{listed(names)}: {reason}" for reason, names in by_reason.items())
    reasons = reasons or "it defines no forward and no step"
    for written, remedied in remedies:
        if not isinstance(_attempted(remedied), Exception):
            raise LookError(f"the network could not be run on the probe ({reasons}). This works: {written}")
    raise LookError(
        f"the network could not be run on the probe ({reasons}). Nothing else that was tried works either: write how "
        "to run it on a batch, GWSimilarity(probe_step=function) with function(module, batch)"
        + (", or what its rows are, GWSimilarity(rows=...)." if misshapen else ".")
    )


def reason_of(error: Exception) -> str:
    """Why a way does not work, in a few words."""
    cause = error.__cause__ if isinstance(error, LookError) and error.__cause__ is not None else error
    said = " ".join(str(cause).split())
    said = said if len(said) <= _QUOTED else f"{said[:_QUOTED]}…"
    return said if isinstance(cause, LookError) else f"{type(cause).__name__}: {said}"


def _attempted(attempt: Callable[[], int]) -> int | Exception:
    """What comes of one attempt, on all processes alike."""
    result: Any
    try:
        result = attempt()
    except RestoreError:
        raise
    except Exception as error:
        result = error
    failures = Ranks("world", "Trying how to run the network").exchange(
        reason_of(result) if isinstance(result, Exception) else None
    )
    if isinstance(result, Exception):
        return result
    elsewhere = next((reason for reason in failures if reason is not None), None)
    return result if elsewhere is None else LookError(elsewhere)
