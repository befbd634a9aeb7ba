"""What becomes of the activations of one look: matrix, groups, events, growth, put together in a `Record`.

Knows nothing of Lightning: the same records come from live training and from saved checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_gw.groups import MINIMUM_FOR_ROUGHNESS, find_groups, why_no_roughness
from lightning_gw.gw.matrix import gw_matrix
from lightning_gw.gw.plan import PLANS, Effort
from lightning_gw.gw.result import GWMatrix
from lightning_gw.measures import paired_similarities
from lightning_gw.record import Record
from lightning_gw.spaces import Geometry, get_geometry
from lightning_gw.tracking import GroupTracker


class Analysis:
    """Turns representations into records, and remembers from look to look what the next one needs.

    That is: which group is which, the adjacent distances at the first look, which `growth` is measured against, and
    the couplings found last, which the next search starts from.

    Args:
        geometry: See `gw_matrix`.
        effort: See `gw_matrix`.
        warm_start: Whether to start each search from the couplings of the look before.
        seed: Seed of the search.
    """

    def __init__(
        self,
        geometry: str | Geometry = "standardized",
        effort: Effort = "default",
        warm_start: bool = True,
        seed: int = 0,
    ) -> None:
        if effort not in PLANS:
            raise ValueError(f"Unknown effort {effort!r}. Known: {', '.join(PLANS)}.")
        self._geometry = get_geometry(geometry)
        self._effort = effort
        self._warm_start = warm_start
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next look is the first."""
        self._tracker = GroupTracker()
        self._layers: tuple[str, ...] = ()
        self._start: NDArray[np.float64] | None = None
        self._previous: GWMatrix | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the first look; empty before it."""
        return self._layers

    def description(self) -> dict[str, Any]:
        """How the layers are compared, as plain JSON values."""
        geometry = self._geometry.name
        return {"geometry": geometry, "effort": self._effort, "warm_start": self._warm_start, "seed": self._seed}

    def look(
        self,
        representations: Mapping[str, Tensor],
        *,
        step: int,
        epoch: int,
        probe: Mapping[str, Any],
        metrics: Mapping[str, float],
        notes: Sequence[str] = (),
        started: float | None = None,
    ) -> Record:
        """Analyse one look.

        Args:
            representations: Layer name → ``(n, d)``, in depth order; the same layers at every look.
            step: Trainer global step.
            epoch: Trainer epoch, from 0.
            probe: How the layers were looked at, as plain JSON values.
            metrics: The run's own scalars.
            notes: What is missing or different, so far.
            started: ``time.perf_counter()`` when the look began, for its cost.

        Raises:
            ValueError: If the layers are not those of the looks before, or cannot be compared.
        """
        layers = tuple(representations)
        if self._layers and layers != self._layers:
            gone, new = set(self._layers) - set(layers), set(layers) - set(self._layers)
            raise ValueError(
                "The layers are not those of the looks before"
                + (f"; missing: {', '.join(sorted(gone))}" if gone else "")
                + (f"; new: {', '.join(sorted(new))}" if new else "")
                + ("; their order changed" if not gone and not new else "")
                + ". A history follows one set of layers."
            )
        started = time.perf_counter() if started is None else started
        gw = gw_matrix(
            representations,
            geometry=self._geometry,
            effort=self._effort,
            warm_start=self._previous if self._warm_start and self._fits(representations) else None,
            seed=self._seed,
        )
        groups = find_groups(gw)
        start = groups.adjacent if self._start is None else self._start
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = groups.adjacent / start
        notes = [*notes, *(f"Layer {name} is left out: {reason}" for name, reason in gw.degenerate.items())]
        # A network of too few layers has no roughness at any look; the first record says so for all.
        if (lacking := why_no_roughness(groups)) and (not self._layers or len(layers) > MINIMUM_FOR_ROUGHNESS):
            notes.append(lacking)
        record = Record(
            step=step,
            epoch=epoch,
            layers=layers,
            gw=gw,
            groups=groups,
            groups_paired=find_groups(gw.identity_distance),
            identities=(),
            events=(),
            growth=growth,
            measures=paired_similarities(representations),
            probe=probe,
            metrics=metrics,
            notes=tuple(notes),
        )
        # Nothing is remembered before everything that can fail is done: a failed look leaves no trace.
        events = tuple(self._tracker.update(step, groups))
        self._layers, self._start, self._previous = layers, start, gw
        return replace(
            record, events=events, identities=self._tracker.identities, seconds=time.perf_counter() - started
        )

    def _fits(self, representations: Mapping[str, Tensor]) -> bool:
        inputs = {len(x) for x in representations.values()}
        return self._previous is not None and inputs == {self._previous.couplings.shape[-1]}

    def state_dict(self) -> dict[str, Any]:
        """State in plain types and tensors, for a checkpoint that is loaded ``weights_only``."""
        state: dict[str, Any] = {"tracker": self._tracker.state_dict(), "layers": list(self._layers)}
        if self._start is not None:
            state["start"] = torch.from_numpy(self._start.copy())
        if self._previous is not None:
            state["couplings"] = torch.from_numpy(self._previous.couplings.astype(np.int32))
            state["geometry"] = self._previous.geometry
            state["warm_looks"] = self._previous.warm_looks  # when the next search in full is due
            state["degenerate"] = dict(self._previous.degenerate)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        self.reset()
        self._tracker.load_state_dict(state["tracker"])
        self._layers = tuple(state["layers"])
        if "start" in state:
            self._start = state["start"].cpu().numpy().astype(np.float64)
        if "couplings" in state:
            self._previous = _only_couplings(self._layers, state)


def _only_couplings(layers: tuple[str, ...], state: Mapping[str, Any]) -> GWMatrix:
    """A matrix that serves as a warm start: its couplings are known, its values are not and say so as NaN."""
    unknown = np.full((len(layers), len(layers)), np.nan)
    return GWMatrix(
        layers=layers,
        geometry=state["geometry"],
        distortion=unknown,
        lower=unknown,
        identity=unknown,
        couplings=state["couplings"].cpu().numpy().astype(np.int64),
        converged=np.zeros(unknown.shape, dtype=bool),
        degenerate=dict(state["degenerate"]),
        warm_looks=int(state.get("warm_looks", 0)),  # checkpoints made before it was counted lack it
    )
