"""Every measure and detector on every network of a split: what was found, as rows, and what the rows amount to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.planted.cache import Net
from benchmarks.planted.detectors import CEILING, DETECTORS, SHIPPED, Found
from benchmarks.planted.grid import specification as spec
from benchmarks.planted.measures import (
    MEASURE_NAMES,
    PAIRED_CKA,
    UNPAIRED_GEOMETRIES,
    Distances,
    MatrixCache,
    unpaired_distances,
)
from benchmarks.planted.scores import adjusted_rand_index, boundary_f1, interval

#: Optimizer steps within which a planted shift has to be followed.
FOLLOW_WITHIN = 60


@dataclass(frozen=True)
class Row:
    """One measure and detector on the last look of one network.

    Attributes:
        net: Name.
        architecture: See `Specification`.
        strategy: See `Specification`.
        blocks: Number of planted blocks; 1 for nulls.
        measure: Name.
        detector: Name.
        boundaries: That were found.
        strength: That the detector gave them.
        ari: Adjusted Rand index with the planted groups.
        f1: Boundary F1.
        f1_within_1: Boundary F1 where a boundary may be off by one layer.
        count_found: Whether the number of groups is right.
        seconds: Seconds of processor time of the measure.
    """

    net: str
    architecture: str
    strategy: str
    blocks: int
    measure: str
    detector: str
    boundaries: tuple[int, ...]
    strength: str
    ari: float
    f1: float
    f1_within_1: float
    count_found: bool
    seconds: float


@dataclass(frozen=True)
class ShiftRow:
    """One measure and detector along one planted shift.

    Attributes:
        net: Name.
        architecture: See `Specification`.
        measure: Name.
        detector: Name.
        settled: Step of the first look up to the shift that showed exactly the groups planted first; None if none did.
        spurious: Looks from then up to the shift whose boundaries differ from those of the look before.
        delay: Steps from the shift to the first look that shows exactly the groups planted then; None if none does.
    """

    net: str
    architecture: str
    measure: str
    detector: str
    settled: int | None
    spurious: int
    delay: int | None

    @property
    def followed(self) -> bool:
        """Whether it settled, stayed quiet until the shift, and then followed in time."""
        in_time = self.delay is not None and self.delay <= FOLLOW_WITHIN
        return self.settled is not None and self.spurious == 0 and in_time


def judge(net: Net, measure: str, distances: Distances, untrained: Distances | None = None) -> list[Row]:
    """Rows of every detector for one matrix; none where the measure is undefined for some pair, as SVCCA can be.

    Tables give the number of networks beside each mean, which is lower there.
    """
    start = None if untrained is None else untrained.matrix
    if np.isnan(distances.matrix).any() or (start is not None and np.isnan(start).any()):
        return []
    one = net.specification
    return [
        row_of(net, measure, name, detect(distances.matrix, len(one.boundaries) + 1, start), distances.seconds)
        for name, detect in DETECTORS.items()
        if name != CEILING or one.planted
    ]


def row_of(net: Net, measure: str, detector: str, found: Found, seconds: float) -> Row:
    """How good what was found is."""
    one = net.specification
    truth = one.boundaries
    return Row(
        net=one.name,
        architecture=one.architecture,
        strategy=one.strategy,
        blocks=len(truth) + 1,
        measure=measure,
        detector=detector,
        boundaries=found.boundaries,
        strength=found.strength,
        ari=adjusted_rand_index(found.boundaries, truth, one.layers),
        f1=boundary_f1(found.boundaries, truth),
        f1_within_1=boundary_f1(found.boundaries, truth, tolerance=1),
        count_found=len(found.boundaries) == len(truth),
        seconds=seconds,
    )


def judge_shift(
    net: Net, measure: str, looks: Mapping[int, Distances], untrained: Distances | None = None
) -> list[ShiftRow]:
    """Rows of every detector along a planted shift."""
    blocks = len(net.specification.boundaries) + 1
    start = None if untrained is None else untrained.matrix
    return [
        shift_row_of(net, measure, name, {step: detect(looks[step].matrix, blocks, start).boundaries for step in looks})
        for name, detect in DETECTORS.items()
    ]


def shift_row_of(net: Net, measure: str, detector: str, seen: Mapping[int, tuple[int, ...]]) -> ShiftRow:
    """How well boundaries, by step, follow the planted shift."""
    one, shift = net.specification, int(net.metadata["notes"]["shift_step"])
    seen = dict(sorted(seen.items()))
    settled = next((step for step, found in seen.items() if step <= shift and found == one.boundaries_before), None)
    quiet = [found for step, found in seen.items() if settled is not None and settled <= step <= shift]
    spurious = sum(before != after for before, after in pairwise(quiet))
    delay = next((step - shift for step, found in seen.items() if step >= shift and found == one.boundaries), None)
    return ShiftRow(one.name, one.architecture, measure, detector, settled, spurious, delay)


def evaluate(
    nets: Sequence[Net],
    cache: MatrixCache,
    names: Sequence[str] = MEASURE_NAMES,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[list[Row], list[ShiftRow]]:
    """Every measure and detector on every network.

    Args:
        nets: Networks.
        cache: Where matrices come from.
        names: Measures.
        tell: Called with every network's name before its turn.
    """
    rows: list[Row] = []
    shifts: list[ShiftRow] = []
    for net in nets:
        tell(net.name)
        first, last = min(net.looks), max(net.looks)
        looks = net.looks if net.specification.strategy == spec.SHIFT else {k: net.looks[k] for k in {first, last}}
        found = cache.get(net.path.stem, looks, names)
        for measure in names:
            rows += judge(net, measure, found[last][measure], found[first][measure])
            if net.specification.strategy == spec.SHIFT:
                looked = {step: kept[measure] for step, kept in found.items() if step > 0}
                if not any(np.isnan(look.matrix).any() for look in looked.values()):
                    shifts += judge_shift(net, measure, looked, found[first][measure])
    return rows, shifts


def evaluate_unpaired(nets: Sequence[Net], tell: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Disjoint halves of the probe, on the networks with a head on every layer."""
    rows: list[Row] = []
    for net in nets:
        if net.specification.strategy != spec.EVERY_LAYER or not net.specification.boundaries:
            continue
        tell(net.name)
        for geometry in UNPAIRED_GEOMETRIES:
            for kind, found in unpaired_distances(net.representations, geometry).items():
                rows += judge(net, f"{kind} {geometry}", found)
    return rows


# --- what the rows amount to -------------------------------------------------------------------------------------


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def summarise(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Means over networks, by architecture, strategy, measure and detector; nulls hold rates of false positives."""
    grouped: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.strategy, row.architecture, row.measure, row.detector].append(row)
    return [
        {
            "strategy": strategy,
            "architecture": architecture,
            "measure": measure,
            "detector": detector,
            "nets": len(group),
            "ari": _mean(row.ari for row in group),
            "ari_interval": interval([row.ari for row in group]),
            "f1": _mean(row.f1 for row in group),
            "f1_within_1": _mean(row.f1_within_1 for row in group),
            "count_found": _mean(row.count_found for row in group),
            "called_strong": _mean(row.strength == "strong" for row in group),
            "called_at_least_weak": _mean(row.strength != "none" for row in group),
            "seconds": _mean(row.seconds for row in group),
        }
        for (strategy, architecture, measure, detector), group in grouped.items()
    ]


def summarise_shifts(rows: Sequence[ShiftRow]) -> list[dict[str, Any]]:
    """By measure and detector: how many shifts were followed, with what delay, and events nobody planted."""
    grouped: dict[tuple[str, str], list[ShiftRow]] = defaultdict(list)
    for row in rows:
        grouped[row.measure, row.detector].append(row)
    return [
        {
            "measure": measure,
            "detector": detector,
            "nets": len(group),
            "followed": sum(row.followed for row in group),
            "settled": sum(row.settled is not None for row in group),
            "spurious": sum(row.spurious for row in group),
            "delays": [row.delay for row in group],
        }
        for (measure, detector), group in grouped.items()
    ]


def against_cka(rows: Sequence[Row], detector: str = SHIPPED, strategy: str = spec.EVERY_LAYER) -> list[dict[str, Any]]:
    """Difference in adjusted Rand index to linear CKA on the same networks, with its 95 % interval."""
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row.detector == detector and row.strategy == strategy:
            scores[row.measure][row.net] = row.ari
    reference = scores.pop(PAIRED_CKA, {})
    found = []
    for measure, by_net in scores.items():
        differences = [by_net[net] - reference[net] for net in by_net if net in reference]
        if differences:
            found.append(
                {
                    "measure": measure,
                    "nets": len(differences),
                    "difference": _mean(differences),
                    "interval": interval(differences),
                }
            )
    return found


def plain(rows: Sequence[Row | ShiftRow]) -> list[dict[str, Any]]:
    """Rows as plain values."""
    return [asdict(row) for row in rows]
