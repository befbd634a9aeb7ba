"""What looking may cost: a share of the training time, measured as it goes."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: What looks may cost unless told otherwise, by where they are solved.
SHARES = {"inline": 0.02, "background": 0.005}
#: Seconds of training from which on the share that was asked for is kept; younger ones count as this old.
SHORTEST_TRAINING = 300.0
#: Seconds of looks in a training that will be over before it is that old: a short one is to have its pictures too.
FREE_SECONDS = 60.0
#: What is still to come may take so much longer than foreseen: machines slow down, and looks made for free stay made.
FORESIGHT = 1.25
#: Looks whose dearest is what the next one is expected to cost; as many as from one search in full to the next.
REMEMBERED = 8


class Budget:
    """Weighs the seconds of looks against those of training. Knows no clock and no Trainer: it is told both.

    A look fits while what was spent, this look and the last one of all, with the wait for it, stay within the
    allowance: ``share`` of the training so far, or of `SHORTEST_TRAINING` seconds while training is younger than that.
    Setting the last look aside from the start is what lets it be made whenever training ends. Trainings that are seen
    to end before they are `SHORTEST_TRAINING` seconds old, even if what is to come takes `FORESIGHT` times as long,
    have `FREE_SECONDS` instead.

    Args:
        share: What looking may cost, such as 0.02 for 2 % of the training time; None for any price.

    Attributes:
        training: Seconds of training so far, looks not counted.
        spent: Seconds that looking cost so far.
        uncounted: Seconds of what was asked for by itself, such as networks with fresh weights, and is not in `spent`.
        remaining: Seconds of training to come, as far as can be told; infinite where it cannot.
        closing: Seconds that the end of training will wait for what is solved beside it, as far as can be told.

    Raises:
        ValueError: If `share` is not above 0.

    Example:
        >>> budget = Budget(0.02)
        >>> budget.looked(2.0)
        >>> budget.lacking  # 2 s spent and twice 2 s to come make 6 s, the share of the first 300 s
        0.0
        >>> budget.looked(2.0)
        >>> budget.lacking
        400.0
    """

    def __init__(self, share: float | None) -> None:
        if share is not None and not 0 < share < math.inf:
            raise ValueError(
                f"max_overhead={share!r} must be a number above 0, such as 0.02 for 2 % of the training time, or None "
                "for looks at any price."
            )
        self.share = share
        self.reset()

    def reset(self) -> None:
        """Forget all seconds."""
        self.training = 0.0
        self.spent = 0.0
        self.uncounted = 0.0
        self.remaining = math.inf
        self.closing = 0.0
        self._recent: deque[float] = deque(maxlen=REMEMBERED)

    def trained(self, seconds: float) -> None:
        """Training went on for so long."""
        self.training += seconds

    def looked(self, seconds: float) -> None:
        """A look held up the training for so long."""
        self.spent += seconds
        self._recent.append(seconds)

    def charge(self, seconds: float) -> None:
        """Something that is done once, or that no look brings with it, held up the training for so long."""
        self.spent += seconds

    @property
    def allowance(self) -> float:
        """Seconds that looking may have cost by now."""
        if self.share is None:
            return math.inf
        kept = self.share * max(self.training, SHORTEST_TRAINING)
        return max(kept, FREE_SECONDS) if self.short else kept

    @property
    def short(self) -> bool:
        """Whether training will surely be over, or is, before it is `SHORTEST_TRAINING` seconds old."""
        return self.training + FORESIGHT * self.remaining < SHORTEST_TRAINING

    @property
    def expected(self) -> float:
        """Seconds that the next look will take, as far as can be told from those before; 0 before the first."""
        return max(self._recent, default=0.0)

    @property
    def lacking(self) -> float:
        """Seconds of training that must pass before another look fits; 0 where it fits now."""
        needed = self.spent + 2 * self.expected + self.closing
        if self.share is None or needed <= self.allowance:
            return 0.0
        return needed / self.share - self.training

    @property
    def overdrawn(self) -> bool:
        """Whether more was spent than allowed, as when training is too short for the looks that are always made."""
        return self.spent > self.allowance

    def sentence(self) -> str:
        """What looking cost so far, in words."""
        cost = f"Looking took {self.spent:.1f} s"
        if self.short or not self.training:  # a share of next to nothing says nothing
            return cost
        return f"{cost}, {self.spent / self.training:.1%} of {self.training:.0f} s of training"

    def bill(self) -> str:
        """What looking cost in all: seconds, share, what is not counted in them, and what would make it less."""
        told = f"Looking took {self.spent:.1f} s"
        if self.training:
            told += f", {self.spent / self.training:.1%} of {self.training:.0f} s of training"
        if self.uncounted >= 0.1:
            told += f"; {self.uncounted:.1f} s more, which are not counted, went to networks with fresh weights"
        if self.share is None or not self.training or self.spent <= self.share * self.training:
            return f"{told}."
        beside = ", and so does solve='background'" if self.share > SHARES["background"] else ""
        always = "The first look and the last are always made"
        young = f"A training below {SHORTEST_TRAINING:.0f} s may spend up to {FREE_SECONDS:.0f} s on looks"
        return f"{told}. {young if self.short else always}; fewer looks make it less{beside}."

    def state_dict(self) -> dict[str, Any]:
        """State in plain types, for a checkpoint."""
        return {"training": self.training, "spent": self.spent, "recent": list(self._recent)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        self.reset()
        self.training, self.spent = float(state["training"]), float(state["spent"])
        self._recent.extend(float(seconds) for seconds in state["recent"])


class Pace:
    """Says of every look that falls due whether it is made now, or to which step it is put off.

    Args:
        share: See `Budget`.
        clock: Seconds that only grow.

    Attributes:
        budget: What was spent, and on what.
    """

    def __init__(self, share: float | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.budget = Budget(share)
        self._clock = clock
        self._put_off: list[tuple[int, bool]] = []
        self._until: int | None = None
        self._mark = 0.0
        self._start = (0, 0.0)
        self._total = math.inf

    def start(self, step: int, total: float = math.inf) -> None:
        """Training begins, or goes on, at `step`.

        Args:
            step: Trainer global step.
            total: Steps that training will take in all; infinite where nobody knows.
        """
        self._mark = self._clock()
        self._start = (step, self.budget.training)
        self._total = total
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

    def delay(self, step: int, backlog: float = 0.0, closing: float = 0.0) -> int:
        """Steps by which a look that is due now has to wait; 0 where it can be made.

        Args:
            step: Trainer global step.
            backlog: Seconds until there is room for another look where looks are solved.
            closing: See `Budget`.
        """
        self.update()
        self.budget.closing = closing
        steps, trained = step - self._start[0], self.budget.training - self._start[1]
        if steps > 0:
            self.budget.remaining = trained / steps * max(0.0, self._total - step)
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
