"""Distances between a network's layers under every measure that is judged, computed once per network and kept."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import lightning_gw
from lightning_gw import gw_matrix
from lightning_gw.gw.search.effort import Effort
from lightning_gw.measures import layer_similarities, unpaired_gw_matrix

FloatArray = NDArray[np.float64]

#: Gromov-Wasserstein measures: name to (geometry, anchor).
GW_MEASURES: Mapping[str, tuple[str, float]] = {
    "gw standardized": ("standardized", 0.0),
    "gw standardized, anchor .1": ("standardized", 0.1),
    "gw standardized, anchor .4": ("standardized", 0.4),
    "gw standardized, anchor .8": ("standardized", 0.8),
    "gw dcor": ("dcor", 0.0),
    "gw dcor, anchor .4": ("dcor", 0.4),
    "gw cka": ("cka", 0.0),
    "gw cka, anchor .4": ("cka", 0.4),
}
#: Read from the couplings of another measure.
EUCLIDEAN = "gw euclidean"
#: Measures that match inputs to themselves: name to key of `lightning_gw.measures.MEASURES`. The first three are the
#: identity columns of the geometries standardized, dcor and cka.
CATALOGUE: Mapping[str, str] = {
    "paired rsa": "paired_rsa",
    "paired dcor": "paired_dcor",
    "paired cka": "paired_cka",
    "debiased cka": "debiased_cka",
    "procrustes": "procrustes",
    "svcca": "svcca",
}
PAIRED_CKA = "paired cka"
MEASURE_NAMES = (*GW_MEASURES, EUCLIDEAN, *CATALOGUE)
UNPAIRED_GEOMETRIES = ("standardized", "cka")
UNPAIRED_SPLITS = 4


@dataclass(frozen=True)
class Distances:
    """One measure of one look at one network.

    Attributes:
        matrix: ``(L, L)`` distances: lower is closer. Of similarities ``sqrt(2 (1 − similarity))``.
        seconds: Seconds of processor time it took.
    """

    matrix: FloatArray
    seconds: float


def solver_digest() -> str:
    """SHA-256 of the sources that values depend on."""
    state = hashlib.sha256()
    package = Path(lightning_gw.__file__).parent
    for path in sorted(
        [*package.glob("gw/**/*.py"), *package.glob("measures/*.py"), package / "geometry/geometries.py"]
    ):
        state.update(path.read_bytes())
    return state.hexdigest()[:16]


def distances(
    representations: Mapping[str, Tensor], names: Sequence[str] = MEASURE_NAMES, effort: Effort = "fast"
) -> dict[str, Distances]:
    """Every measure of one look.

    Args:
        representations: Layer to ``(n, d)``.
        names: Of `MEASURE_NAMES`; others that come without cost may come along.
        effort: Of the search; see `gw_matrix`.

    Returns:
        Name to distances.
    """
    found: dict[str, Distances] = {}
    for name, (geometry, anchor) in GW_MEASURES.items():
        euclidean = geometry == "standardized" and anchor == 0 and EUCLIDEAN in names
        if name not in names and not euclidean:
            continue
        started = time.process_time()
        solved = gw_matrix(representations, geometry=geometry, effort=effort, anchor=anchor, bounds=None)
        seconds = time.process_time() - started
        found[name] = Distances(solved.distance, seconds)
        if euclidean:
            found[EUCLIDEAN] = Distances(solved.to("euclidean").distance, seconds)
    for name, key in CATALOGUE.items():
        if name in names:
            started = time.process_time()
            similarity = layer_similarities(representations, [key])[key]
            seconds = time.process_time() - started
            found[name] = Distances(np.sqrt(2 * np.clip(1 - similarity, 0, None)), seconds)
    return found


def unpaired_distances(
    representations: Mapping[str, Tensor], geometry: str, effort: Effort = "fast", splits: int = UNPAIRED_SPLITS
) -> dict[str, Distances]:
    """Layers seen on disjoint halves of the probe, debiased: by Gromov-Wasserstein, and with rows paired as they come.

    Args:
        representations: Layer to ``(n, d)``.
        geometry: See `gw_matrix`.
        effort: Of the search.
        splits: How often halves are drawn.

    Returns:
        ``"gw"`` and ``"identity"``: the same comparison with the best coupling found and with the identity coupling,
        which pairs inputs that have nothing to do with each other.
    """
    started = time.process_time()
    free = unpaired_gw_matrix(representations, geometry=geometry, effort=effort, splits=splits)
    seconds = time.process_time() - started
    generator = torch.Generator().manual_seed(0)
    n = len(next(iter(representations.values())))
    drawn = []
    for _ in range(splits):
        order = torch.randperm(n, generator=generator)
        first, second = order[: n // 2], order[n // 2 : 2 * (n // 2)]
        one, other = ({name: x[half] for name, x in representations.items()} for half in (first, second))
        drawn.append(gw_matrix(one, other, geometry=geometry, effort="fast", bounds=None).identity)
    between = np.mean([(values + values.T) / 2 for values in drawn], axis=0)
    within = np.diag(between)
    debiased = between - (within[:, None] + within[None, :]) / 2
    return {
        "gw": Distances(np.sqrt(np.clip(free.debiased, 0, None)), seconds),
        "identity": Distances(np.sqrt(np.clip(debiased, 0, None)), 0.0),
    }


class MatrixCache:
    """Distances kept on disk, one file per network and effort.

    Args:
        folder: Where.
        effort: Of the search.
        fresh: Do not use what other versions of the solver computed. Otherwise it is used, and `stale` counts it.
    """

    def __init__(self, folder: Path, effort: Effort, fresh: bool = False) -> None:
        self.folder = folder
        self.effort = effort
        self.fresh = fresh
        self.stale = 0
        self.solver = solver_digest()

    def get(self, key: str, looks: Mapping[int, Mapping[str, Tensor]], names: Sequence[str]) -> dict[int, Any]:
        """Distances of every look of one network.

        Args:
            key: Name of the network's file, which changes with its training.
            looks: Step to representations.
            names: Of `MEASURE_NAMES`.

        Returns:
            Step to name to `Distances`.
        """
        path = self.folder / f"{key}-{self.effort.replace(' ', '_')}.json"
        held: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"solver": self.solver, "looks": {}}
        if held["solver"] != self.solver:
            if self.fresh:
                held = {"solver": self.solver, "looks": {}}
            else:
                self.stale += 1
        changed = False
        for step, look in looks.items():
            kept = held["looks"].setdefault(str(step), {})
            missing = [name for name in names if name not in kept]
            if missing:
                found = distances(look, missing, self.effort)
                kept |= {name: [one.matrix.tolist(), one.seconds] for name, one in found.items() if name in missing}
                changed = True
        if changed:
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            unfinished.write_text(json.dumps(held))
            unfinished.replace(path)
        return {
            step: {name: Distances(np.array(kept[0]), kept[1]) for name, kept in held["looks"][str(step)].items()}
            for step in looks
        }
