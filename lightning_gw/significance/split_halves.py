"""The noise floor of unpaired comparison: how far a layer is from itself, seen on other inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_gw.geometry.geometries import Geometry, get_geometry
from lightning_gw.geometry.spaces import check_representations, make_spaces
from lightning_gw.geometry.validation import MINIMUM_INPUTS
from lightning_gw.gw.precision import full_precision, single_threaded
from lightning_gw.gw.search.effort import PLANS, Effort
from lightning_gw.gw.search.known import Pairs
from lightning_gw.gw.search.pairs import solve_pairs
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.random_state import usual_defaults


@dataclass(frozen=True)
class SplitHalfNoise:
    """Gromov-Wasserstein values between two halves of the probe, layer by layer.

    Attributes:
        layers: Names of the ``L`` layers.
        mean: ``(L,)`` mean over splits of the distortion between a layer on one half and the same layer on the other;
            NaN for a layer that is degenerate on some half.
        deviation: ``(L,)`` standard deviation over splits; NaN with a single split.
        inputs: Inputs in each half.
        splits: Number of splits.
    """

    layers: tuple[str, ...]
    mean: FloatArray
    deviation: FloatArray
    inputs: int
    splits: int

    @property
    def floor(self) -> FloatArray:
        """``(L − 1,)`` distance below which two neighbours, seen on different inputs, are as near as each to itself.

        The square root of the mean of both layers' own distortions.
        """
        return np.asarray(np.sqrt((self.mean[:-1] + self.mean[1:]) / 2))


@usual_defaults()
def split_half_noise(
    representations: Mapping[str, Tensor] | Sequence[Tensor],
    geometry: str | Geometry = "standardized",
    splits: int = 5,
    seed: int = 0,
    effort: Effort = "fast",
) -> SplitHalfNoise:
    """Distortion between the two halves of random splits of the probe, within every layer.

    Both halves are samples of one distribution, so all that parts them is which inputs were drawn, and which matching
    the search found. It is the floor of comparisons on *different* inputs of this number; on the same inputs, where a
    layer is at distance 0 from itself, `resample_distances` tells the noise. Fewer inputs have a higher floor: values
    of halves are not those of the whole probe.

    Args:
        representations: Layer name to ``(n, d)``, or a sequence of them. With an odd ``n`` each split leaves one out.
        geometry: See `gw_matrix`.
        splits: Number of random splits, the same for all layers.
        seed: Seed of splits and search; the global generators are never touched.
        effort: See `gw_matrix`.

    Returns:
        SplitHalfNoise.

    Raises:
        ValueError: For unknown options, or if half the inputs are too few to compare.
    """
    kind = get_geometry(geometry)
    if effort not in PLANS:
        raise ValueError(f"Unknown effort {effort!r}. Known: {', '.join(PLANS)}.")
    if splits < 1:
        raise ValueError(f"splits is {splits}; expected at least 1.")
    layers = check_representations(representations, geometry=kind)
    n = len(next(iter(layers.values())))
    half = n // 2
    if half < MINIMUM_INPUTS:
        raise ValueError(
            f"Half of {n} inputs are {half}, too few to compare; at least {2 * MINIMUM_INPUTS} inputs are needed."
        )
    generator = torch.Generator().manual_seed(seed)
    found = np.stack(
        [_one_split(layers, kind, torch.randperm(n, generator=generator), seed, effort) for _ in range(splits)]
    )
    deviation = found.std(axis=0, ddof=1) if splits > 1 else np.full(len(layers), np.nan)
    return SplitHalfNoise(tuple(layers), found.mean(axis=0), deviation, half, splits)


def _one_split(
    layers: Mapping[str, Tensor], geometry: Geometry, order: Tensor, seed: int, effort: Effort
) -> FloatArray:
    """``(L,)`` distortions between both halves of one split."""
    half = len(order) // 2
    with full_precision(), single_threaded() as threads, torch.no_grad():
        one, other = (
            make_spaces({name: x[part.to(x.device)] for name, x in layers.items()}, geometry)
            for part in (order[:half], order[half : 2 * half])
        )
        usable = [name for name in layers if name in one.layers and name in other.layers]
        values = np.full(len(layers), np.nan)
        if usable:
            device = one.matrices.device
            pairs = Pairs(
                matrices=torch.cat([one.matrices, other.matrices]),
                first=torch.tensor([one.layers.index(name) for name in usable], device=device),
                second=torch.tensor([len(one.layers) + other.layers.index(name) for name in usable], device=device),
                names=tuple((name, name) for name in usable),
            )
            solution = solve_pairs(pairs, effort, None, None, seed, None, 0.0, threads, Ranks(None))
            values[[list(layers).index(name) for name in usable]] = solution.distortion.cpu().numpy()
    return values
