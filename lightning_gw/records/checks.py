"""Whether a record that was read makes sense: shapes, and numbers that name a layer, an input or a group.

What a line holds by itself, its keys and their types, is checked when it is taken apart (`json_values.from_json`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from lightning_gw.groups.groups import Groups
from lightning_gw.groups.tracking.events import Event

if TYPE_CHECKING:
    from lightning_gw.records.record import Record

#: Layers beyond this many no look compares, and inputs.
MOST = 10**6


def check_record(record: Record) -> None:
    """Refuse a record from a file that names layers, inputs or groups which it does not have.

    Raises:
        ValueError: The message names the part.
    """
    size, gaps = len(record.layers), max(len(record.layers) - 1, 0)
    for name in ("dominance", "effective_rank", "moved", "weights"):
        if (values := getattr(record, name)) is not None and np.shape(values) != (size,):
            raise ValueError(f"{name} has shape {np.shape(values)}, where {size} layers ask for {(size,)}")
    if record.step < 0 or record.epoch < 0:
        raise ValueError(f"step {record.step} and epoch {record.epoch} must be at least 0")
    if not 0 < size <= MOST or len(set(record.layers)) < size:
        raise ValueError(f"it must name layers, each once, and names {size}")
    if unknown := set(record.gw.degenerate) - set(record.layers):
        raise ValueError(f"degenerate names {sorted(unknown)[0]!r}, which is no layer of it")
    inputs = record.gw.couplings.shape[2]
    _within("couplings", record.gw.couplings.ravel(), inputs)
    if any(np.isinf(values).any() for values in (record.gw.distortion, record.gw.lower, record.gw.identity)):
        raise ValueError("a distortion is infinite")
    for name, groups in (("groups", record.groups), ("groups_paired", record.groups_paired)):
        _check_groups(name, groups, size, gaps)
    if record.changed is not None:
        _check_groups("changed", record.changed, size, gaps)
    if len(record.group_ids) not in (0, record.groups.count):
        raise ValueError(f"it has {len(record.group_ids)} identities, where it has {record.groups.count} groups")
    if record.without_dominant is not None:
        _within("without_dominant", record.without_dominant, gaps)
    for event in record.events:
        _check_event(event, size)


def check_shapes(record: Record) -> None:
    """Refuse a record whose arrays and groups are not those of its layers.

    Raises:
        ValueError: The message names the part.
    """
    gw, size, gaps = record.gw, len(record.layers), max(len(record.layers) - 1, 0)
    square = {"distortion": gw.distortion, "lower": gw.lower, "identity": gw.identity, "converged": gw.converged}
    square |= {f"measures/{name}": values for name, values in record.measures.items()}
    if gw.restricted is not None:
        square["restricted"] = gw.restricted
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    shapes = {name: (values.shape, (size, size)) for name, values in square.items()}
    shapes["couplings"] = (gw.couplings.shape, (size, size, *gw.couplings.shape[2:3]))
    if gw.variation is not None:
        shapes["variation"] = (gw.variation.shape, (size,))
    for name, groups in (("groups", record.groups), ("groups_paired", record.groups_paired)):
        shapes[f"{name}.labels"] = ((len(groups.labels),), (size,))
        shapes[f"{name}.adjacent"] = (groups.adjacent.shape, (gaps,))
    shapes["growth"] = (record.growth.shape, (gaps,))
    for name, (found, expected) in shapes.items():
        if found != expected:
            raise ValueError(f"{name} has shape {found}, where {size} layers ask for {expected}")


def _check_groups(name: str, groups: Groups, size: int, gaps: int) -> None:
    along = {"adjacent": groups.adjacent, "support": groups.support, "noise": groups.noise, "excess": groups.excess}
    for what, values in along.items():
        if values is not None and values.shape != (gaps,):
            raise ValueError(f"{name}.{what} has shape {values.shape}, where {size} layers ask for {(gaps,)}")
    if np.isinf(groups.adjacent).any() or (groups.adjacent < 0).any():
        raise ValueError(f"{name}.adjacent holds what is no distance")
    if len(groups.labels) != size:
        raise ValueError(f"{name}.labels has shape {(len(groups.labels),)}, where {size} layers ask for {(size,)}")
    _within(f"{name}.labels", groups.labels, size, lowest=-1)
    for what in ("boundaries", "proposed", "built_in", "unreferenced", "sequence_ends"):
        _within(f"{name}.{what}", getattr(groups, what), gaps)
    for what, each in (("stability", groups.stability), ("p_values", groups.p_values)):
        if each is not None and len(each) != len(groups.boundaries):
            raise ValueError(
                f"{name}.{what} has {len(each)} values, where there are {len(groups.boundaries)} boundaries"
            )
    if groups.reference < 0:
        raise ValueError(f"{name}.reference is {groups.reference}, which is no number of networks")


def _check_event(event: Event, size: int) -> None:
    if not event.layers:
        raise ValueError(f"an event of kind {event.kind} names no layers")
    _within("events.layers", event.layers, size)
    _within("events.group", (event.group, *event.others), MOST, lowest=-1)
    moved = (event.boundary_from, event.boundary_to)
    if event.kind == "boundary_moved" and None in moved:
        raise ValueError("an event says that a boundary moved, and not from where to where")
    _within("events.boundary", [at for at in moved if at is not None], size)
    if event.kind == "growth" and len(event.factors) != len(event.layers):
        raise ValueError(f"an event of growth has {len(event.factors)} factors for {len(event.layers)} layers")


def _within(name: str, values: Iterable[int], count: int, lowest: int = 0) -> None:
    """Refuse whole numbers below `lowest`, and those from `count` on."""
    found = np.asarray(tuple(values) if not isinstance(values, np.ndarray) else values)
    if found.size and not (lowest <= found.min() and found.max() < count):
        raise ValueError(f"{name} holds {found.min()} to {found.max()}, where {lowest} to {count - 1} was expected")
