"""Where the layers of a look are, and how far they came since the first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from lightning_gw.geometry.spaces import Spaces
from lightning_gw.gw.drift import sampled

#: What `Record.weights` says of a layer.
SAME, CHANGED, NONE = "same", "changed", "none"


@dataclass(frozen=True, eq=False)
class Whereabouts:
    """What is kept of the layers of one look so that later ones can tell what became of them.

    Attributes:
        samples: Layer → ``(S,)`` float32 entries of its matrix, whose root mean square is 1; the same entries of each.
        weights: Layer → what tells its weights from any others, empty where it has none (see `weights.fingerprints`).
    """

    samples: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, spaces: Spaces, weights: Mapping[str, str]) -> Whereabouts:
        """Of the layers that could be measured."""
        scale = spaces.matrices.square().mean(dim=(1, 2)).sqrt()
        samples = sampled(spaces.matrices / scale[:, None, None]).cpu()
        return cls(dict(zip(spaces.layers, samples, strict=True)), dict(weights))

    def compared(self, start: Whereabouts, layers: Sequence[str]) -> dict[str, Any]:
        """How far layers came since `start`, by fields of `Record`.

        Args:
            start: The same of the first look.
            layers: All layers, in depth order.
        """
        moved = np.full(len(layers), np.nan)
        for place, name in enumerate(layers):
            here, there = self.samples.get(name), start.samples.get(name)
            if here is not None and there is not None and len(here) == len(there):
                moved[place] = float((here - there).double().square().mean().sqrt())
        known = bool(layers) and all(name in self.weights and name in start.weights for name in layers)
        return {"moved": moved, "weights": tuple(self._fate(start, name) for name in layers) if known else None}

    def _fate(self, start: Whereabouts, layer: str) -> str:
        now, then = self.weights[layer], start.weights[layer]
        return NONE if not now and not then else SAME if now == then else CHANGED

    def state_dict(self) -> dict[str, Any]:
        """State in plain types and tensors, for a checkpoint."""
        return {"samples": dict(self.samples), "weights": dict(self.weights)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Whereabouts:
        """Undo `state_dict`."""
        samples = {name: values.cpu().float() for name, values in state["samples"].items()}
        return cls(samples, {name: str(value) for name, value in state["weights"].items()})
