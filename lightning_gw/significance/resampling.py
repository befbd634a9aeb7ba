"""How much a matrix owes to the choice of the probe: bootstrap of the inputs with the matchings found already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_gw.geometry.geometries import Geometry
from lightning_gw.geometry.spaces import Spaces, check_representations, make_spaces
from lightning_gw.groups.finding import find_boundaries
from lightning_gw.groups.groups import Groups
from lightning_gw.groups.reference import Reference
from lightning_gw.gw.precision import full_precision
from lightning_gw.gw.result import GWMatrix
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.random_state import usual_defaults

#: Draws looked at for groups are so many over the number of layers, and this many at least: each costs a search for
#: groups, which grows with their number.
DRAWS_TIMES_LAYERS = 5000
FEWEST_DRAWS = 20
#: Working memory for the squared differences of a chunk of pairs.
CHUNK_BYTES = 64 * 2**20


@usual_defaults()
def resample_distances(
    representations: Mapping[str, Tensor] | Spaces,
    matrix: GWMatrix,
    draws: int = 100,
    seed: int = 0,
    paired: bool = False,
    geometry: Geometry | None = None,
    weights: Tensor | None = None,
) -> FloatArray:
    """Distances between all layers as they might have come out on other inputs of the same kind.

    Bayesian bootstrap (Rubin 1981): each draw gives the inputs Dirichlet(1, …, 1) weights ``w``, under which the mean
    of a matrix ``M`` is read as

        (1 − 1/n) Σ_{i≠k} w_i w_k M_ik / (1 − Σ w²) + 1/n Σ_i w_i M_ii ,

    which for equal weights is the plain mean: no input is compared with itself more often than in it. From such means
    of ``A``, ``B[p][:, p]``, their squares and ``(A − B[p][:, p])²`` follows the distortion, where off-diagonal
    centring and the scale are made anew for each draw, as they would be on other inputs. (Double centring stays as
    found.) For equal weights the result is the matrix itself.

    The matchings ``p`` stay as found: what is resampled is the inputs together with their partners, and the draws do
    not show what another search would make of other inputs. The noise of far pairs is overstated by it, since on every
    other probe the search would have found a matching to its liking.

    Args:
        representations: Layer name to ``(n, d)``, those `matrix` was made of, or their spaces.
        matrix: The matrix of one set of layers, whose couplings are read.
        draws: Number of draws.
        seed: Seed of the weights; the global generators are never touched.
        paired: Resample the identity column instead.
        geometry: The matrix's geometry, where it is none of the named ones.
        weights: ``(draws, n)`` weights of the inputs, each row adding up to 1, in place of drawn ones.

    Returns:
        ``(draws, L, L)`` float64 distances; NaN for degenerate layers.

    Raises:
        ValueError: If the matrix is between two sets of layers, or not of these layers and inputs.
    """
    draws = draws if weights is None else len(weights)
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
    weights = (_dirichlet(draws, n, seed) if weights is None else weights.double()).to(spaces.matrices.device)
    rows, columns = place[first.numpy()], place[second.numpy()]
    if paired:
        permutations, anchor = torch.arange(n).repeat(len(first), 1), 0.0
    else:
        permutations = torch.from_numpy(np.asarray(matrix.couplings)[rows, columns].astype(np.int64))
        anchor = matrix.anchor
    with full_precision(), torch.no_grad():
        found = _distortions(spaces, first, second, permutations.to(weights.device), weights)
        if anchor:
            moved = (permutations != torch.arange(n)).to(weights)
            found += anchor * moved @ weights.T
        distances = found.clamp_(min=0).sqrt_().T.cpu().numpy()
    resampled[:, rows, columns] = distances
    resampled[:, columns, rows] = distances
    return resampled


@dataclass(frozen=True)
class Stability:
    """How often the groups found return when the probe is resampled.

    Attributes:
        boundaries: The boundaries, as in `Groups`.
        returned: For each the share of draws in which it returned, at exactly this layer.
        found: ``(L − 1,)`` share of draws in which there was a boundary after each layer, found or not.
        draws: Draws that were looked at.
        asked: Draws there were; more than `draws` where there are many layers.
    """

    boundaries: tuple[int, ...]
    returned: tuple[float, ...]
    found: FloatArray
    draws: int
    asked: int


def stability(groups: Groups, resampled: FloatArray, reference: Reference | None = None) -> Stability:
    """Share of draws in which each boundary returns, at exactly the same layer.

    It is about the noise of the probe alone and says nothing about chance: a boundary of an untrained network may be
    stable. Of boundaries near the threshold the share lies nearer to one half than the share of other probes that show
    them, since draws scatter about an estimate that itself scatters.

    Args:
        groups: What was found, with the default options of `find_groups`.
        resampled: ``(draws, L, L)`` distances from `resample_distances`. Of more than 50 layers only the first ``5000 /
            L`` draws are looked at, and at least 20, so that it stays quick; `Stability.draws` says how many.
        reference: What the groups were held against.

    Raises:
        ValueError: If the numbers of layers differ.
    """
    asked, count = resampled.shape[:2]
    if count != len(groups.labels):
        raise ValueError(f"The groups are of {len(groups.labels)} layers, the resampled distances of {count}.")
    draws = min(asked, max(FEWEST_DRAWS, DRAWS_TIMES_LAYERS // count))
    found = find_boundaries(resampled[:draws], reference, groups.sequence_ends).mean(axis=0)
    returned = tuple(float(found[boundary]) for boundary in groups.boundaries)
    return Stability(groups.boundaries, returned, found, draws, asked)


def noise_of_adjacent(resampled: FloatArray) -> FloatArray:
    """Standard deviation over draws of the log of each adjacent distance.

    A growth of ``g`` since the start is beyond the probe's noise if ``|log g|`` is well above it. Both looks share the
    probe; were their errors independent, the noise of their ratio would be ``√2`` times this, and it is less where they
    err together.

    Args:
        resampled: ``(draws, L, L)`` distances from `resample_distances`.

    Returns:
        ``(L − 1,)``; NaN where a distance is missing or zero.
    """
    count = resampled.shape[1]
    steps = resampled[:, np.arange(count - 1), np.arange(1, count)]
    logs = np.log(np.where(steps > 0, steps, np.nan))
    return np.asarray(logs.std(axis=0))


class _Moments(NamedTuple):
    """Means of matrices and of their squares, off the diagonal and on it, under every draw's weights.

    ``(P, draws)`` each.
    """

    mean: Tensor
    square: Tensor
    diagonal: Tensor
    diagonal_square: Tensor


def _distortions(spaces: Spaces, first: Tensor, second: Tensor, partners: Tensor, weights: Tensor) -> Tensor:
    """``(P, draws)`` distortions of pairs with ``(P, n)`` matchings.

    With ``s`` the scales and ``c`` the second moments after centring, ``c_D`` that of ``D = A − B[p][:, p]``, the mean
    of ``(A / s_A − B / s_B)²`` is ``c_D / (s_A s_B) + (1 / s_A − 1 / s_B) (c_A / s_A − c_B / s_B)``, which keeps all
    digits for layers that are nearly equal.
    """
    n, matrices = weights.shape[1], spaces.matrices
    centring, scale = spaces.geometry.centring, spaces.geometry.scale
    turned = (partners != torch.arange(n, device=partners.device)).any(dim=1).nonzero()[:, 0]
    own, moved, between = _means(matrices, first, second, partners, turned, weights)
    diagonals = matrices.diagonal(dim1=1, dim2=2)
    there = diagonals[second].gather(1, partners)
    all_own = _Moments(own[0], own[1], diagonals @ weights.T, diagonals.square() @ weights.T)
    one, other = _Moments(*(each[first] for each in all_own)), _Moments(*(each[second] for each in all_own))
    off = there[turned]
    for mine, found in zip(other, (*moved, off @ weights.T, off.square() @ weights.T), strict=True):
        mine[turned] = found
    along = (diagonals[first] - there).square() @ weights.T
    if centring == "offdiagonal":
        between = between - (one.mean - other.mean).square()

    def second_moment(moments: _Moments) -> Tensor:
        off = moments.square - moments.mean.square() if centring == "offdiagonal" else moments.square
        return (1 - 1 / n) * off + moments.diagonal_square / n

    def scale_of(moments: _Moments, size: Tensor) -> Tensor:
        if scale == "rms":
            return size.sqrt()
        if scale == "mean" and centring == "none":
            return (1 - 1 / n) * moments.mean + moments.diagonal / n
        return torch.ones_like(size)  # kept as found

    here, away = second_moment(one), second_moment(other)
    s, t = scale_of(one, here), scale_of(other, away)
    return ((1 - 1 / n) * between + along / n) / (s * t) + (1 / s - 1 / t) * (here / s - away / t)


def _means(
    matrices: Tensor, first: Tensor, second: Tensor, partners: Tensor, turned: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted means over pairs of different inputs.

    Every two inputs count once, and what they weigh under all draws is taken once for all matrices, so that each mean
    is part of one matrix product.

    Args:
        matrices: ``(L, n, n)`` spaces.
        first: ``(P,)`` index of the first space ``A`` of each pair.
        second: ``(P,)`` index of the second, ``B``.
        partners: ``(P, n)`` matchings ``p``.
        turned: ``(T,)`` which of them are not the identity.
        weights: ``(draws, n)``.

    Returns:
        ``(2, L, draws)`` of the matrices and of their squares; ``(2, T, draws)`` of ``B[p][:, p]`` and its square;
        ``(P, draws)`` of ``(A − B[p][:, p])²``.
    """
    draws, n = weights.shape
    own, moved = weights.new_zeros(2, len(matrices), draws), weights.new_zeros(2, len(turned), draws)
    between = weights.new_zeros(len(first), draws)
    rows, columns = torch.triu_indices(n, n, 1, device=weights.device)
    flat, everything = matrices.flatten(1), torch.arange(len(rows), device=weights.device)
    is_turned = torch.zeros(len(first), dtype=torch.bool, device=weights.device)
    is_turned[turned] = True
    number = is_turned.cumsum(dim=0) - 1
    for tile in everything.split(max(n, CHUNK_BYTES // (8 * draws))):
        i, k = rows[tile], columns[tile]
        shares = (2 * weights[:, i] * weights[:, k]).T
        here = flat[:, i * n + k]
        own += torch.stack([here @ shares, here.square() @ shares])
        for pairs in torch.arange(len(first), device=weights.device).split(max(1, CHUNK_BYTES // (32 * n * n))):
            there = here[second[pairs]]
            changed = is_turned[pairs]
            for place in changed.nonzero()[:, 0].tolist():
                there[place] = _looked_up(flat[second[pairs[place]]], partners[pairs[place]], i, k)
            between[pairs] += (here[first[pairs]] - there).square_() @ shares
            there = there[changed]
            moved[:, number[pairs[changed]]] += torch.stack([there @ shares, there.square() @ shares])
    others = 1 - weights.square().sum(dim=1)
    return own / others, moved / others, between / others


def _looked_up(matrix: Tensor, p: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Entries ``B[p][:, p][rows, columns]`` of a matrix that lies flat."""
    if matrix.device.type != "cpu":
        return matrix[p[rows] * len(p) + p[columns]]
    order = p.numpy()  # NumPy looks up several times as fast as torch
    return torch.from_numpy(matrix.numpy().take((order * len(p)).take(rows.numpy()) + order.take(columns.numpy())))


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
