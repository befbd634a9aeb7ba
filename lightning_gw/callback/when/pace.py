"""Which looks are made and which are put off, by the clock and by what they cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning_gw.callback.when.budget import Budget


class Pace:
    """Says of every look that falls due whether it is made now, or to which step it is put off.

    Args:
        share: See `Budget`.
        clock: Seconds that only grow.

    Attributes:
        budget: What was spent, and on what.
        total: Steps that training will take in all; infinite where nobody knows.
    """

    def __init__(self, share: float | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.budget = Budget(share)
        self._clock = clock
        self._put_off: list[tuple[int, bool]] = []
        self._until: int | None = None
        self._mark = 0.0
        self._start = (0, 0.0)
        self.total = math.inf

    def start(self, step: int, total: float = math.inf) -> None:
        """Training begins, or goes on, at `step`.

        Args:
            step: Trainer global step.
            total: See the class.
        """
        self._mark = self._clock()
        self._start = (step, self.budget.training)
        self.total = total
        self.budget.remaining = math.inf
        self._until = None
        self._put_off = []

    def update(self) -> None:
        """Count the time since the last call, or since the last look, as training."""
        now = self._clock()
        self.budget.trained(now - self._mark)
        self._mark = now

    @contextmanager
    def looking(self) -> Iterator[None]:
        """What runs inside is a look, also where it fails."""
        with self._holding_up(self.budget.looked):
            yield

    @contextmanager
    def charged(self) -> Iterator[None]:
        """What runs inside holds training up and is no look."""
        with self._holding_up(self.budget.charge):
            yield

    @contextmanager
    def uncharged(self) -> Iterator[None]:
        """What runs inside counts neither as training nor as its cost, because it was asked for by itself."""
        with self._holding_up(self._leave_uncounted):
            yield

    def charge(self, seconds: float) -> None:
        """So many of the seconds since the last call, or the last look, held training up."""
        self.update()
        self.budget.trained(-seconds)
        self.budget.charge(seconds)

    def _leave_uncounted(self, seconds: float) -> None:
        self.budget.uncounted += seconds

    @contextmanager
    def _holding_up(self, charge: Callable[[float], None]) -> Iterator[None]:
        self.update()
        try:
            yield
        finally:
            now = self._clock()
            charge(now - self._mark)
            self._mark = now

    def delay(self, step: int, backlog: float = 0.0, closing: float = 0.0, ahead: int | None = None) -> int:
        """Steps by which a look that is due now has to wait; 0 where it can be made.

        Args:
            step: Trainer global step.
            backlog: Seconds until there is room for another look where looks are solved.
            closing, ahead: See `Budget`.
        """
        self.update()
        self.budget.closing, self.budget.ahead = closing, ahead
        steps, trained = step - self._start[0], self.budget.training - self._start[1]
        if steps > 0:
            self.budget.remaining = trained / steps * max(0.0, self.total - step)
        seconds = max(self.budget.lacking, backlog)
        if seconds <= 0:
            return 0
        return max(1, math.ceil(seconds * steps / trained)) if trained > 0 else 1

    def finish(self) -> None:
        """Training is over."""
        self.update()
        self.budget.remaining = 0.0

    def postpone(self, step: int, until: int | None) -> bool:
        """A look is put off.

        Args:
            step: Trainer global step.
            until: Step at which to ask again; None where something else will ask, such as the next checkpoint.

        Returns:
            Whether it is the first one put off since a look was made.
        """
        self._until = until
        self._put_off.append((step, self.budget.lacking > 0))
        return len(self._put_off) == 1

    def due(self, step: int) -> bool:
        """Whether it is time to ask again for a look that was put off."""
        return self._until is not None and step >= self._until

    def made(self, step: int) -> tuple[int, int]:
        """A look is made.

        Returns:
            How many were put off at earlier steps since the one before, because of what they cost, and only because
            there was no room for them where looks are solved.
        """
        self._until = None
        costly = [cost for other, cost in self._put_off if other != step]
        self._put_off = []
        return sum(costly), len(costly) - sum(costly)
