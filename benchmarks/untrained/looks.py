"""What the layers of an untrained network show, as the callback would see it; kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from benchmarks.untrained import language, vision
from lightning_gw import gw_matrix
from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.activations.reading.capture import capture
from lightning_gw.activations.running.forward import call_forward
from lightning_gw.activations.running.normalisation import normalised_widths, read_by_the_probe, unsettled_layers
from lightning_gw.activations.running.settle import settle
from lightning_gw.analysis import ANCHOR
from lightning_gw.significance import AdjacentSolver
from lightning_gw.utilities.arrays import FloatArray

CACHE = Path(__file__).parents[2] / "runs/benchmarks/untrained"
Split = Literal["development", "set aside"]
#: Seeds of the initial weights are these and what follows.
FIRST_SEED = 1000


@dataclass(frozen=True)
class Untrained:
    """One network.

    Attributes:
        name: Of the architecture.
        seed: Of its weights, from 0.
        distances: ``(L, L)`` anchored distances, as a look finds them.
        adjacent: ``(L − 1,)`` those of neighbours, as a null measures them.
        widths: ``(L,)`` features of each layer.
    """

    name: str
    seed: int
    distances: FloatArray
    adjacent: FloatArray
    widths: NDArray[np.int64]


def names(split: Split) -> list[str]:
    """Every other architecture is set aside, so that each split holds all kinds."""
    every = [*vision.NAMES, *language.MODELS]
    return every[::2] if split == "development" else every[1::2]


def representations(network: nn.Module, batch: Any) -> dict[str, Tensor]:
    """Layer to ``(n, d)``, by the steps and the defaults of `GWSimilarity`."""

    def run(item: Any) -> Any:
        return call_forward(network, item)

    with undisturbed(network):
        settled = settle(network, batch, run)
        read_by_the_probe(network, unsettled_layers(network), [batch], run)
        layers = settled.choice.layers
        widths = normalised_widths(network)
        seen = capture(network, layers, [batch], run, optional=True, scaled_widths=widths, how=settled.how)
    return {name: seen.representations[name] for name in layers if name in seen.representations}


def look(name: str, seed: int, batches: Mapping[str, Any], folder: Path = CACHE) -> Untrained:
    """One network, from the cache where it is there.

    Args:
        name: Of the architecture.
        seed: Of its weights.
        batches: ``"images"`` and ``"texts"``.
        folder: The cache.
    """
    path = folder / f"{name.replace(', ', '-').replace(' ', '_')}-{seed}.safetensors"
    if not path.exists():
        seen_by = "texts" if name in language.MODELS else "images"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(FIRST_SEED + seed)
            network = language.build(name) if seen_by == "texts" else vision.build(name)
        seen = representations(network, batches[seen_by])
        solved = gw_matrix(seen, effort="fast", anchor=ANCHOR, bounds=None)
        kept = {
            "distances": solved.distance,
            "adjacent": AdjacentSolver("standardized", "fast", ANCHOR)(seen).matched,
            "widths": np.array([x.shape[1] for x in seen.values()]),
        }
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        save_file({key: np.ascontiguousarray(values) for key, values in kept.items()}, unfinished)
        unfinished.replace(path)
    return Untrained(name, seed, **load_file(path))
