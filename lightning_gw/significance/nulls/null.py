"""What adjacent distances look like in networks that learnt nothing: the nulls that roughness is held against."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor, nn

from lightning_gw.geometry.geometries import Geometry
from lightning_gw.groups.groups import Groups
from lightning_gw.gw.search.effort import Effort
from lightning_gw.significance.nulls.adjacent import AdjacentSolver
from lightning_gw.significance.nulls.cache import key_of, read_rows, write_rows
from lightning_gw.significance.nulls.p_values import PValue, Statistic, p_value
from lightning_gw.significance.nulls.reinitialise import Reinitialiser
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.progress import Progress, counted
from lightning_gw.utilities.random_state import isolated_randomness

Represent = Callable[[nn.Module], Mapping[str, Tensor]]

#: How near the first stored row has to come to the same row made now.
SAME_ROW = 1e-4


@dataclass(frozen=True)
class Null:
    """Adjacent distances of networks that learnt nothing, or not what is claimed.

    Attributes:
        kind: What the networks are: ``"re-initialised"``, ``"trained on shuffled labels"``, ….
        layers: Names of the ``L`` layers.
        adjacent: ``(M, L − 1)`` Gromov-Wasserstein distances from each layer to the next.
        paired: ``(M, L − 1)`` those of the identity coupling.
        solver: How they were measured; what is tested has to be measured alike.
        asked: Networks asked for; more than ``M`` where time ran out.
        way: Where the networks come from, in words.
        notes: What is missing or different, in words.
        seconds: Wall-clock seconds it took.
        key: What it is stored under; empty where it is not stored.
    """

    kind: str
    layers: tuple[str, ...]
    adjacent: FloatArray
    paired: FloatArray
    solver: AdjacentSolver
    asked: int
    way: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    key: str = ""

    @property
    def samples(self) -> int:
        """Number of networks, M."""
        return len(self.adjacent)

    def test(
        self, representations: Mapping[str, Tensor], statistic: Statistic = "roughness", paired: bool = False
    ) -> PValue:
        """Measure a network as those of the null were measured, and test it.

        Args:
            representations: Layer name to ``(n, d)``, the null's layers on the null's probe.
            statistic: See `p_value` of `statistics`. Name one beforehand; the smaller of two p-values is none.
            paired: Test the identity column.

        Raises:
            ValueError: If the layers are not those of the null.
        """
        if tuple(representations) != self.layers:
            raise ValueError(
                f"The null is of the layers {', '.join(self.layers)}; got {', '.join(representations)}. Make the null "
                "with the same layers."
            )
        found = self.solver(representations)
        return self.p_value(found.paired if paired else found.matched, statistic, paired)

    def p_value(self, adjacent: Groups | ArrayLike, statistic: Statistic = "roughness", paired: bool = False) -> PValue:
        """Test adjacent distances that are known already.

        They are comparable only if they were measured as the null's were, which a whole matrix is not (see
        `AdjacentSolver`); `test` takes care of that. Paired distances are no search and always comparable.

        Args:
            adjacent: ``(L − 1,)`` adjacent distances, or the `Groups` that hold them.
            statistic: See `test`.
            paired: Whether they are of the identity column.
        """
        distances = adjacent.adjacent if isinstance(adjacent, Groups) else adjacent
        return p_value(distances, self.paired if paired else self.adjacent, statistic)


def reinitialisation_null(
    module: nn.Module,
    represent: Represent,
    samples: int = 99,
    *,
    geometry: str | Geometry = "standardized",
    effort: Effort = "fast",
    anchor: float = 0.0,
    seed: int = 0,
    build: Callable[[], nn.Module] | Reinitialiser | None = None,
    time_limit: float | None = None,
    cache: str | os.PathLike[str] | None = None,
    probe: str = "",
    progress: Progress | Literal[False] | None = None,
) -> Null:
    """Adjacent distances in networks of the same architecture with fresh weights, on the same probe.

    Every architecture has a profile of its own before it has learnt anything; what training adds has to stand out from
    what fresh weights give. Of each network only neighbouring layers are compared. The module and all global random
    states stay as they are.

    For networks that begin pre-trained this is no null of their start: ask `looks_pretrained` first.

    Args:
        module: The live network.
        represent: Gives the pooled representations of the probe in a network like it, layer name to ``(n, d)``; always
            the same layers. Called once per network, with the global random state seeded.
        samples: Networks, M. The least p-value there can be is ``1 / (M + 1)``.
        geometry: See `gw_matrix`, likewise `effort` and `anchor`.
        effort: Work per pair.
        anchor: Weight of the share of inputs not matched to themselves.
        seed: Seed of weights and search. The k-th network is the same whatever `samples` is.
        build: Returns a fresh network, where none can be had otherwise; or a `Reinitialiser` of this module.
        time_limit: Seconds after which no further network is begun; M is then what was done, and a note says so.
        cache: Folder where nulls are kept, by architecture, probe and options. What is there is taken up, after its
            first network was made once more and found to be the same, and added to where more are asked for.
        probe: Hash of the probe inputs, part of what a stored null is found by.
        progress: Called with (networks done, networks asked for). None shows a bar where that takes longer than two
            seconds, in a terminal or a notebook; False shows nothing.

    Returns:
        Null.

    Raises:
        ValueError: If there are no fresh weights to be had, or `represent` gives changing layers.
    """
    started = time.perf_counter()
    if samples < 1:
        raise ValueError(f"samples is {samples}; expected at least 1 network.")
    solver = AdjacentSolver(geometry, effort, anchor, seed)
    fresh = build if isinstance(build, Reinitialiser) else Reinitialiser(module, build)
    notes = list(fresh.notes)
    layers: tuple[str, ...] = ()
    inputs = 0

    def row(k: int) -> FloatArray:
        nonlocal layers, inputs
        own = int(np.random.SeedSequence([seed, k]).generate_state(1)[0])
        with isolated_randomness(own):
            representations = represent(fresh.draw(own))
        names = tuple(representations)
        if layers and names != layers:
            raise ValueError(
                f"represent gave the layers {', '.join(layers)} for one network and {', '.join(names)} for another of "
                "the same architecture; a null needs the same layers of all."
            )
        layers, inputs = names, len(next(iter(representations.values()), ()))
        return np.stack(solver(representations))

    rows = [row(0)]
    key, description, stored = "", {}, 0
    if cache is not None:
        description = _description(module, fresh.way, solver, layers, inputs, probe)
        key = key_of(description)
        known, note = read_rows(cache, key)
        if known is not None and known.shape[1:] == rows[0].shape:
            if np.allclose(known[0], rows[0], rtol=SAME_ROW, atol=0, equal_nan=True):
                rows = [rows[0], *known[1:]]
                stored = len(known)
            else:
                note = "The stored null came out differently now, so code or settings have changed; made anew."
        notes += [note] if note else []
    with counted("Networks with fresh weights", progress) as moved:
        moved(min(len(rows), samples), samples)
        while len(rows) < samples:
            if time_limit is not None and time.perf_counter() - started > time_limit:
                notes.append(f"The null has {len(rows)} of {samples} networks: time ran out after {time_limit:g} s.")
                break
            rows.append(row(len(rows)))
            moved(len(rows), samples)
    if cache is not None and len(rows) > stored and (note := write_rows(cache, key, np.stack(rows), description)):
        notes.append(note)
    table = np.stack(rows[:samples])
    return Null(
        kind="re-initialised",
        layers=layers,
        adjacent=table[:, 0],
        paired=table[:, 1],
        solver=solver,
        asked=samples,
        way=fresh.way,
        notes=tuple(notes),
        seconds=time.perf_counter() - started,
        key=key,
    )


def null_of(
    kind: str,
    networks: Sequence[Mapping[str, Tensor]],
    *,
    geometry: str | Geometry = "standardized",
    effort: Effort = "fast",
    anchor: float = 0.0,
    seed: int = 0,
) -> Null:
    """A null of networks that the caller has: trained on shuffled labels, or another step of training.

    Networks trained on shuffled labels are a stricter null than re-initialised ones: memorising makes depth structure
    of its own, and what passes this test is more than that.

    Args:
        kind: What they are, in words, such as ``"trained on shuffled labels"``.
        networks: Of each its representations of the probe, layer name to ``(n, d)``.
        geometry: See `gw_matrix`, likewise all the others.
        effort: Work per pair.
        anchor: Weight of the share of inputs not matched to themselves.
        seed: Seed of the search.

    Raises:
        ValueError: If there are none, or their layers differ.
    """
    started = time.perf_counter()
    if not networks:
        raise ValueError(f"No networks that are {kind} were given; a null needs at least one.")
    layers = tuple(networks[0])
    if any(tuple(each) != layers for each in networks):
        raise ValueError(f"The networks that are {kind} have different layers; a null needs the same layers of all.")
    solver = AdjacentSolver(geometry, effort, anchor, seed)
    table = np.stack([np.stack(solver(each)) for each in networks])
    seconds = time.perf_counter() - started
    return Null(kind, layers, table[:, 0], table[:, 1], solver, len(networks), way="given", seconds=seconds)


def _description(
    module: nn.Module, way: str, solver: AdjacentSolver, layers: Sequence[str], inputs: int, probe: str
) -> dict[str, Any]:
    """All that a stored null is found by, as plain JSON values."""
    return {
        "modules": [[name, f"{type(m).__module__}.{type(m).__qualname__}"] for name, m in module.named_modules()],
        "parameters": [[name, list(p.shape), str(p.dtype)] for name, p in module.named_parameters()],
        "way": way,
        "probe": probe,
        "inputs": inputs,
        "layers": list(layers),
        "geometry": solver.geometry if isinstance(solver.geometry, str) else solver.geometry.name,
        "effort": solver.effort,
        "anchor": float(solver.anchor),
        "seed": solver.seed,
    }
