"""Groups as a run reports them: anchored, resampled, held against fresh networks, and followed from look to look."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from benchmarks.planted.cache import Net
from benchmarks.planted.detectors import SHIPPED, Found
from benchmarks.planted.evaluation import Row, ShiftRow, row_of, shift_row_of
from benchmarks.planted.grid import specification as spec
from benchmarks.planted.grid.training import untrained_look
from lightning_gw import Groups, GroupTracker, find_groups, gw_matrix
from lightning_gw.analysis import ANCHOR, BOOTSTRAP_SAMPLES
from lightning_gw.analysis.start import Held, Start
from lightning_gw.callback.look.run_null import FEW
from lightning_gw.geometry.spaces import make_spaces
from lightning_gw.groups.tracking.events import Event
from lightning_gw.significance import Null, null_of
from lightning_gw.significance.evidence import judged, resampled, tested

GEOMETRY = "standardized"
#: How its rows are called, among those of `find_groups` by measure.
AS_SHIPPED = "as shipped"
#: Networks with fresh weights beside the first look; as many as a run takes unless it is told how many.
NULL_SAMPLES = FEW
#: Seeds of fresh weights, apart from those of all networks.
FIRST_SEED = 10_000


@dataclass(frozen=True)
class Shipped:
    """What a run would have reported of one network.

    Attributes:
        groups: Step to groups, with p-value and stability.
        events: Step of the look that told it to what it told.
        steady: Step to the boundaries of the steadied picture that events are told of.
        seconds: Seconds of processor time of the last look, without the null.
        null_seconds: Seconds of processor time of the null.
    """

    groups: Mapping[int, Groups]
    events: Mapping[int, tuple[Event, ...]]
    steady: Mapping[int, tuple[int, ...]]
    seconds: float
    null_seconds: float


def fresh_null(net: Net, samples: int = NULL_SAMPLES) -> Null:
    """Networks of the same architecture and depth with fresh weights, on the same probe inputs."""
    looks = [untrained_look(net.specification, FIRST_SEED + k) for k in range(samples)]
    return null_of("re-initialised", looks, geometry=GEOMETRY, anchor=ANCHOR)


def as_shipped(net: Net, samples: int = NULL_SAMPLES) -> Shipped:
    """Look at a network as a run does.

    Args:
        net: The network, with all its looks.
        samples: Networks of the null; 0 for none.
    """
    started = time.process_time()
    null: Null | str = fresh_null(net, samples) if samples else "none: no null was asked for"
    null_seconds = time.process_time() - started
    tracker = GroupTracker()
    begun: Start | None = None
    groups: dict[int, Groups] = {}
    events: dict[int, tuple[Event, ...]] = {}
    steady: dict[int, tuple[int, ...]] = {}
    for step in sorted(net.looks):
        started = time.process_time()
        groups[step], begun = look(net.looks[step], step, begun, null)
        events[step] = tuple(tracker.update(step, groups[step]))
        ends = sorted(layers[-1] for layers in tracker.steady.values())
        steady[step] = tuple(ends[:-1])
    return Shipped(groups, events, steady, time.process_time() - started, null_seconds)


def look(
    representations: Mapping[str, Tensor], step: int, begun: Start | None, null: Null | str
) -> tuple[Groups, Start]:
    """Groups of one look with their evidence, and the first look of the run, which is this one where there was none."""
    matrix = gw_matrix(representations, geometry=GEOMETRY, effort="fast", bounds=None, anchor=ANCHOR)
    start = begun or Start(step, matrix.distance, matrix.identity_distance)
    reference = Held.of(start, null, first=begun is None, comparable=True).reference
    found = find_groups(matrix, reference)
    groups = resampled(found, make_spaces(representations, GEOMETRY), matrix, BOOTSTRAP_SAMPLES, 0, reference)
    return judged(groups, tested(representations, null, ()), matrix, reference), start


def evaluate_shipped(
    nets: Sequence[Net], tell: Callable[[str], None] = lambda _: None, samples: int = NULL_SAMPLES
) -> tuple[list[Row], list[ShiftRow]]:
    """Rows of what runs would have reported, for the last look of each network and along planted shifts.

    Along a shift the boundaries are those of the steadied picture, and every change of it is an event that was told.
    """
    rows: list[Row] = []
    shifts: list[ShiftRow] = []
    for net in nets:
        tell(net.name)
        one = net.specification
        moving = one.strategy == spec.SHIFT
        last = max(net.looks)
        looks = {step: look for step, look in net.looks.items() if moving or step in (min(net.looks), last)}
        found = as_shipped(replace(net, looks=looks), samples)
        groups = found.groups[last]
        rows.append(
            row_of(net, AS_SHIPPED, SHIPPED, Found(groups.boundaries, groups.strength), found.seconds / len(looks))
        )
        if moving:
            shifts.append(shift_row_of(net, AS_SHIPPED, SHIPPED, {k: v for k, v in found.steady.items() if k > 0}))
    return rows, shifts
