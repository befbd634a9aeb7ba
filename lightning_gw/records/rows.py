"""What was found as rows of plain values: pairs of layers, layers, looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_gw.groups.groups import Groups
from lightning_gw.gw.result import GWMatrix
from lightning_gw.records.record import Record

Row = dict[str, Any]


def similarities_of(gw: GWMatrix) -> GWMatrix | None:
    """The matrix in a geometry that has similarities, or None where there is no exact way to one."""
    if gw.unit_scale:
        return gw
    try:
        return gw.to("standardized")
    except ValueError:
        return None


def pair_rows(
    gw: GWMatrix, measures: Mapping[str, NDArray[np.float64]] | None = None, diagonal: bool = False
) -> list[Row]:
    """Every pair of layers once, with similarity and distance, their certified bounds and the paired measures.

    Args:
        gw: The matrix; of one between two sets of layers every row with every column.
        measures: Further matrices of the same layers, by name.
        diagonal: Whether there is also every layer with itself.
    """
    viewable = similarities_of(gw)
    with np.errstate(invalid="ignore"):
        columns: dict[str, NDArray[Any] | None] = {
            "similarity": None if viewable is None else viewable.similarity,
            "similarity_bound": None if viewable is None else viewable.similarity_bound,
            "paired": None if viewable is None else viewable.identity_similarity,
            "distance": gw.distance,
            "distance_bound": np.sqrt(gw.lower),
            "paired_distance": gw.identity_distance,
            "converged": gw.converged,
            **(measures or {}),
        }
    rows, others = len(gw.layers), len(gw.columns)
    pairs = ((i, j) for i in range(rows) for j in range(0 if gw.other_layers else i + (not diagonal), others))
    return [
        {
            "layer_a": gw.layers[i],
            "layer_b": gw.columns[j],
            "place_a": i + 1,
            "place_b": j + 1,
            **{name: None if values is None else values[i, j].item() for name, values in columns.items()},
        }
        for i, j in pairs
    ]


def layer_rows(
    groups: Groups,
    layers: Sequence[str] = (),
    growth: NDArray[np.float64] | None = None,
    moved: NDArray[np.float64] | None = None,
    weights: Sequence[str] | None = None,
) -> list[Row]:
    """Every layer with its group and the distance to the next one.

    Args:
        groups: The groups.
        layers: Names of the layers; without them there is no such column.
        growth: ``(L − 1,)`` distances over those of the first look.
        moved: ``(L,)`` how far each layer came since the first look; see `Record`.
        weights: Of each layer, what became of its weights; see `Record`.
    """
    stability = dict(zip(groups.boundaries, groups.stability or (), strict=False))
    rows = []
    for layer, label in enumerate(groups.labels):
        last = layer == len(groups.labels) - 1
        rows.append(
            {
                "layer": layer + 1,
                **({"name": layers[layer]} if layers else {}),
                "group": label + 1 if label >= 0 and groups.strength != "none" else None,
                "boundary_after": layer in groups.boundaries,
                "sequence_ends_after": layer in groups.sequence_ends,
                "stability": stability.get(layer),
                "distance_to_next": None if last else float(groups.adjacent[layer]),
                **({} if growth is None else {"growth": None if last else float(growth[layer])}),
                **({} if moved is None else {"moved": float(moved[layer])}),
                **({} if weights is None else {"weights": weights[layer]}),
            }
        )
    return rows


def look_rows(history: Iterable[Record]) -> list[Row]:
    """Every look with what it found and the run's own metrics then, under ``metrics/`` where a name is taken."""
    rows = []
    for record in history:
        own: Row = {
            "step": record.step,
            "epoch": record.epoch,
            "groups": 0 if record.groups.strength == "none" else record.groups.count,
            "strength": record.groups.strength,
            "ranges": "" if record.groups.strength == "none" else record.groups.ranges(),
            "boundaries": [boundary + 1 for boundary in record.groups.boundaries],
            "paired_boundaries": [boundary + 1 for boundary in record.groups_paired.boundaries],
            "p_value": record.groups.p_value,
            "stability": min(record.groups.stability, default=None) if record.groups.stability else None,
            "seconds": record.seconds,
        }
        metrics = {f"metrics/{name}" if name in own else name: value for name, value in record.metrics.items()}
        rows.append(own | metrics)
    return rows
