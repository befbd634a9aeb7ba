"""How looks are analysed, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightning_gw.geometry.spaces import Geometry, get_geometry
from lightning_gw.gw.search.effort import PLANS, Effort
from lightning_gw.measures import MEASURES
from lightning_gw.measures.catalogue import ANCHOR as ANCHOR

#: Similarity measures of the same activations that every record holds unless others are asked for.
MEASURES_KEPT = ("paired_dcor", "paired_cka", "debiased_cka")
#: Resamples of the probe behind stability and noise.
BOOTSTRAP_SAMPLES = 100


@dataclass(frozen=True)
class AnalysisConfig:
    """How representations become a record.

    Attributes:
        geometry: See `gw_matrix`.
        effort: See `gw_matrix`.
        warm_start: Whether to start each search from the couplings of the look before.
        seed: Seed of the search.
        anchor: Groups are found in the matrix of anchored Gromov-Wasserstein with this weight (see `gw_matrix`); 0
            finds them in the plain one, which the record's matrix always is.
        paired: False finds groups as if every layer had seen other inputs (see `unpaired_gw_matrix`), and then
            `anchor` has no part in it and is 0.
        measures: Names of `measures.MEASURES`: similarities that the record holds beside Gromov-Wasserstein.
        bootstrap_samples: Resamples of the probe, from which stability and noise are told; 0 leaves them out.

    Raises:
        ValueError: If one of them is unknown or out of range; the message names it.
    """

    geometry: str | Geometry = "standardized"
    effort: Effort = "default"
    warm_start: bool = True
    seed: int = 0
    anchor: float = ANCHOR
    paired: bool = True
    measures: tuple[str, ...] = MEASURES_KEPT
    bootstrap_samples: int = BOOTSTRAP_SAMPLES

    def __post_init__(self) -> None:
        if self.effort not in PLANS:
            raise ValueError(f"Unknown effort {self.effort!r}. Known: {', '.join(PLANS)}.")
        if not 0 <= self.anchor < float("inf"):
            raise ValueError(f"anchor={self.anchor} must be a finite number that is not negative.")
        if self.bootstrap_samples < 0:
            raise ValueError(f"bootstrap_samples={self.bootstrap_samples} must not be negative.")
        for name in self.measures:
            if name not in MEASURES or MEASURES[name].direction != "similarity":
                known = [known for known, measure in MEASURES.items() if measure.direction == "similarity"]
                raise ValueError(f"Unknown similarity measure {name!r}. Known: {', '.join(known)}.")
        get_geometry(self.geometry)
        object.__setattr__(self, "measures", tuple(self.measures))
        object.__setattr__(self, "anchor", self.anchor if self.paired else 0.0)

    @property
    def comparing(self) -> dict[str, Any]:
        """How neighbouring layers are compared, for a null that is to be measured alike."""
        return {"geometry": get_geometry(self.geometry), "anchor": self.anchor, "seed": self.seed}

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values, a geometry by its name."""
        return {**vars(self), "geometry": get_geometry(self.geometry).name, "measures": list(self.measures)}
