"""Looks that ride along with Lightning's validation: when they do, and that nothing of theirs goes wrong there."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from lightning_gw.activations.isolation.weights import Weights, weights_of
from lightning_gw.activations.probe.probe import Probe
from lightning_gw.activations.reading.capture import Activations
from lightning_gw.activations.riding import Riding
from lightning_gw.callback.error_policy import ErrorPolicy
from lightning_gw.callback.trainer import validation_follows
from lightning_gw.callback.when.pace import Pace
from lightning_gw.utilities.distributed import is_known_to_all
from lightning_gw.utilities.errors import reason_of

#: What records say of a look that made no pass of its own.
CAPTURED = {"captured": "during validation"}


def costs_the_ride(method: Callable[..., Any]) -> Callable[..., Any]:
    """What fails inside costs the ride, and is said once: looks make passes of their own from then on."""

    @wraps(method)
    def guarded(self: RideAlong, *args: Any, **keywords: Any) -> Any:
        try:
            return method(self, *args, **keywords)
        except Exception as error:
            self.give_up(error)
            return None

    return guarded


class RideAlong:
    """Has looks ride along with validation where they can, and says nothing where they cannot.

    Args:
        riding: What catches them.
        error_policy: Says what went wrong.
        pace: Is charged with what it takes.

    Attributes:
        due: Step of a look that waits for the validation at hand, and the weights that it is about; None without one.
    """

    def __init__(self, riding: Riding, error_policy: ErrorPolicy, pace: Pace) -> None:
        self._riding = riding
        self._error_policy = error_policy
        self._pace = pace
        self.due: tuple[int, Weights] | None = None

    @property
    def seconds(self) -> float:
        """What catching took in the last validation."""
        return self._riding.seconds

    @costs_the_ride
    def prepare(self, trainer: Trainer, module: LightningModule, probe: Probe) -> None:
        """Training begins; see `Riding.prepare`."""
        self.due = None
        self._riding.prepare(trainer, module, probe)

    @costs_the_ride
    def puts_off(self, trainer: Trainer, module: LightningModule, step: int) -> bool:
        """Whether the look that is due now waits for the validation that follows at once."""
        if self._riding.agrees and self._riding.ready(module) and validation_follows(trainer):
            self.due = step, weights_of(module)
        return self.due is not None

    @costs_the_ride
    def board(self, module: LightningModule, asked_for: bool) -> None:
        """A validation begins, after which a look may be asked for."""
        if self.due is not None or asked_for or self._riding.awaits(module):
            self._riding.board(module)

    @costs_the_ride
    def batch_begins(self, module: LightningModule, batch: Any, number: int, loader: int) -> None:
        """See `Riding.batch_begins`."""
        self._riding.batch_begins(module, batch, number, loader)

    @costs_the_ride
    def batch_ends(self) -> None:
        """See `Riding.batch_ends`."""
        self._riding.batch_ends()

    @costs_the_ride
    def arrive(self, module: LightningModule) -> None:
        """The validation is over; see `Riding.arrive`."""
        try:
            self._riding.arrive(module)
        finally:
            self._pace.charge(self._riding.seconds)

    @costs_the_ride
    def take(self, module: LightningModule) -> Activations | None:
        """See `Riding.take`."""
        return self._riding.take(module)

    @costs_the_ride
    def compare(self, module: LightningModule, activations: Activations) -> None:
        """See `Riding.compare`."""
        self._riding.compare(module, activations)

    def is_still_due(self, module: LightningModule) -> bool:
        """Whether the weights are those that the look that waits is about."""
        return self.due is not None and self.due[1] == weights_of(module)

    def end(self) -> None:
        """Training goes on, or is over: what was caught is of no more use."""
        self._riding.drop()

    def give_up(self, error: Exception) -> None:
        """No look rides any more."""
        self._riding.agrees, self._riding.why_not = False, "it failed once"
        self._riding.drop()
        self._error_policy.warn(
            "GWSimilarity could not capture a look during validation, and looks make passes of their own from here on: "
            f"{reason_of(error)}",
            everywhere=not is_known_to_all(error),
        )
