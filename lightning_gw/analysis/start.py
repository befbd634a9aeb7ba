"""The look that a run is held against: its first one, or the first one that was made as all later ones are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from lightning_gw.analysis.whereabouts import Whereabouts
from lightning_gw.groups.reference import Reference
from lightning_gw.gw.result import GWMatrix
from lightning_gw.records.context import LookContext
from lightning_gw.records.record import BEFORE_TRAINING
from lightning_gw.significance import Null
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.text import listed

#: What has to be the same for two looks to be held against each other, and what people call it.
BASIS = {
    "geometry": "geometry",
    "anchor": "anchor",
    "paired": "pairing",
    "hash": "probe",
    "pooling": "pooling",
    "positions": "scale of positions",
    "normalisation": "way that normalisation layers are read",
}


@dataclass(frozen=True)
class Start:
    """The first look of a run.

    Attributes:
        step: Trainer global step.
        distances: ``(L, L)`` distances of the matrix that groups are found in.
        paired: The same of the identity column.
        trained: Why the network had learnt something by then, in words; empty where its weights were fresh.
        basis: How it was made, by the keys of `BASIS`.
        whereabouts: Where its layers were.
    """

    step: int
    distances: FloatArray
    paired: FloatArray
    trained: str = ""
    basis: Mapping[str, Any] = field(default_factory=dict)
    whereabouts: Whereabouts = field(default_factory=Whereabouts)

    @classmethod
    def of(
        cls,
        context: LookContext,
        basis: Mapping[str, Any],
        distances: GWMatrix | FloatArray,
        paired: FloatArray,
        trained: str,
        whereabouts: Whereabouts,
    ) -> Start:
        """A look, as what others are held against.

        Args:
            context: When and how it was made.
            basis: How it was analysed, by keys of `BASIS`.
            distances: What groups are found in.
            paired: The same of the identity column.
            trained: Why the network had learnt something before the run's first look; empty where it had not.
            whereabouts: Where its layers are.
        """
        probe = {key: context.probe[key] for key in BASIS if key in context.probe}
        matrix = distances.distance if isinstance(distances, GWMatrix) else distances
        return cls(context.step, matrix, paired, trained, {**basis, **probe}, whereabouts)

    def unless(self, start: Start | None) -> tuple[Start, tuple[str, ...]]:
        """What this look is held against, itself where it is the first of its kind, and what to say of that.

        Args:
            start: What the looks before were held against; None where there were none.
        """
        differs = [] if start is None else start.differs(self.basis)
        if start is None:
            return self, ()
        if not differs:
            return start, ()
        said = (
            f"From this look on, growth and groups are held against it and no longer against step {start.step}: the "
            f"{listed(differs)} changed."
        )
        return replace(self, trained=f"by step {self.step} it had been trained"), (said,)

    @property
    def adjacent(self) -> FloatArray:
        """``(L − 1,)`` distances from each layer to the next."""
        return self.distances.diagonal(1)

    @property
    def reference(self) -> Reference:
        """What holding against this look alone means."""
        return Reference(self.adjacent[None], self.distances)

    def differs(self, basis: Mapping[str, Any]) -> list[str]:
        """What of another look was made differently, in words; empty where the two can be held against each other."""
        both = [key for key in BASIS if key in self.basis and key in basis]
        return [BASIS[key] for key in both if self.basis[key] != basis[key]]

    def state_dict(self) -> dict[str, Any]:
        """State in plain types and tensors, for a checkpoint."""
        arrays = {name: torch.from_numpy(np.array(getattr(self, name))) for name in ("distances", "paired")}
        plain = {"step": self.step, "trained": self.trained, "basis": dict(self.basis)}
        return {**plain, **arrays, "whereabouts": self.whereabouts.state_dict()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Start:
        """Undo `state_dict`."""
        arrays = {name: state[name].cpu().numpy().astype(np.float64) for name in ("distances", "paired")}
        # Checkpoints made before layers were followed by themselves lack it.
        whereabouts = Whereabouts.from_state(state.get("whereabouts", Whereabouts().state_dict()))
        return cls(
            int(state["step"]),
            **arrays,
            trained=str(state["trained"]),
            basis=dict(state["basis"]),
            whereabouts=whereabouts,
        )


@dataclass(frozen=True)
class Held:
    """What the groups of one look are held against.

    Attributes:
        reference: Steps of networks that learnt nothing, or None where there are none.
        paired: The same for the identity column.
        words: What they are, or why there are none, in words beginning with "none".
    """

    reference: Reference | None
    paired: Reference | None
    words: str

    @classmethod
    def of(cls, start: Start, null: Null | str, first: bool, comparable: bool) -> Held:
        """What there is to hold a look against.

        Args:
            start: What the run began with; of its first look the look itself.
            null: Networks with fresh weights, or why there are none.
            first: Whether this is the run's first look. Before training a network has what its architecture has, so
                that it is held against itself.
            comparable: Whether the null's distances are of the same kind as those that groups are found in.
        """
        rows, paired, words = [], [], []
        if not start.trained:
            rows.append(start.adjacent[None])
            paired.append(start.paired.diagonal(1)[None])
            words.append(BEFORE_TRAINING if first else f"its own first look (step {start.step})")
        if isinstance(null, Null) and comparable and (start.trained or not first):
            rows.append(null.adjacent)
            paired.append(null.paired)
            networks = "network" if null.samples == 1 else "networks"
            words.append(f"{null.samples} {null.kind} {networks}" + (f" ({null.way})" if null.way else ""))
        if not rows:
            return cls(None, None, f"none: {start.trained}, and {_lacking(null)}")
        whole, whole_paired = (None, None) if start.trained else (start.distances, start.paired)
        itself = first and not start.trained
        return cls(
            Reference(np.concatenate(rows), whole, itself),
            Reference(np.concatenate(paired), whole_paired, itself),
            " and ".join(words),
        )


def null_of_layers(null: Null | str, layers: Sequence[str]) -> Null | str:
    """A null, or why it is none for a look of these layers: a network may run through others with other weights."""
    if isinstance(null, Null) and null.layers != tuple(layers):
        return "none: the networks with fresh weights have other layers than this look"
    return null


def _lacking(null: Null | str) -> str:
    if isinstance(null, Null):
        return "the networks with fresh weights were measured otherwise"
    return f"there are no networks with fresh weights ({null.removeprefix('none: ')})"
