"""How much a matrix owes to the choice of the probe: bootstrap of the inputs with the matchings found already."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_gw.geometries import Geometry
from lightning_gw.groups import Groups, find_groups
from lightning_gw.gw.precision import full_precision
from lightning_gw.gw.result import GWMatrix
from lightning_gw.gw.search import permute_both
from lightning_gw.spaces import Spaces, check_representations, make_spaces

FloatArray = NDArray[np.float64]

#: Working memory for the squared differences of a chunk of pairs.
CHUNK_BYTES = 64 * 2**20


def resample_distances(
    representations: Mapping[str, Tensor] | Spaces,
    matrix: GWMatrix,
    draws: int = 100,
    seed: int = 0,
    paired: bool = False,
    geometry: Geometry | None = None,
) -> FloatArray:
    """Distances between all layers as they might have come out on other inputs of the same kind.

    Bayesian bootstrap (Rubin 1981): each draw gives the inputs Dirichlet(1, …, 1) weights ``w`` and reads every
    distortion anew,

        (1 − 1/n) Σ_{i≠k} w_i w_k R_ik / (1 − Σ w²) + 1/n Σ_i w_i R_ii,    R = (A − B[p][:, p])²,

    which for equal weights is the distortion itself: an input is never compared with itself more often than in it. All
    draws of a pair are one matrix product.

    The matchings ``p`` and the spaces' centring and scale stay as found: what is resampled is the inputs together with
    their partners. The draws therefore show the noise of the mean over inputs, not what another search would make of
    other inputs.

    Args:
        representations: Layer name to ``(n, d)``, those `matrix` was made of, or their spaces.
        matrix: The matrix of one set of layers, whose couplings are read.
        draws: Number of draws.
        seed: Seed of the weights; the global generators are never touched.
        paired: Resample the identity column instead.
        geometry: The matrix's geometry, where it is none of the named ones.

    Returns:
        ``(draws, L, L)`` float64 distances; NaN for degenerate layers.

    Raises:
        ValueError: If the matrix is between two sets of layers, or not of these layers and inputs.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; expected at least 1.")
    if matrix.other_layers is not None:
        raise ValueError("The matrix is between two sets of layers; resampling reads the matrix of one set.")
    spaces = representations if isinstance(representations, Spaces) else _spaces(representations, matrix, geometry)
    names = tuple(name for name in matrix.layers if name not in matrix.degenerate)
    n = spaces.matrices.shape[-1]
    if spaces.layers != names or n != matrix.couplings.shape[-1] or spaces.geometry.name != matrix.geometry:
        raise ValueError(
            f"The matrix has usable layers {', '.join(names)} on {matrix.couplings.shape[-1]} inputs under geometry "
            f"{matrix.geometry!r}; the representations have {', '.join(spaces.layers)} on {n} under "
            f"{spaces.geometry.name!r}. Pass what the matrix was made of."
        )
    count = len(matrix.layers)
    resampled = np.full((draws, count, count), np.nan)
    place = np.array([matrix.layers.index(name) for name in names], dtype=np.int64)
    resampled[:, place, place] = 0.0
    if len(names) < 2:
        return resampled
    first, second = torch.triu_indices(len(names), len(names), 1)
    weights = _dirichlet(draws, n, seed).to(spaces.matrices.device)
    in_place = torch.arange(n).repeat(len(first), 1)
    if paired:
        permutations = in_place
    else:
        rows, columns = place[first.numpy()], place[second.numpy()]
        permutations = torch.from_numpy(np.asarray(matrix.couplings)[rows, columns].astype(np.int64))
    anchor = 0.0 if paired else matrix.anchor
    with full_precision(), torch.no_grad():
        size = max(1, CHUNK_BYTES // (8 * n * n))
        found = []
        for chunk in torch.arange(len(first)).split(size):
            partner = permutations[chunk].to(weights.device)
            a, b = spaces.matrices[first[chunk]], spaces.matrices[second[chunk]]
            values = _weighted((a - permute_both(b, partner)).square_(), weights)
            if anchor:
                moved = (partner != torch.arange(n, device=partner.device)).to(weights.dtype)
                values += anchor * moved @ weights.T
            found.append(values)
        distances = torch.cat(found).clamp_(min=0).sqrt_().T.cpu().numpy()
    resampled[:, place[first.numpy()], place[second.numpy()]] = distances
    resampled[:, place[second.numpy()], place[first.numpy()]] = distances
    return resampled


@dataclass(frozen=True)
class Stability:
    """How often the groups found return when the probe is resampled.

    Attributes:
        boundaries: The boundaries, as in `Groups`.
        returned: For each the share of draws in which it returned, at exactly this layer.
        found: ``(L − 1,)`` share of draws in which there was a boundary after each layer, found or not.
        draws: Draws that were looked at.
        asked: Draws there were; more than `draws` where time ran out.
    """

    boundaries: tuple[int, ...]
    returned: tuple[float, ...]
    found: FloatArray
    draws: int
    asked: int


def stability(groups: Groups, resampled: FloatArray, time_limit: float | None = 0.3) -> Stability:
    """Share of draws in which each boundary returns, at exactly the same layer.

    It is about the noise of the probe alone and says nothing about chance: a boundary of an untrained network may be
    stable.

    Args:
        groups: What was found.
        resampled: ``(draws, L, L)`` distances from `resample_distances`.
        time_limit: Seconds after which no further draw is looked at, for many layers; None for no limit. At least one
            is looked at.

    Raises:
        ValueError: If the numbers of layers differ.
    """
    draws, count = resampled.shape[:2]
    if count != len(groups.labels):
        raise ValueError(f"The groups are of {len(groups.labels)} layers, the resampled distances of {count}.")
    started = time.perf_counter()
    seen = np.zeros(max(count - 1, 0))
    done = 0
    for distances in resampled:
        for boundary in find_groups(distances).boundaries:
            seen[boundary] += 1
        done += 1
        if time_limit is not None and time.perf_counter() - started > time_limit:
            break
    found = seen / max(done, 1)
    returned = tuple(float(found[boundary]) for boundary in groups.boundaries)
    return Stability(groups.boundaries, returned, found, done, draws)


def noise_of_adjacent(resampled: FloatArray) -> FloatArray:
    """Standard deviation over draws of the log of each adjacent distance.

    A growth of ``g`` since the start is beyond the probe's noise if ``|log g|`` is well above it. Both looks share the
    probe, so that the noise of their ratio is at most ``√2`` times this for independent errors, and less as they agree.

    Args:
        resampled: ``(draws, L, L)`` distances from `resample_distances`.

    Returns:
        ``(L − 1,)``; NaN where a distance is missing or zero.
    """
    count = resampled.shape[1]
    steps = resampled[:, np.arange(count - 1), np.arange(1, count)]
    logs = np.log(np.where(steps > 0, steps, np.nan))
    return np.asarray(logs.std(axis=0))


def _weighted(residuals: Tensor, weights: Tensor) -> Tensor:
    """``(P, n, n)`` squared differences under ``(draws, n)`` weights: ``(P, draws)`` distortions."""
    n = residuals.shape[-1]
    diagonals = residuals.diagonal(dim1=1, dim2=2)
    own = weights.square()
    total = torch.stack([((weights @ each) * weights).sum(dim=1) for each in residuals])
    apart = (total - diagonals @ own.T) / (1 - own.sum(dim=1))
    return (1 - 1 / n) * apart + diagonals @ weights.T / n


def _dirichlet(draws: int, n: int, seed: int) -> Tensor:
    """``(draws, n)`` float64 weights, each row adding up to 1."""
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(n), size=draws))


def _spaces(representations: Mapping[str, Tensor], matrix: GWMatrix, geometry: Geometry | None) -> Spaces:
    kind: str | Geometry = matrix.geometry if geometry is None else geometry
    layers = check_representations(representations)
    if tuple(layers) != matrix.layers:
        raise ValueError(
            f"The matrix is of the layers {', '.join(matrix.layers)}; got {', '.join(layers)}. Pass the "
            "representations that it was made of."
        )
    with full_precision(), torch.no_grad():
        return make_spaces(layers, kind)
