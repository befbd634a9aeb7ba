"""What looking may cost: a share of the training time, measured as it goes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

#: What looks may cost unless told otherwise, by where they are solved.
SHARES = {"inline": 0.02, "background": 0.005}
#: Seconds of training from which on the share that was asked for is kept; younger ones count as this old.
SHORTEST_TRAINING = 300.0
#: Seconds of looks in a training that will be over before it is that old: a short one is to have its pictures too.
FREE_SECONDS = 60.0
#: What is still to come may take so much longer than foreseen: machines slow down, and looks made for free stay made.
FORESIGHT = 1.25
#: Seconds of training from which on a share of them says something.
TELLING = 10.0
#: Looks whose dearest is what the next one is expected to cost; as many as from one search in full to the next.
REMEMBERED = 8


class Budget:
    """Weighs the seconds of looks against those of training. Knows no clock and no Trainer: it is told both.

    A look fits while what was spent, this look and the last one of all, with the wait for it, stay within the
    allowance: ``share`` of the training so far, or of `SHORTEST_TRAINING` seconds while training is younger than that.
    Setting the last look aside from the start is what lets it be made whenever training ends. Trainings that are seen
    to end before they are `SHORTEST_TRAINING` seconds old, even if what is to come takes `FORESIGHT` times as long,
    have `FREE_SECONDS` instead.

    Where it is known how long training will be, and not all looks that are still to fall due fit, those that do are
    spread over it: what later looks cost, this one included, stays within the part of their allowance that training has
    come to. The first of them says what they cost, and is made when it falls due.

    Args:
        share: What looking may cost, such as 0.02 for 2 % of the training time; None for any price.

    Attributes:
        training: Seconds of training so far, looks not counted.
        spent: Seconds that looking cost so far.
        uncounted: Seconds of what was asked for by itself, such as networks with fresh weights, and is not in `spent`.
        remaining: Seconds of training to come, as far as can be told; infinite where it cannot.
        closing: Seconds that the end of training will wait for what is solved beside it, as far as can be told.
        ahead: Looks that will fall due after this one, the last one of all included; None where nobody can tell.

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
        self.ahead: int | None = None
        self._opening = 0.0  # seconds spent by the end of the first look
        self._later = 0  # looks after it
        self._recent: deque[float] = deque(maxlen=REMEMBERED)

    def trained(self, seconds: float) -> None:
        """Training went on for so long."""
        self.training += seconds

    def looked(self, seconds: float) -> None:
        """A look held up the training for so long."""
        self.spent += seconds
        if self._recent:
            self._later += 1
        else:
            self._opening = self.spent
        self._recent.append(seconds)

    def charge(self, seconds: float) -> None:
        """Something that is done once, or that no look brings with it, held up the training for so long."""
        self.spent += seconds

    @property
    def allowance(self) -> float:
        """Seconds that looking may have cost by now."""
        if self.share is None:
            return math.inf
        return self._allowed(self.training)

    def _allowed(self, training: float) -> float:
        assert self.share is not None
        kept = self.share * max(training, SHORTEST_TRAINING)
        return max(kept, FREE_SECONDS) if self.short else kept

    @property
    def limit(self) -> str:
        """What looks are held to, in words."""
        if self.share is not None and self.short and self.share * SHORTEST_TRAINING < FREE_SECONDS:
            return f"the {FREE_SECONDS:.0f} s that looks may take in a training below {SHORTEST_TRAINING:.0f} s"
        return f"max_overhead={self.share}"

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
        if self.share is None:
            return 0.0
        needed = self.spent + 2 * self.expected + self.closing
        too_much = 0.0 if needed <= self.allowance else needed / self.share - self.training
        return max(too_much, self._too_early())

    def _too_early(self) -> float:
        """Seconds of training by which another look comes too early to leave some for the rest of training."""
        length = self.training + self.remaining
        later = self.spent - self._opening
        if not self._later or not later or not math.isfinite(length):
            return 0.0
        usual = later / self._later
        whole = self._allowed(length) - self.closing
        if self.ahead is not None and self.spent + (1 + self.ahead) * usual <= whole:
            return 0.0
        part = (later + usual) / max(whole - self._opening, later + usual)  # of what later looks may cost
        return max(0.0, part * length - self.training)

    @property
    def overdrawn(self) -> bool:
        """Whether more was spent than allowed, as when training is too short for the looks that are always made."""
        return self.spent > self.allowance

    def sentence(self) -> str:
        """What looking cost so far, in words."""
        return f"Looking took {self.spent:.1f} s" if self.short else self._cost()

    def bill(self) -> str:
        """What looking cost in all: seconds, share, what is not counted in them, and what would make it less."""
        told = self._cost()
        if self.uncounted >= 0.1:
            told += f"; {self.uncounted:.1f} s more, which are not counted, went to networks with fresh weights"
        if self.share is None or not self.training or self.spent <= self.share * self.training:
            return f"{told}."
        beside = ", and so does solve='background'" if self.share > SHARES["background"] else ""
        always = "The first look and the last are always made"
        young = f"A training below {SHORTEST_TRAINING:.0f} s may spend up to {FREE_SECONDS:.0f} s on looks"
        return f"{told}. {young if self.short else always}; fewer looks make it less{beside}."

    def _cost(self) -> str:
        cost = f"Looking took {self.spent:.1f} s"
        if not self.training:
            return cost
        if self.training < TELLING or self.spent > self.training:
            return f"{cost} and training {self.training:.1f} s"
        return f"{cost}, {self.spent / self.training:.1%} of {self.training:.0f} s of training"

    def state_dict(self) -> dict[str, Any]:
        """State in plain types, for a checkpoint."""
        return {
            "training": self.training,
            "spent": self.spent,
            "recent": list(self._recent),
            "opening": self._opening,
            "later": self._later,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        self.reset()
        self.training, self.spent = float(state["training"]), float(state["spent"])
        self._recent.extend(float(seconds) for seconds in state["recent"])
        # Older versions did not tell the first look from later ones.
        self._opening, self._later = float(state.get("opening", self.spent)), int(state.get("later", 0))
