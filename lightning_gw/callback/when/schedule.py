"""Which steps are looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lightning_gw.utilities.errors import near_names, sentence

#: What `Schedule` understands by name.
WHEN = ("checkpoint", "log", "every_n_steps")
#: Looks of ``"log"`` after the one at the start, unless told.
LOOKS = 7


def log_spaced_steps(total: int, looks: int) -> tuple[int, ...]:
    """`looks` steps that grow by an even factor and end at `total`.

    They begin at a 64th of the way, so that seven looks double each time and more looks make the picture finer rather
    than spend themselves on the first few steps.

    Args:
        total: Last step of training.
        looks: Number of steps; fewer come back where `total` is too small to tell them apart.
    """
    if total < 1:
        return ()
    first = max(1.0, total / 64)
    ratio = (total / first) ** (1 / max(1, looks - 1))
    return tuple(sorted({round(total / ratio**k) for k in range(looks)}))


class Schedule:
    """Decides at the end of every step whether to look; looks at checkpoints are asked for from elsewhere.

    Args:
        when: ``"checkpoint"`` (whenever one is saved), ``"log"`` (log-spaced), ``"every_n_steps"``, or the steps.
        looks: Number of looks of ``"log"`` after the one at the start.
        every_n_steps: Look every that many steps, in addition to what `when` says.

    Raises:
        ValueError: If the arguments make no schedule; the message says why.
    """

    def __init__(self, when: str | Sequence[int], looks: int = LOOKS, every_n_steps: int | None = None) -> None:
        if isinstance(when, str):
            if when not in WHEN:
                raise ValueError(
                    sentence(f"when={when!r} is neither {', '.join(WHEN)} nor a list of steps.", near_names(when, WHEN))
                )
        elif not all(isinstance(step, int) and step >= 0 for step in when):
            raise ValueError(f"when={when!r}: steps must be whole numbers from 0.")
        if when == "every_n_steps" and every_n_steps is None:
            raise ValueError("when='every_n_steps' needs every_n_steps, such as every_n_steps=500.")
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps} must be at least 1.")
        if looks < 1:
            raise ValueError(f"looks={looks} must be at least 1.")
        self.at_checkpoints = when == "checkpoint"
        self._log = when == "log"
        self._looks = looks
        #: Whether steps are counted in batches, as the length of a training is, whatever optimizers do in each.
        self.in_batches = self._log and every_n_steps is None
        self.every = every_n_steps
        self._steps: tuple[int, ...] = () if isinstance(when, str) else tuple(sorted(set(when)))

    @property
    def combined(self) -> str:
        """What to say where `when` and `every_n_steps` both make looks, or `looks` makes none; empty elsewhere."""
        if self._looks != LOOKS and not self._log:
            return f"GWSimilarity(looks={self._looks}) goes with when='log', and changes no other looks."
        if self.every is None or not (self._log or self._steps):
            return ""
        listed = f"{self._looks} log-spaced steps" if self._log else f"{len(self._steps)} listed steps"
        return f"GWSimilarity looks at {listed} and, besides, every {self.every} steps."

    def plan(self, total_steps: Callable[[], float]) -> None:
        """Learn how long training will be, where that matters.

        Args:
            total_steps: Gives the number of optimizer steps; infinite where nobody knows, and then looks come at
                doubling steps.
        """
        if not self._log:
            return
        total = total_steps()
        if math.isfinite(total):
            self._steps = log_spaced_steps(int(total), self._looks)
        else:
            self._steps = tuple(2**k for k in range(63))

    def due(self, step: int, before: int) -> bool:
        """Whether a look falls due at `step`, when steps up to `before` were dealt with.

        With several optimizers the global step grows by more than one at a time, so a scheduled step may be passed
        rather than met.

        Args:
            step: Trainer global step now.
            before: Trainer global step at the last call or look.
        """
        if step <= before:
            return False
        if self.every is not None and step // self.every > before // self.every:
            return True
        return any(before < scheduled <= step for scheduled in self._steps)

    def listed(self, step: int, before: int) -> bool:
        """Whether the look due at `step` is one that the user asked for by its step; see `due`."""
        return not self._log and any(before < scheduled <= step for scheduled in self._steps)

    def count(self, total: float) -> int | None:
        """Looks that a training of `total` optimizer steps makes after the first, if none is put off.

        None where that cannot be told beforehand: at checkpoints, and where nobody knows how long the training is.
        """
        return self.ahead(0, total)

    def ahead(self, step: int, total: float) -> int | None:
        """Looks that such a training makes after `step`, the last one of all included; None where `count` is."""
        if self.at_checkpoints or not math.isfinite(total):
            return None
        last = int(total)
        if step >= last:
            return 0
        apart = self.every or last
        listed = sum(step < scheduled < last and scheduled % apart > 0 for scheduled in self._steps)
        return listed + (last - 1) // apart - step // apart + 1  # at the last step always
