"""When the distance between neighbouring layers has left its value at the first look behind, beyond its noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from lightning_gw.groups.groups import Groups
from lightning_gw.groups.tracking.events import Event
from lightning_gw.utilities.arrays import FloatArray

#: Standard deviations by which the logarithm of an adjacent distance must differ from that at the first look …
DEVIATIONS = 3.0
#: … and the factor by which the distance must: a difference may be certain and yet too small to tell of.
FACTOR = 1.5
#: Noise below which no estimate of it is believed.
LEAST_NOISE = 1e-6


@dataclass(frozen=True)
class _Mean:
    """Mean of a distance's logarithm over several looks, each by what it tells.

    Attributes:
        weight: Sum of the reciprocals of their squared noise.
        total: Sum of the logarithms times these.
        looks: How many.
    """

    weight: float = 0.0
    total: float = 0.0
    looks: int = 0

    def and_also(self, log: float, noise: float) -> _Mean:
        """With one look more."""
        weight = max(noise, LEAST_NOISE) ** -2
        return _Mean(self.weight + weight, self.total + weight * log, self.looks + 1)

    def differs_from(self, log: float, noise: float) -> bool:
        """Whether another look differs beyond the noise of one look on either side: those of one probe share theirs."""
        typical = (self.looks / self.weight) ** 0.5
        return abs(log - self.total / self.weight) > DEVIATIONS * float(np.hypot(noise, typical))


class GrowthWatch:
    """Tells once, for every adjacent distance, that it has grown (or shrunk) since the first look.

    That is when ``|log(now / then)|`` exceeds `DEVIATIONS` times its noise, the root of the sum of the squares of
    ``Groups.noise`` at both looks, and a factor of `FACTOR`, at `persistence` looks in a row. It has to differ beyond
    its noise from the looks before that did not exceed these, too: nothing has happened to a distance that noise
    carries across the limit. Looks whose noise was not estimated tell nothing.

    Args:
        persistence: Looks in a row that have to show it.
    """

    def __init__(self, persistence: int) -> None:
        self.persistence = persistence
        self._start: tuple[FloatArray, FloatArray] | None = None
        self._seen: dict[int, tuple[int, int]] = {}  # gap that differs → (first step, looks)
        self._told: set[int] = set()
        self._earlier: dict[int, _Mean] = {}  # gap → logarithms of the looks that did not differ

    def update(self, step: int, groups: Groups) -> list[Event]:
        """One event for all distances for which it has just become certain.

        Args:
            step: Trainer global step of the look.
            groups: What it found.
        """
        if groups.noise is None:
            return []
        if self._start is None or len(self._start[0]) != len(groups.adjacent):
            self._start = (groups.adjacent, groups.noise)
            return []
        then, noise = self._start
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(groups.adjacent / then)
            beyond = np.abs(logs) > np.maximum(DEVIATIONS * np.hypot(groups.noise, noise), np.log(FACTOR))
        for k in np.flatnonzero(np.isfinite(logs)).tolist():
            log, own = float(logs[k]), float(groups.noise[k])
            if not beyond[k]:
                self._earlier[k] = self._earlier.get(k, _Mean()).and_also(log, own)
            elif k in self._earlier:
                beyond[k] = self._earlier[k].differs_from(log, own)
        self._seen = {
            k: (self._seen[k][0], self._seen[k][1] + 1) if k in self._seen else (step, 1)
            for k in np.flatnonzero(beyond).tolist()
            if k not in self._told
        }
        ready = sorted(k for k, (_, looks) in self._seen.items() if looks >= self.persistence)
        if not ready:
            return []
        self._told.update(ready)
        first = min(self._seen.pop(k)[0] for k in ready)
        factors = tuple(float(np.exp(logs[k])) for k in ready)
        return [Event("growth", first, -1, tuple(ready), confirmed=step, factors=factors)]

    def state_dict(self) -> dict[str, object]:
        """State in plain types, for a checkpoint."""
        return {
            "start": None if self._start is None else [values.tolist() for values in self._start],
            "seen": {str(k): list(seen) for k, seen in self._seen.items()},
            "told": sorted(self._told),
            "earlier": {str(k): list(astuple(mean)) for k, mean in self._earlier.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        start = state.get("start")
        self._start = None if start is None else (np.array(start[0], dtype=float), np.array(start[1], dtype=float))
        self._seen = {int(k): (int(seen[0]), int(seen[1])) for k, seen in state.get("seen", {}).items()}
        self._told = {int(k) for k in state.get("told", ())}
        # Checkpoints made before this was kept lack it.
        self._earlier = {
            int(k): _Mean(float(weight), float(total), int(looks))
            for k, (weight, total, looks) in state.get("earlier", {}).items()
        }
