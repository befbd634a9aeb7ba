"""How far layers moved since pairs of them were last searched: what decides which pairs are searched again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_gw.utilities.arrays import FloatArray

#: Entries of each layer's matrix that are kept: their mean square tells that of all to about a twentieth.
SAMPLES = 1024


@dataclass(frozen=True, eq=False)
class Drift:
    """Where layers are, and how far each two of them came since their pair was last searched.

    A layer's step from one look to the next is the root mean square change of its search matrix, whose own is 1; of it
    a fixed sample of entries is kept and compared. Steps add up, so that a layer which returns counts as moved.

    Attributes:
        layers: Names of ``L`` layers.
        samples: ``(L, S)`` float32 entries.
        since: ``(L, L)`` sum of both layers' steps since their pair was last searched.
    """

    layers: tuple[str, ...]
    samples: Tensor
    since: FloatArray

    @staticmethod
    def of(layers: Sequence[str], matrices: Tensor, before: Drift | None) -> Drift:
        """Of ``(L, n, n)`` search matrices, moved on from an earlier time; infinite between layers new since then."""
        samples = sampled(matrices).cpu()
        since = np.full((len(layers), len(layers)), np.inf)
        if before is not None and before.samples.shape[1] == samples.shape[1]:
            place = {name: k for k, name in enumerate(before.layers)}
            known = [k for k, name in enumerate(layers) if name in place]
            old = [place[layers[k]] for k in known]
            steps = (samples[known] - before.samples[old]).double().square().mean(dim=1).sqrt().numpy()
            since[np.ix_(known, known)] = before.since[np.ix_(old, old)] + np.add.outer(steps, steps)
        return Drift(tuple(layers), samples, since)

    def searched(self, first: Tensor, second: Tensor) -> Drift:
        """After these pairs of layers were searched."""
        since, i, j = self.since.copy(), first.cpu().numpy(), second.cpu().numpy()
        since[i, j] = since[j, i] = 0.0
        return Drift(self.layers, self.samples, since)

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors, for a checkpoint."""
        return {"layers": list(self.layers), "samples": self.samples, "since": torch.from_numpy(self.since)}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> Drift:
        """Undo `state_dict`."""
        since = state["since"].cpu().numpy().astype(np.float64)
        return Drift(tuple(state["layers"]), state["samples"].cpu().float(), since)


def sampled(matrices: Tensor) -> Tensor:
    """``(L, S)`` the same off-diagonal entries of each of ``(L, n, n)`` symmetric matrices; all of them where few."""
    n = matrices.shape[-1]
    rows, columns = torch.triu_indices(n, n, 1)
    if len(rows) > SAMPLES:
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:SAMPLES].sort().values
        rows, columns = rows[chosen], columns[chosen]
    return matrices[:, rows.to(matrices.device), columns.to(matrices.device)].float()
