"""What speaks for the groups of one look: how stable they are on this probe, and what a null says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_gw.geometry.geometries import Geometry
from lightning_gw.geometry.spaces import Spaces
from lightning_gw.groups.finding import find_boundaries, find_groups
from lightning_gw.groups.groups import Groups
from lightning_gw.groups.reference import Reference
from lightning_gw.groups.strength import no_stronger_than_stable
from lightning_gw.gw.result import GWMatrix
from lightning_gw.measures.spread import dominant_inputs, dominant_share, effective_rank
from lightning_gw.significance import AdjacentSolver, Null, noise_of_adjacent, resample_distances, stability
from lightning_gw.significance.nulls.boundary_p_values import boundary_p_values
from lightning_gw.utilities.arrays import FloatArray

#: Groups that a null gives with more than this probability are none.
LEVEL = 0.05
#: Networks that a null needs for a p-value that low.
ENOUGH_NETWORKS = round(1 / LEVEL) - 1


@dataclass(frozen=True)
class Tested:
    """What a null says of a look, in plain words and numbers.

    Attributes:
        null: What the networks of the null are, how many and where from; or why there is none.
        p_values: ``(L − 1,)`` p-value of each gap (see `boundary_p_values`); None where there is no test.
    """

    null: str
    p_values: FloatArray | None = None


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
    values = {name: value for name, value in state.items() if name != "trained"}
    solver = AdjacentSolver(geometry, *(values.pop(name) for name in ("effort", "anchor", "seed")))
    values |= {name: values[name].cpu().numpy() for name in ("adjacent", "paired")}
    values |= {name: tuple(values[name]) for name in ("layers", "notes")}
    return Null(solver=solver, **values)


def resampled(
    groups: Groups,
    spaces: Spaces,
    matrix: GWMatrix,
    draws: int,
    seed: int,
    reference: Reference | None = None,
    identity: bool = False,
) -> Groups:
    """The same groups with their stability, the support of every gap and the noise of every adjacent distance.

    Args:
        groups: What was found.
        spaces: Of the layers.
        matrix: The matrix that they were found in.
        draws: Resamples of the probe; 0 leaves the groups as they are.
        seed: Seed of the resamples.
        reference: What the groups were held against, and those of the resamples are.
        identity: Whether they were found in its identity column.
    """
    if draws == 0 or len(groups.labels) - len(matrix.degenerate) < 2:
        return groups
    distances = resample_distances(spaces, matrix, draws, seed, identity)
    found = stability(groups, distances, reference)
    noise = noise_of_adjacent(distances)
    noise[list(groups.sequence_ends)] = np.nan
    return replace(groups, stability=found.returned, support=found.found, noise=noise)


def spread(
    representations: Mapping[str, Tensor],
    spaces: Spaces,
    matrix: GWMatrix | None,
    reference: Reference | None,
    sequence_ends: Sequence[int] = (),
) -> dict[str, Any]:
    """How much of what is seen comes from a few inputs or a few directions, by fields of `Record`.

    Args:
        representations: Layer name to ``(n, d)``.
        spaces: Theirs.
        matrix: What groups were found in, whose matchings are held as found; None where they are not known.
        reference: What the groups were held against.
        sequence_ends: See `find_groups`.
    """
    told: dict[str, Any] = {
        "dominance": dominant_share(representations),
        "effective_rank": effective_rank(representations),
    }
    far = dominant_inputs(representations)
    if matrix is not None and len(far) > 0 and len(matrix.degenerate) + 2 <= len(representations):
        weights = torch.ones(matrix.couplings.shape[-1], dtype=torch.float64)
        weights[far.tolist()] = 0.0
        without = (weights / weights.sum())[None]
        distances = resample_distances(spaces, matrix, weights=without)
        found = find_boundaries(distances, reference, sequence_ends)[0]
        told["without_dominant"] = tuple(np.flatnonzero(found).tolist())
    return told


def tested(representations: Mapping[str, Tensor], null: Null | str, sequence_ends: Sequence[int]) -> Tested:
    """Hold a look, layer name to ``(n, d)``, against a null, or say why there is none; see `find_groups`."""
    if isinstance(null, str):
        return Tested(null)
    if null.samples < ENOUGH_NETWORKS:
        count = (
            "1 network with fresh weights is"
            if null.samples == 1
            else f"{null.samples} networks with fresh weights are"
        )
        few = f"{count} too few for one"
        return Tested(f"none: {few} (null_samples={ENOUGH_NETWORKS} or more are enough)")
    adjacent = null.solver(representations).matched.copy()
    adjacent[list(sequence_ends)] = np.nan
    p_values = boundary_p_values(adjacent, null.adjacent)
    if np.isnan(p_values).all():
        return Tested("none: No p-value: it takes three usable distances between neighbouring layers, so 4 layers.")
    networks = f"{null.samples} {null.kind} networks" + (f" ({null.way})" if null.way else "")
    return Tested(networks, p_values)


def judged(groups: Groups, test: Tested, distances: GWMatrix | FloatArray, reference: Reference | None) -> Groups:
    """The same groups with their p-values, and no stronger than the evidence.

    A boundary that a network which learnt nothing would have too (p > 5 %) is taken back, and what is left is judged
    anew, since its steps are then held against others. A boundary beside a layer that was left out has no p-value: it
    stays, and makes the groups no more than "weak". They are "strong" only if every boundary returned in at least half
    of the probe resamples.

    Args:
        groups: Groups, with their stability where it was measured.
        test: What the null said.
        distances: What they were found in.
        reference: What they were held against.
    """
    if test.p_values is not None:
        groups = _tested(groups, test.p_values, distances, reference)
    return no_stronger_than_stable(groups)


def _tested(
    groups: Groups, p_values: FloatArray, distances: GWMatrix | FloatArray, reference: Reference | None
) -> Groups:
    kept = [k for k in groups.boundaries if not p_values[k] > LEVEL]
    left = groups
    if len(kept) < len(groups.boundaries):
        left = find_groups(distances, reference, sequence_ends=groups.sequence_ends, among=kept)
    at = [groups.boundaries.index(k) for k in left.boundaries]
    untested = any(np.isnan(p_values[k]) for k in left.boundaries)
    return replace(
        groups,
        labels=left.labels,
        boundaries=left.boundaries,
        strength="weak" if untested and left.strength == "strong" else left.strength,
        contrast=left.contrast if kept else groups.contrast,
        stability=None if groups.stability is None else tuple(groups.stability[k] for k in at),
        p_value=float(np.nanmin(p_values)),
        p_values=tuple(float(p_values[k]) for k in left.boundaries),
    )
