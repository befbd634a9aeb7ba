"""How far layers moved since pairs of them were last searched: what decides which pairs are searched again.

A layer that is the same to the bit, as those below all trained ones are in fine-tuning, stands still: what is known of
two such layers holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.distributed import digest

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
        digests: What tells each layer's space from any other; empty where that was not kept.
        still: ``(L,)`` whether each layer's space is, to the bit, what it was at the earlier time.
    """

    layers: tuple[str, ...]
    samples: Tensor
    since: FloatArray
    digests: tuple[str, ...] = ()
    still: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    @staticmethod
    def of(layers: Sequence[str], spaces: Tensor, matrices: Tensor, before: Drift | None) -> Drift:
        """Moved on from an earlier time; infinite between layers new since then.

        Args:
            layers: Their names, ``L`` of them.
            spaces: ``(L, n, n)`` float64, of which values are taken.
            matrices: ``(L, n, n)`` float32, in which is searched.
            before: What was known at the earlier time, or None.
        """
        samples, digests = sampled(matrices).cpu(), tuple(digest(space) for space in spaces)
        earlier = {} if before is None else dict(zip(before.layers, before.digests, strict=False))
        still = np.array([earlier.get(name) == now for name, now in zip(layers, digests, strict=True)], dtype=bool)
        since = np.full((len(layers), len(layers)), np.inf)
        if before is not None and before.samples.shape[1] == samples.shape[1]:
            place = {name: k for k, name in enumerate(before.layers)}
            known = [k for k, name in enumerate(layers) if name in place]
            old = [place[layers[k]] for k in known]
            steps = (samples[known] - before.samples[old]).double().square().mean(dim=1).sqrt().numpy()
            since[np.ix_(known, known)] = before.since[np.ix_(old, old)] + np.add.outer(steps, steps)
        return Drift(tuple(layers), samples, since, digests, still)

    def searched(self, first: Tensor, second: Tensor) -> Drift:
        """After these pairs of layers were searched."""
        since, i, j = self.since.copy(), first.cpu().numpy(), second.cpu().numpy()
        since[i, j] = since[j, i] = 0.0
        return replace(self, since=since)

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors, for a checkpoint."""
        return {
            "layers": list(self.layers),
            "samples": self.samples,
            "since": torch.from_numpy(self.since),
            "digests": list(self.digests),
        }

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> Drift:
        """Undo `state_dict`."""
        since = state["since"].cpu().numpy().astype(np.float64)
        # Checkpoints made before layers that stand still were told from others lack the digests.
        return Drift(tuple(state["layers"]), state["samples"].cpu().float(), since, tuple(state.get("digests", ())))


def sampled(matrices: Tensor) -> Tensor:
    """``(L, S)`` the same off-diagonal entries of each of ``(L, n, n)`` symmetric matrices; all of them where few."""
    n = matrices.shape[-1]
    rows, columns = torch.triu_indices(n, n, 1)
    if len(rows) > SAMPLES:
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:SAMPLES].sort().values
        rows, columns = rows[chosen], columns[chosen]
    return matrices[:, rows.to(matrices.device), columns.to(matrices.device)].float()
