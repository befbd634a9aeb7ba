"""What of a record is logged: its numbers and tables, by key.

Keys, which loggers put under ``gw/`` unless another prefix is given:

=========================  ===========================================================================================
``similarity``             picture: every layer against every other, GW above the diagonal, the paired measure below
``timeline``               picture: groups over the steps so far
``groups/count``           number of groups
``groups/strength``        how strongly they stand out: 0 none, 1 weak, 2 strong
``groups/roughness``       unevenness of the adjacent distances; absent where fewer than four are above zero
``groups/p_value``         p-value of the largest step over all gaps; absent where none was computed
``boundary/<k>``           where the k-th boundary stands (k from 1): the number of the layer it comes after, from 1
``events``                 table: all that happened to the groups so far
``matrix``                 table: every pair of layers with value, certified bound and paired measures
``paired/similarity``      mean similarity of the identity coupling over all pairs of different layers
``paired/groups/count``    number of groups of the paired measure
``changed/count``          groups held against the first look alone: what training changed; absent at the first look
``changed/strength``       how strongly they stand out, in the same numbers
``adjacent/<layer>``       distance from a layer to the next, in the matrix its groups were found in
``growth/<layer>``         the same over its value at the first look
``seconds``                what the look cost the training, in seconds
=========================  ===========================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_gw.gw.result import GWMatrix
from lightning_gw.records.record import Record

STRENGTH_NUMBERS = {"none": 0, "weak": 1, "strong": 2}


def record_scalars(record: Record) -> dict[str, float]:
    """Every number of a record that is logged, by its key without prefix, the first to look at first; NaN included."""
    groups, layers = record.groups, record.layers
    scalars: dict[str, float] = {
        "groups/count": groups.count,
        "groups/strength": STRENGTH_NUMBERS[groups.strength],
    }
    if math.isfinite(groups.roughness):  # networks of fewer than five layers have none, which is no news at every look
        scalars["groups/roughness"] = groups.roughness
    if groups.p_value is not None:
        scalars["groups/p_value"] = groups.p_value
    scalars |= {f"boundary/{k}": boundary + 1 for k, boundary in enumerate(groups.boundaries, start=1)}
    if (viewable := similarities_of(record.gw)) is not None:
        pairs = viewable.identity_similarity[np.triu_indices(len(layers), k=1)]
        finite = pairs[np.isfinite(pairs)]
        scalars["paired/similarity"] = float(finite.mean()) if finite.size else math.nan
    scalars["paired/groups/count"] = record.groups_paired.count
    if record.changed is not None:
        scalars["changed/count"] = record.changed.count
        scalars["changed/strength"] = STRENGTH_NUMBERS[record.changed.strength]
    scalars |= {f"adjacent/{layer}": float(value) for layer, value in zip(layers, groups.adjacent, strict=False)}
    scalars |= {f"growth/{layer}": float(value) for layer, value in zip(layers, record.growth, strict=False)}
    scalars["seconds"] = record.seconds
    return scalars


class Table:
    """Rows under named columns; what a cell cannot hold (NaN, infinities) is None."""

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        self.columns = list(columns)
        self.rows = [[None if isinstance(v, float) and not math.isfinite(v) else v for v in row] for row in rows]


def matrix_table(record: Record) -> Table:
    """Every pair of layers once, with its similarity and distance, their certified bounds and the paired measures."""
    gw, viewable = record.gw, similarities_of(record.gw)
    with np.errstate(invalid="ignore"):
        columns: dict[str, NDArray[Any] | None] = {
            "similarity": None if viewable is None else viewable.similarity,
            "similarity_bound": None if viewable is None else viewable.similarity_bound,
            "paired": None if viewable is None else viewable.identity_similarity,
            "distance": gw.distance,
            "distance_bound": np.sqrt(gw.lower),
            "paired_distance": gw.identity_distance,
            "converged": gw.converged,
            **record.measures,
        }
    rows = (
        [record.layers[i], record.layers[j], *(None if c is None else c[i, j].item() for c in columns.values())]
        for i, j in combinations(range(len(record.layers)), 2)
    )
    return Table(["layer_a", "layer_b", *columns], rows)


def events_table(looks: Iterable[Record]) -> Table:
    """All events of the looks, in their order, with 1-based layer numbers in the sentence and names in ``layers``."""
    columns = ["step", "kind", "group", "others", "layers", "boundary_from", "boundary_to", "sentence"]
    rows = [
        [
            event.step,
            event.kind,
            event.group,
            ", ".join(map(str, event.others)),
            ", ".join(record.layers[layer] for layer in event.layers),
            None if event.boundary_from is None else event.boundary_from + 1,
            None if event.boundary_to is None else event.boundary_to + 1,
            event.sentence(),
        ]
        for record in looks
        for event in record.events
    ]
    return Table(columns, rows)


def similarities_of(gw: GWMatrix) -> GWMatrix | None:
    """The matrix in a geometry that has similarities, or None where there is no exact way to one."""
    if gw.unit_scale:
        return gw
    try:
        return gw.to("standardized")
    except ValueError:
        return None
