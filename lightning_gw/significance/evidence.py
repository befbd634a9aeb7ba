"""What speaks for the groups of one look: how stable they are on this probe, and what a null says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lightning_gw.geometry.geometries import Geometry
from lightning_gw.groups.groups import Groups
from lightning_gw.gw.result import GWMatrix
from lightning_gw.significance import AdjacentSolver, Null, noise_of_adjacent, resample_distances, stability

#: Groups that a null gives with more than this probability are none.
LEVEL = 0.05
#: A boundary that returns in fewer probe resamples than this is no strong one.
STABLE = 0.5


@dataclass(frozen=True)
class Tested:
    """The null that a look was held against, in plain words and numbers.

    Attributes:
        null: What the networks of the null are, how many and where from; or why there is none.
        p_value: p-value of roughness; None where there is none.
        notes: What the test leaves out.
    """

    null: str
    p_value: float | None = None
    notes: tuple[str, ...] = ()


def null_state(null: Null | str) -> dict[str, Any]:
    """A null, or why there is none, in plain types and tensors, for a checkpoint or another process."""
    if isinstance(null, str):
        return {"reason": null}
    arrays = {name: torch.from_numpy(getattr(null, name).copy()) for name in ("adjacent", "paired")}
    solver = {name: getattr(null.solver, name) for name in ("effort", "anchor", "seed")}
    plainly = {name: getattr(null, name) for name in ("kind", "asked", "way", "seconds", "key")}
    return {**plainly, **arrays, **solver, "layers": list(null.layers), "notes": list(null.notes)}


def null_from_state(state: Mapping[str, Any], geometry: Geometry) -> Null | str:
    """Undo `null_state`, with the geometry that the null was made in, which a checkpoint cannot hold."""
    if "reason" in state:
        return str(state["reason"])
    values = dict(state)
    solver = AdjacentSolver(geometry, *(values.pop(name) for name in ("effort", "anchor", "seed")))
    values |= {name: values[name].cpu().numpy() for name in ("adjacent", "paired")}
    values |= {name: tuple(values[name]) for name in ("layers", "notes")}
    return Null(solver=solver, **values)


def resampled(
    groups: Groups,
    representations: Mapping[str, Tensor],
    matrix: GWMatrix,
    draws: int,
    seed: int,
    geometry: Geometry,
    paired: bool = False,
) -> Groups:
    """The same groups with their stability, the support of every gap and the noise of every adjacent distance.

    Args are those of `resample_distances`; 0 draws leave the groups as they are.
    """
    if draws == 0 or len(groups.labels) - len(matrix.degenerate) < 2:
        return groups
    distances = resample_distances(representations, matrix, draws, seed, paired, geometry)
    found = stability(groups, distances)
    return replace(groups, stability=found.returned, support=found.found, noise=noise_of_adjacent(distances))


def tested(representations: Mapping[str, Tensor], null: Null | str) -> Tested:
    """Hold a look, layer name to ``(n, d)``, against a null, or say why there is none."""
    if isinstance(null, str):
        return Tested(null)
    said = null.test(representations)
    networks = f"{null.samples} {null.kind} networks" + (f" ({null.way})" if null.way else "")
    if said.value is None:
        return Tested(f"none: {said.reason}")
    return Tested(networks, said.value, (said.reason,) if said.reason else ())


def judged(groups: Groups, p_value: float | None) -> Groups:
    """The same groups with the p-value, and no stronger than the evidence.

    Groups whose roughness is what the null gives too (p > 5 %) are taken back. They are "strong" only if every boundary
    returned in at least half of the probe resamples. Without a test the p-value is None.
    """
    if p_value is not None and p_value > LEVEL and groups.strength != "none":
        stability = None if groups.stability is None else ()
        labels = tuple(min(label, 0) for label in groups.labels)
        return replace(groups, labels=labels, boundaries=(), strength="none", p_value=p_value, stability=stability)
    unstable = groups.stability is not None and min(groups.stability, default=1.0) < STABLE
    weakened = groups.strength == "strong" and unstable
    return replace(groups, p_value=p_value, strength="weak" if weakened else groups.strength)
