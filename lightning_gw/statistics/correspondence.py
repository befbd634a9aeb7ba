"""Which layers of one run correspond to which of another: the Gromov-Wasserstein rectangle between them, read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from lightning_gw.geometry.geometries import Geometry
from lightning_gw.gw.matrix import gw_matrix
from lightning_gw.gw.result import GWMatrix
from lightning_gw.gw.search.effort import Effort
from lightning_gw.records.representations import KeptRepresentations
from lightning_gw.statistics.results import FloatArray
from lightning_gw.utilities.progress import Progress
from lightning_gw.utilities.text import listed, plural

#: Fewer layers have an order by chance.
FEWEST_LAYERS = 3


@dataclass(frozen=True)
class Correspondence:
    """Which layer of the other run each layer of one run is most similar to.

    Attributes:
        layers: Names of the layers of the one run, ``L`` of them, in depth order.
        other_layers: Those of the other, ``M`` of them.
        similarity: ``(L, M)`` Gromov-Wasserstein similarity, NaN for degenerate layers; the mean over `runs`.
        paired: ``(L, M)`` similarity at the identity coupling, which is RSA in the ``standardized`` geometry; None
            where the two saw different probes, so that no input belongs to another.
        best: Per layer of the one run its best partner, a place in `other_layers`; −1 where there is none.
        margin: ``(L,)`` how much more similar the best partner is than the next best; NaN where there is no next.
        paired_best: As `best`, by `paired`; empty without it.
        order: Spearman correlation of depth and depth of the best partner: 1 where deeper layers have deeper partners,
            NaN with fewer than 3 layers and where all have one partner. Neighbouring layers are alike, so that it is
            high also where only coarse depth agrees.
        returned: Per layer, in how many of the `runs` taken by themselves the best partner was the same.
        runs: Number of pairs of runs that it is the mean of.
        gw: The rectangle with its bounds and couplings; None of a mean.
    """

    layers: tuple[str, ...]
    other_layers: tuple[str, ...]
    similarity: FloatArray
    paired: FloatArray | None
    best: tuple[int, ...]
    margin: FloatArray
    paired_best: tuple[int, ...]
    order: float
    returned: tuple[int, ...]
    runs: int = 1
    gw: GWMatrix | None = None


def correspondence(
    one: KeptRepresentations,
    other: KeptRepresentations,
    *,
    geometry: str | Geometry = "standardized",
    effort: Effort = "fast",
    seed: int = 0,
    different_probes: bool = False,
    progress: Progress | Literal[False] | None = False,
) -> Correspondence:
    """Which layers of one run correspond to which of another.

    Runs of one seed start from the same weights: layers that training left alone, or moved little, correspond for that
    reason alone. Pairs of different seeds show what strategies do beyond it.

    Args:
        one: Representations of the one run, from ``load_representations``.
        other: Those of the other.
        geometry: See `gw_matrix`; one of unit scale.
        effort: See `gw_matrix`; without meaning where the two saw different numbers of inputs.
        seed: See `gw_matrix`.
        different_probes: Whether the two may have been looked at through different probes. Gromov-Wasserstein asks for
            no pairing, but then there is no `paired`, and what differs may be the inputs.
        progress: See `gw_matrix`; nothing is shown unless asked for.

    Raises:
        ValueError: If the probes differ and that was not asked for, or the geometry has no unit scale.
    """
    same = one.probe == other.probe
    if not same and not different_probes:
        raise ValueError(
            f"The runs were looked at through different probes ({one.probe[:12]} and {other.probe[:12]}), so that what "
            "differs may be the inputs. Runs of one comparison share their probe; to compare all the same, pass "
            "different_probes=True."
        )
    # Between different numbers of inputs there is one effort for all, and asking for another is refused.
    numbers = {len(values) for run in (one, other) for values in run.layers.values()}
    gw = gw_matrix(
        one.layers,
        other.layers,
        geometry=geometry,
        effort=effort if len(numbers) == 1 else "default",
        bounds="fast",
        seed=seed,
        progress=progress,
    )
    paired = gw.identity_similarity if same else None
    return _read(gw.layers, gw.columns, gw.similarity, paired, gw=gw)


def average_correspondence(found: Sequence[Correspondence]) -> Correspondence:
    """The mean of several correspondences, such as those of two strategies over their seeds.

    Args:
        found: At least one, all between the same layers.

    Returns:
        Correspondence whose `best` is that of the mean similarity; entries that are missing in any are missing in it.

    Raises:
        ValueError: If there are none, or they are between different layers.
    """
    if not found:
        raise ValueError("There is no correspondence to average; expected at least one.")
    for each in found:
        if (each.layers, each.other_layers) != (found[0].layers, found[0].other_layers):
            raise ValueError(
                f"Correspondences between different layers have no mean: {len(each.layers)} × "
                f"{len(each.other_layers)} layers from {each.layers[:1]} and {each.other_layers[:1]} on, expected "
                f"{len(found[0].layers)} × {len(found[0].other_layers)} from {found[0].layers[:1]} and "
                f"{found[0].other_layers[:1]} on. Average runs of the same two strategies."
            )
    all_paired = [each.paired for each in found if each.paired is not None]
    paired = np.mean(all_paired, axis=0) if len(all_paired) == len(found) else None
    similarity = np.mean([each.similarity for each in found], axis=0)
    mean = _read(found[0].layers, found[0].other_layers, similarity, paired)
    returned = tuple(
        sum(each.best[layer] == best for each in found) if best >= 0 else 0 for layer, best in enumerate(mean.best)
    )
    return replace(mean, returned=returned, runs=sum(each.runs for each in found))


def correspondence_sentence(found: Correspondence, one: str, other: str) -> str:
    """A correspondence in words.

    Args:
        found: The correspondence.
        one: What to call the one run or strategy.
        other: What to call the other.

    Returns:
        Which layers correspond, counted from 1; how similar they are, how clearly, in how many pairs of runs each
        partner returned, and what the paired measure says.
    """
    usable = [layer for layer, best in enumerate(found.best) if best >= 0]
    who = f"By Gromov-Wasserstein similarity over {plural(found.runs, 'pair')} of runs"
    if not usable:
        return f"{who}, no layer of {one} has a partner in {other}: none could be measured."
    partners = [
        f"{_layers(run)} to {_layers(sorted({found.best[layer] for layer in run}))}" for run in _together(found.best)
    ]
    similar = [float(found.similarity[layer, found.best[layer]]) for layer in usable]
    facts = [f"similarity of partners {min(similar):.2f} to {max(similar):.2f}"]
    margins = found.margin[np.isfinite(found.margin)]
    if len(margins):
        facts.append(f"median lead over the next partner {float(np.median(margins)):.3f}")
    if np.isfinite(found.order):
        facts.append(f"rank correlation of depths {found.order:.2f}")
    if found.runs > 1:
        facts.append(f"the same partner in {sum(found.returned)} of {found.runs * len(usable)} cases")
    if found.paired is None:
        facts.append("no paired measure, since the probes differ")
    else:
        agree = sum(found.paired_best[layer] == found.best[layer] for layer in usable)
        facts.append(f"the paired measure names the same partner for {agree} of {plural(len(usable), 'layer')}")
    missing = [str(layer + 1) for layer, best in enumerate(found.best) if best < 0]
    left_out = f" Without a partner, since not measured: {listed(missing)}." if missing else ""
    return f"{who}, layers of {one} correspond to layers of {other}: {listed(partners)} ({'; '.join(facts)}).{left_out}"


def _read(
    layers: tuple[str, ...],
    others: tuple[str, ...],
    similarity: FloatArray,
    paired: FloatArray | None,
    gw: GWMatrix | None = None,
) -> Correspondence:
    best = _best(similarity)
    usable = [layer for layer, partner in enumerate(best) if partner >= 0]
    margin = np.full(len(layers), np.nan)
    if len(others) > 1:
        next_best, most = np.sort(np.where(np.isnan(similarity), -np.inf, similarity), axis=1)[:, -2:].T
        enough = np.isfinite(next_best)
        margin[enough] = most[enough] - next_best[enough]
    return Correspondence(
        layers=layers,
        other_layers=others,
        similarity=similarity,
        paired=paired,
        best=best,
        margin=margin,
        paired_best=() if paired is None else _best(paired),
        order=_order(np.array(usable), np.array([best[layer] for layer in usable])),
        returned=tuple(int(partner >= 0) for partner in best),
        gw=gw,
    )


def _best(similarity: FloatArray) -> tuple[int, ...]:
    """Most similar column of each row, the first of equal ones; −1 where none was measured."""
    known = np.where(np.isnan(similarity), -np.inf, similarity)
    return tuple(int(row.argmax()) if np.isfinite(row.max()) else -1 for row in known)


def _order(depths: FloatArray, partners: FloatArray) -> float:
    """Spearman correlation; NaN with too few layers or a single partner."""
    if len(depths) < FEWEST_LAYERS or len(np.unique(partners)) < 2:
        return float("nan")
    return float(np.corrcoef(rankdata(depths), rankdata(partners))[0, 1])


def _together(best: Sequence[int]) -> list[list[int]]:
    """Neighbouring layers that share a partner, or whose partners are neighbours in the same order."""
    runs: list[list[int]] = []
    step = 0
    for layer, partner in enumerate(best):
        if partner < 0:
            continue
        if runs and runs[-1][-1] == layer - 1:
            step_now = partner - best[layer - 1]
            if step_now in (0, 1) and (len(runs[-1]) == 1 or step_now == step):
                step = step_now
                runs[-1].append(layer)
                continue
        runs.append([layer])
    return runs


def _layers(run: Sequence[int]) -> str:
    return str(run[0] + 1) if len(run) == 1 else f"{run[0] + 1}–{run[-1] + 1}"
