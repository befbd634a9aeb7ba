"""From what was found for the usable layers to the whole matrix, with the layers that were left out as NaN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_gw.geometry.geometries import GEOMETRIES
from lightning_gw.geometry.spaces import Spaces
from lightning_gw.gw.result import GWMatrix
from lightning_gw.gw.search.pairs import Pairs, Solution
from lightning_gw.gw.search.starts import invert
from lightning_gw.gw.unequal import SOLVER, Plans

#: Geometries between which a result converts exactly.
CONVERTIBLE = (GEOMETRIES["standardized"], GEOMETRIES["euclidean"])


def assemble(
    layers: Sequence[str],
    others: Sequence[str] | None,
    rows: Spaces,
    columns: Spaces | None,
    found: tuple[Pairs, Solution] | Plans,
    anchor: float,
    seconds: float,
) -> GWMatrix:
    """Spread what was found over all layers.

    Args:
        layers: Names of all rows, usable or not.
        others: Names of all columns where they are another set of layers, else None.
        rows: Spaces of the usable rows.
        columns: Spaces of the usable columns, where they are another set.
        found: Permutations of pairs, or transport plans where sizes differ.
        anchor: Weight of the share of inputs moved.
        seconds: Wall-clock seconds.
    """
    names = tuple(layers) if others is None else tuple(others)
    there = rows if columns is None else columns
    place = np.ix_(_positions(layers, rows), _positions(names, there))

    def spread(values: NDArray[Any], missing: Any) -> NDArray[Any]:
        whole = np.full((len(layers), len(names), *values.shape[2:]), missing, dtype=values.dtype)
        whole[place] = values
        return whole

    restricted: NDArray[np.bool_] = ~np.asarray(
        np.logical_and.outer(rows.negative.numpy(), there.negative.numpy())
        | np.logical_and.outer(rows.positive.numpy(), there.positive.numpy())
    )
    if isinstance(found, Plans):
        distortion, lower, couplings, converged = found.distortion, found.lower, found.couplings, found.converged
        identity = np.full(distortion.shape, np.nan)
        restricted[:] = False  # all couplings are searched
        solver, unmatched = SOLVER, np.asarray(np.nan)
    else:
        square = columns is None
        distortion, lower, identity, couplings, converged = _tables(
            *found, (len(rows.layers), len(there.layers)), square
        )
        if square:
            np.fill_diagonal(restricted, False)  # a layer is its own best match
        solver, unmatched = found[1].solver, np.arange(couplings.shape[-1])
    # The conversion asks that diagonals be matched with diagonals, as permutations do and transport plans do not.
    convertible = rows.geometry in CONVERTIBLE and not isinstance(found, Plans)
    return GWMatrix(
        layers=tuple(layers),
        geometry=rows.geometry.name,
        distortion=spread(distortion, np.nan),
        lower=spread(lower, np.nan),
        identity=spread(identity, np.nan),
        couplings=spread(couplings, unmatched),
        converged=spread(converged, False),
        degenerate=dict(rows.degenerate),
        variation=_variation(layers, rows) if convertible else None,
        seconds=seconds,
        solver=solver,
        anchor=anchor,
        other_layers=None if columns is None else names,
        other_degenerate={} if columns is None else dict(columns.degenerate),
        other_variation=_variation(names, columns) if convertible and columns is not None else None,
        restricted=spread(restricted, False),
        unit_scale=rows.geometry.unit_scale,
        warm_looks=0 if isinstance(found, Plans) else found[1].warm_looks,
    )


def _tables(
    pairs: Pairs, solution: Solution, shape: tuple[int, int], square: bool
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Distortion, lower bound, identity, couplings and convergence of all usable rows and columns."""
    n = solution.permutations.shape[1]
    row = pairs.first.cpu().numpy()
    column = pairs.second.cpu().numpy() - (0 if square else shape[0])

    def table(values: Tensor, transposed: Tensor, diagonal: Any) -> NDArray[Any]:
        found = values.cpu().numpy()
        whole = np.empty((*shape, *found.shape[1:]), dtype=found.dtype)
        if square:
            whole[np.arange(shape[0]), np.arange(shape[0])] = diagonal
            whole[column, row] = transposed.cpu().numpy()
        whole[row, column] = found
        return whole

    distortion, lower, identity = (
        table(values, values, 0.0) for values in (solution.distortion, solution.lower, solution.identity)
    )
    couplings = table(solution.permutations, invert(solution.permutations), np.arange(n))
    return distortion, lower, identity, couplings, table(solution.converged, solution.converged, True)


def _positions(names: Sequence[str], spaces: Spaces) -> NDArray[np.int64]:
    """Where the usable layers stand among all."""
    index = {name: k for k, name in enumerate(names)}
    return np.array([index[name] for name in spaces.layers], dtype=np.int64)


def _variation(names: Sequence[str], spaces: Spaces) -> NDArray[np.float64]:
    variation = np.full(len(names), np.nan)
    variation[_positions(names, spaces)] = spaces.variation.cpu().numpy()
    return variation
