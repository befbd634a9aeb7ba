"""What a checkpoint keeps of the matrices found last, so that the next search starts from their couplings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lightning_gw.gw.drift import Drift
from lightning_gw.gw.result import GWMatrix


def warm_start_state(plain: GWMatrix, anchored: GWMatrix) -> dict[str, Any]:
    """Couplings and how far layers moved since each pair was searched, in plain types and tensors.

    Args:
        plain: The matrix found last.
        anchored: That which groups were found in.
    """
    state: dict[str, Any] = {
        "couplings": torch.from_numpy(plain.couplings.astype(np.int32)),
        "anchored": torch.from_numpy(anchored.couplings.astype(np.int32)),
        "anchor": anchored.anchor,
        "geometry": plain.geometry,
        "warm_looks": plain.warm_looks,  # whose turn it is to be searched again
        "degenerate": dict(plain.degenerate),
        # What holds on for layers that stand still.
        "lower": torch.from_numpy(plain.lower),
        "converged": torch.from_numpy(plain.converged),
        "anchored_converged": torch.from_numpy(anchored.converged),
    }
    for name, matrix in (("drift", plain), ("anchored_drift", anchored)):
        if matrix.drift is not None:
            state[name] = matrix.drift.state_dict()
    return state


def warm_start_from_state(layers: tuple[str, ...], state: Mapping[str, Any]) -> tuple[GWMatrix | None, GWMatrix | None]:
    """Both matrices, as far as a search that starts from them asks for; None where the state lacks one."""
    plain = _only_couplings(layers, state, "couplings", 0.0) if "couplings" in state else None
    # Checkpoints made before groups were found in the anchored matrix lack it.
    anchored = _only_couplings(layers, state, "anchored", float(state["anchor"])) if "anchored" in state else None
    return plain, anchored


def _only_couplings(layers: tuple[str, ...], state: Mapping[str, Any], key: str, anchor: float) -> GWMatrix:
    """A matrix that serves as a warm start: its couplings are known, its values are not and say so as NaN.

    Checkpoints made before what holds on for layers that stand still was kept lack bounds and convergence.
    """
    unknown = np.full((len(layers), len(layers)), np.nan)
    drift = {"couplings": "drift", "anchored": "anchored_drift"}[key]
    converged = {"couplings": "converged", "anchored": "anchored_converged"}[key]
    bounded = key == "couplings" and "lower" in state
    return GWMatrix(
        layers=layers,
        geometry=state["geometry"],
        distortion=unknown,
        lower=state["lower"].cpu().numpy() if bounded else unknown,
        identity=unknown,
        couplings=state[key].cpu().numpy().astype(np.int64),
        converged=state[converged].cpu().numpy() if converged in state else np.zeros(unknown.shape, dtype=bool),
        degenerate=dict(state["degenerate"]),
        anchor=anchor,
        # Checkpoints made before these were counted and followed lack them.
        warm_looks=int(state.get("warm_looks", 0)),
        drift=Drift.from_state(state[drift]) if drift in state else None,
    )
