"""One network looked at under several settings, with several draws of the probe each.

Knows nothing of Lightning: a function brings the representations, whatever they come from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_gw.activations.reading.capture import Activations
from lightning_gw.analysis import ANCHOR, BOOTSTRAP_SAMPLES, Analysis
from lightning_gw.geometry.geometries import Geometry
from lightning_gw.geometry.validation import find_defect
from lightning_gw.groups.groups import Groups
from lightning_gw.groups.reference import Reference
from lightning_gw.gw.search.effort import Effort
from lightning_gw.measures.agreement import adjusted_rand_index
from lightning_gw.probe_report.findings import ProbeLook, ProbeReport, SettingFindings
from lightning_gw.probe_report.settings import ProbeSetting

#: Two inputs of different draws are the same one if they lie nearer to each other than this share of the mean distance.
SAME_INPUT = 1e-4

Represent = Callable[[ProbeSetting], Mapping[str, Tensor] | Activations]
#: ``(looks done, looks in all, what is looked at next)``.
Progress = Callable[[int, int, str], None]


def probe_report(
    represent: Represent,
    settings: Sequence[ProbeSetting],
    *,
    draws: int = 3,
    geometry: str | Geometry = "standardized",
    effort: Effort = "default",
    anchor: float = ANCHOR,
    paired: bool = True,
    resamples: int = BOOTSTRAP_SAMPLES,
    seed: int = 0,
    source: str = "",
    reference: Callable[[ProbeSetting], Reference | None] = lambda _: None,
    progress: Progress | None = None,
) -> ProbeReport:
    """Look through the layers under every setting, with several draws of the probe, and hold the groups together.

    Groups are found as records find them: in anchored Gromov-Wasserstein, with their stability over resamples of the
    probe. A setting that cannot be looked through is no error: it becomes a row that says why.

    Args:
        represent: ``(setting) -> {layer: (n, d)}`` in depth order, or `Activations`, whose notes are kept. It is called
            for every setting and draw, ``setting.draw`` says which; equal draws of different settings should begin with
            the same inputs where they can.
        settings: Ways of looking; the first is the run's own, which the others are held against.
        draws: Draws of the probe under each setting.
        geometry: See `gw_matrix`.
        effort: See `gw_matrix`; groups of the anchored matrix take ``"fast"`` in place of ``"default"``.
        anchor: See `Analysis`.
        paired: See `Analysis`.
        resamples: Resamples of each probe behind stability; 0 leaves it out.
        seed: Seed of the search and the resamples.
        source: Where the network and its inputs come from, in words.
        reference: ``(setting) ->`` what the groups found under it are held against (see `find_groups`): the same
            network before its training, or one that learnt nothing, looked at likewise. Without one no groups are
            strong.
        progress: Called before every look.

    Returns:
        ProbeReport.

    Raises:
        ValueError: If there is no setting or no draw, or nothing can be compared under the run's own setting.

    Example:
        >>> import torch
        >>> def represent(setting):
        ...     x = torch.randn(setting.size, 6, generator=torch.Generator().manual_seed(setting.draw))
        ...     return {"a": x, "b": x @ torch.linalg.qr(torch.randn(6, 6))[0], "c": x.abs(), "d": x.abs() + 1}
        >>> report = probe_report(represent, [ProbeSetting(size=16), ProbeSetting(size=32)], draws=2)
        >>> [found.label for found in report.settings]
        ['as the run', '32 inputs']
    """
    if not settings:
        raise ValueError("No settings were given; the first is the run's own, which the others are held against.")
    if draws < 1:
        raise ValueError(f"draws={draws} must be at least 1.")
    analysis = Analysis(
        geometry=geometry, effort=effort, seed=seed, anchor=anchor, paired=paired, bootstrap_samples=resamples
    )
    looker = _Looker(represent, settings[0], analysis, reference)
    rows: list[SettingFindings] = []
    for place, setting in enumerate(settings):
        label, why = setting.label(settings[0]), ""
        looks: list[ProbeLook] = []
        notes: dict[str, None] = {}
        clouds: list[dict[str, Tensor]] = []
        for draw in range(draws):
            if progress is not None:
                progress(place * draws + draw, len(settings) * draws, label)
            try:
                look, cloud, said = looker.look(replace(setting, draw=draw))
            except Exception as error:
                if place == draw == 0:
                    raise
                why = why or _reason(error)
                notes[f"Draw {draw} failed: {_reason(error)}"] = None
                if not looks:
                    break  # what fails on the first draw fails on all
                continue
            looks.append(look)
            clouds.append(cloud)
            notes |= dict.fromkeys(said)
        rows.append(
            SettingFindings(
                setting=setting,
                label=label,
                looks=tuple(looks),
                agreement=_agreement(looks, rows[0].looks if rows else looks),
                repeat=_mean(adjusted_rand_index(a.labels, b.labels) for a, b in combinations(looks, 2)),
                shared=_mean(_shared(a, b) for a, b in combinations(clouds, 2)),
                notes=tuple(notes) if looks else (),
                why="" if looks else why,
            )
        )
    if progress is not None:
        progress(len(settings) * draws, len(settings) * draws, "")
    return ProbeReport(
        layers=looker.layers, settings=tuple(rows), draws=draws, analysis=analysis.config.to_json(), source=source
    )


class _Looker:
    """Looks, and tells what was found in the layers of the run's own setting."""

    def __init__(
        self,
        represent: Represent,
        own: ProbeSetting,
        analysis: Analysis,
        reference: Callable[[ProbeSetting], Reference | None],
    ) -> None:
        self._represent = represent
        self._reference = reference
        self._own = own
        self._analysis = analysis
        self._kept: dict[ProbeSetting, tuple[dict[str, Tensor], tuple[str, ...]]] = {}  # under the run's own setting
        self._sequences: tuple[tuple[str, ...], ...] = ()
        self.layers: tuple[str, ...] = ()

    def look(self, setting: ProbeSetting) -> tuple[ProbeLook, dict[str, Tensor], tuple[str, ...]]:
        """What is found, the representations it was found in, and notes."""
        started = time.perf_counter()
        representations, notes = self._brought(setting)
        self.layers = self.layers or tuple(representations)
        inputs = len(next(iter(representations.values())))
        reference = self._reference(setting)
        groups, left_out = self._analysis.groups_alone(representations, reference, self._sequences)
        notes += tuple(f"Layer {name} is left out: {reason}" for name, reason in left_out.items())
        return self._told(groups, tuple(representations), setting.draw, inputs, started), representations, notes

    def _brought(self, setting: ProbeSetting) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        whole = replace(setting, without=None, dominant=True, cosine=False)
        if whole in self._kept:
            representations, notes = self._kept[whole]
        else:
            brought = self._represent(whole)
            if isinstance(brought, Activations):
                representations, notes = dict(brought.representations), tuple(brought.notes)
                self._sequences = brought.sequences
            else:
                representations, notes = dict(brought), ()
            if whole == replace(self._own, without=None, dominant=True, cosine=False, draw=setting.draw):
                self._kept[whole] = representations, notes
        left = setting.applied(representations)
        if setting.without is not None and len(left) == len(representations):
            raise ValueError(f"without={setting.without!r} matches no layer; there are: {', '.join(representations)}.")
        representations = left
        if len(representations) < 2:
            left_over = next(iter(representations), "no layer")
            raise ValueError(f"Only {left_over} is left, and at least 2 layers are needed to compare.")
        return representations, notes

    def _told(self, groups: Groups, names: tuple[str, ...], draw: int, inputs: int, started: float) -> ProbeLook:
        found = dict(zip(names, groups.labels, strict=True))
        labels = tuple(found.get(name, -1) for name in self.layers)
        boundaries, ends = (
            tuple(self.layers.index(names[k]) for k in gaps if names[k] in self.layers)
            for gaps in (groups.boundaries, groups.sequence_ends)
        )
        stands = groups.strength != "none"
        return ProbeLook(
            draw=draw,
            inputs=inputs,
            labels=labels,
            boundaries=boundaries,
            ranges=replace(groups, labels=labels, sequence_ends=ends).ranges() if stands else "none",
            strength=groups.strength,
            contrast=groups.contrast,
            stability=min(groups.stability) if groups.stability else float("nan"),
            seconds=time.perf_counter() - started,
        )


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())
    return said if isinstance(error, ValueError) and said else f"{type(error).__name__}: {said}"


def _agreement(looks: Sequence[ProbeLook], own: Sequence[ProbeLook]) -> float:
    by_draw = {look.draw: look for look in own}
    pairs = [(look, by_draw[look.draw]) for look in looks if look.draw in by_draw]
    return _mean(adjusted_rand_index(a.labels, b.labels) for a, b in pairs)


def _mean(values: Any) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _shared(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Share of the inputs of `first` that are among those of `second`: alike in every layer that can be measured."""
    alike: NDArray[np.bool_] | None = None
    for name in first:
        if name not in second or find_defect(first[name]) or first[name].shape[1:] != second[name].shape[1:]:
            continue
        a, b = (x.detach().cpu().double() for x in (first[name], second[name]))
        distances = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
        here = (distances <= SAME_INPUT * distances.mean()).numpy()
        alike = here if alike is None else alike & here
    return float("nan") if alike is None else float(alike.any(axis=1).mean())
