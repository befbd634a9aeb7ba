"""What one look found: the `Record`, and its JSON and array forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_gw.groups import Groups
from lightning_gw.gw.result import GWMatrix
from lightning_gw.tracking import Event

FloatArray = NDArray[np.float64]

#: Version of the on-disk form; raised whenever a reader of the old one would misread the new one.
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Record:
    """What one look at the network found.

    Attributes:
        step: Trainer global step of the look.
        epoch: Trainer epoch of the look, from 0.
        layers: Names of the layers, ``L`` of them, in depth order.
        gw: Gromov-Wasserstein matrix with bounds, couplings and its identity column.
        groups: Groups of the Gromov-Wasserstein distances.
        groups_paired: Groups of the identity column, the paired measure on the same matrices.
        identities: Lasting identity of each group of `groups`, by group index; empty when there are no groups.
        events: What happened to the groups since the look before.
        growth: ``(L − 1,)`` adjacent distances over their value at the first look of the run.
        measures: Further ``(L, L)`` similarity matrices from the same activations, by name: ``paired_dcor`` (squared
            distance correlation) and ``paired_cka`` (linear CKA).
        probe: How the layers were looked at: ``hash``, ``size``, ``source``, ``pooling`` (plain JSON values).
        metrics: The run's own scalars at this step, such as validation accuracy.
        seconds: Wall-clock seconds this look cost the training.
        notes: What is missing from this record or was done differently, and why, in plain words.
    """

    step: int
    epoch: int
    layers: tuple[str, ...]
    gw: GWMatrix
    groups: Groups
    groups_paired: Groups
    identities: tuple[int, ...]
    events: tuple[Event, ...]
    growth: FloatArray
    measures: Mapping[str, FloatArray]
    probe: Mapping[str, Any]
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line for a terminal: the groups as 1-based layer ranges and how strongly they stand out."""
        if self.groups.strength == "none":
            return "no groups"
        return f"{self.groups.ranges()}  {self.groups.strength}"
