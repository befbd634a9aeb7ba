"""What of a record is logged: its numbers and tables, by key.

Keys, which loggers put under ``gw/`` unless another prefix is given:

=========================  ===========================================================================================
``similarity``             picture: every layer against every other, GW above the diagonal, the paired measure below
``timeline``               picture: groups over the steps so far
``groups/count``           number of groups; 0 where none stand out
``groups/strength``        how strongly they stand out: 0 none, 1 weak, 2 strong; the word itself in W&B
``groups/roughness``       unevenness of the adjacent distances; absent where fewer than four are above zero
``groups/p_value``         p-value of the largest step over all gaps; absent where none was computed
``boundary/<k>``           where the k-th boundary stands (k from 1): the number of the layer it comes after, from 1
``events``                 table: all that happened to the groups so far
``matrix``                 table: every pair of layers with value, certified bound and paired measures; of evenly
                           spread layers where they are more than 140
``paired/similarity``      mean similarity of the identity coupling over all pairs of different layers
``paired/groups/count``    number of groups of the paired measure, likewise
``changed/count``          groups held against the first look alone: what training changed; absent at the first look
``changed/strength``       how strongly they stand out, in the same numbers
``adjacent/<layer>``       distance from a layer to the next, in the matrix its groups were found in; in W&B only where
                           asked for: its charts ``adjacent`` and ``growth`` hold them all
``growth/<layer>``         the same over its value at the first look, likewise
``layers``                 table (W&B): every layer at every look, of evenly spread looks where they are too many, with
                           its group and its distance to the next
``answer``                 W&B's summary: the run's answer in words; ``page`` is its whole page, and an artifact of type
                           ``gw-history`` holds the records
``seconds``                what the look cost the training, in seconds
=========================  ===========================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lightning_gw.groups.groups import Groups
from lightning_gw.records.record import Record
from lightning_gw.records.rows import layer_rows, pair_rows, similarities_of
from lightning_gw.utilities.text import bare_names, short_names

STRENGTH_NUMBERS = {"none": 0, "weak": 1, "strong": 2}


def record_scalars(record: Record) -> dict[str, float]:
    """Every number of a record that is logged, by its key without prefix, the first to look at first; NaN included."""
    groups, layers = record.groups, record.layers
    scalars: dict[str, float] = {
        "groups/count": _standing(groups),
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
    scalars["paired/groups/count"] = _standing(record.groups_paired)
    if record.changed is not None:
        scalars["changed/count"] = _standing(record.changed)
        scalars["changed/strength"] = STRENGTH_NUMBERS[record.changed.strength]
    scalars["seconds"] = record.seconds
    return scalars


def layer_scalars(record: Record) -> dict[str, float]:
    """Two numbers a layer, by key without prefix: the distance to the next one, and its growth; NaN included."""
    names = bare_names(record.layers)
    scalars = {f"adjacent/{name}": float(value) for name, value in zip(names, record.groups.adjacent, strict=False)}
    return scalars | {f"growth/{name}": float(value) for name, value in zip(names, record.growth, strict=False)}


def _standing(groups: Groups) -> int:
    """Number of groups; 0 where none stand out, since what is no group is not to be counted as one."""
    return 0 if groups.strength == "none" else groups.count


class Table:
    """Rows under named columns; what a cell cannot hold (NaN, infinities) is None."""

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        self.columns = list(columns)
        self.rows = [[None if isinstance(v, float) and not math.isfinite(v) else v for v in row] for row in rows]


def matrix_table(record: Record, every: int = 1) -> Table:
    """Every pair of layers once, and every layer with itself: similarity, distance, bounds and the paired measures.

    ``place_a`` and ``place_b`` are the layers' numbers from 1, ``found`` the similarity in the matrix that the groups
    were found in, and ``group`` the lasting number of the group that holds both layers, from 1; empty where none does.
    ``sequence_ends_after`` marks, on the diagonal, layers that the next one does not follow.

    Args:
        record: The look.
        every: Of so many layers in a row only the first is taken.
    """
    groups = _group_numbers(record)
    above = None if similarities_of(record.gw) is None else record.measures.get(record.found_in)
    rows = []
    for row in pair_rows(record.gw, record.measures, diagonal=True):
        a, b = row["place_a"] - 1, row["place_b"] - 1
        if a % every or b % every:
            continue
        row["found"] = row["similarity"] if above is None else float(above[a, b])
        row["group"] = groups[a] if groups[a] == groups[b] else None
        row["sequence_ends_after"] = a == b and a in record.groups.sequence_ends
        rows.append(row)
    return Table(list(rows[0]), (list(row.values()) for row in rows))


def layers_table(looks: Sequence[Record]) -> Table:
    """Every layer at every look: its group, and its distance to the next layer, now and over that at the first look.

    ``start`` and ``end`` are the steps between which the look stands for the network, halfway to its neighbours.
    """
    steps = [look.step for look in looks]
    edges = [steps[0], *((one + other) / 2 for one, other in pairwise(steps))]
    edges.append(steps[-1] + (steps[-1] - edges[-1] if len(steps) > 1 else 1))
    rows = []
    for look, (start, end) in zip(looks, pairwise(edges), strict=True):
        names, groups = bare_names(look.layers), _group_numbers(look)
        for row in layer_rows(look.groups, names, look.growth):
            row["group"] = groups[row["layer"] - 1]
            rows.append({"step": look.step, "start": start, "end": end, "strength": look.groups.strength, **row})
    return Table(list(rows[0]), (list(row.values()) for row in rows))


def _group_numbers(record: Record) -> list[int | None]:
    """The lasting number of each layer's group, from 1; None where it is in none or none stand out."""
    ids = record.group_ids or tuple(range(record.groups.count))
    standing = record.groups.strength != "none"
    return [ids[label] + 1 if label >= 0 and standing else None for label in record.groups.labels]


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
            event.sentence(short_names(record.layers)),
        ]
        for record in looks
        for event in record.events
    ]
    return Table(columns, rows)
