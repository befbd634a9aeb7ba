"""Groups of neighbouring layers: where the depth of a network falls into blocks of alike representations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Strength = Literal["none", "weak", "strong"]

#: Exponent on the distances in the modularity cost; 2 emphasises strong contrasts, 1.5 follows weaker structure.
DEFAULT_GAMMA = 2.0
#: A weakest boundary this many times the median distance of the other neighbours is "strong": memorised random labels
#: reached 1.5, rightly split planted nets began at 2.3 (docs/method.md).
STRONG_CONTRAST = 1.8
#: From here on a boundary is at least "weak": untrained nets reached 1.3.
WEAK_CONTRAST = 1.35


@dataclass(frozen=True)
class Groups:
    """Contiguous groups of layers, how strongly they stand out, and how sure one can be.

    Attributes:
        labels: One group index per layer, ascending with depth from 0; −1 for a degenerate layer, which is in no group.
        boundaries: Each ``k`` such that a group ends after the ``k``-th layer (0-based). Empty when `strength` is none.
        adjacent: ``(L − 1,)`` distance from each layer to the next; NaN beside a degenerate layer.
        strength: ``"none"`` (the layers drift smoothly or cannot be told apart), ``"weak"`` or ``"strong"``.
        contrast: Adjacent distance at the weakest proposed boundary over the median of those inside groups;
            NaN where nothing was proposed.
        roughness: Standard deviation of the residuals of log adjacent distance about a quadratic in depth;
            NaN with fewer than 4 usable neighbours.
        proposed: Boundaries the detector proposed before `strength` was judged.
        p_value: p-value of `roughness` against a null, or None where none was computed.
        stability: Per boundary, the share of probe resamples in which it returned, or None where none were drawn.
    """

    labels: tuple[int, ...]
    boundaries: tuple[int, ...]
    adjacent: FloatArray
    strength: Strength
    contrast: float
    roughness: float
    proposed: tuple[int, ...] = ()
    p_value: float | None = None
    stability: tuple[float, ...] | None = None

    @property
    def count(self) -> int:
        """Number of groups; 1 when no boundary stands."""
        return len(self.boundaries) + 1

    def members(self) -> tuple[tuple[int, ...], ...]:
        """Layer indices of every group, in depth order."""
        used = sorted({label for label in self.labels if label >= 0})
        return tuple(tuple(i for i, label in enumerate(self.labels) if label == group) for group in used)

    def ranges(self) -> str:
        """The groups as 1-based layer ranges, such as ``1–2 | 3–6 | 7–9``."""
        return " | ".join(
            f"{group[0] + 1}" if len(group) == 1 else f"{group[0] + 1}–{group[-1] + 1}" for group in self.members()
        )
