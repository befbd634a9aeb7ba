"""The later version's claim that layers change abruptly between groups, and not smoothly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import fisher_exact

from claims.paired import Block, paired, tally
from claims.training import CONTROLS
from claims.verdicts import LATER, LEVEL, Verdict, with_interval
from lightning_gw.groups.roughness import MINIMUM_FOR_ROUGHNESS, roughness
from lightning_gw.records.record import Record
from lightning_gw.report.run.loading import ReportRun
from lightning_gw.statistics.estimates import mean_estimate, share_estimate
from lightning_gw.utilities.arrays import FloatArray

#: Networks that drift smoothly, which every network is held against.
DRAWS = 9999


@dataclass(frozen=True)
class Profile:
    """Distances from each layer to the next.

    Attributes:
        adjacent: ``(L − 1,)`` distances.
        noise: ``(L − 1,)`` standard deviation of their logarithm over resamples of the probe.
        boundaries: k where a group ends after the k-th layer, from 0.
    """

    adjacent: FloatArray
    noise: FloatArray
    boundaries: tuple[int, ...] = ()

    @staticmethod
    def of(record: Record) -> Profile | None:
        """That of a look; None where too few distances are known, or not how noisy they are."""
        groups = record.groups
        return Profile.made(groups.adjacent, groups.noise, groups.boundaries)

    @staticmethod
    def made(adjacent: ArrayLike, noise: ArrayLike | None, boundaries: Sequence[int]) -> Profile | None:
        """One of plain values, with None for NaN; None where roughness is not defined."""
        if noise is None:
            return None
        steps, errors = np.asarray(adjacent, dtype=np.float64), np.asarray(noise, dtype=np.float64)
        usable = np.isfinite(steps) & (steps > 0) & np.isfinite(errors)
        return Profile(steps, errors, tuple(boundaries)) if usable.sum() >= MINIMUM_FOR_ROUGHNESS else None


def smooth_drift(profile: Profile, draws: int = DRAWS) -> float:
    """p-value of a network's roughness, had its layers drifted smoothly and only the probe been noisy.

    Smooth drift is the quadratic in depth that fits the logarithms of the distances best; noise is that of the probe,
    normal on the logarithm, and every draw is fitted anew, so that what the fit takes up is taken up there too.
    """
    usable = np.isfinite(profile.adjacent) & (profile.adjacent > 0) & np.isfinite(profile.noise)
    logs = np.log(profile.adjacent[usable])
    depth = np.linspace(-1, 1, len(profile.adjacent))[usable]
    basis, _ = np.linalg.qr(np.stack([np.ones_like(depth), depth, depth**2], axis=1))
    noise = np.random.default_rng(0).normal(size=(draws, len(logs))) * profile.noise[usable]
    residuals = noise - noise @ basis @ basis.T  # the fit itself has no residuals
    observed = logs - basis @ (basis.T @ logs)
    return float((1 + (residuals.std(axis=1) >= observed.std()).sum()) / (1 + draws))


def step_at_boundaries(profile: Profile) -> float:
    """How many times a step at a boundary is what smooth drift would have there, over the same elsewhere; else NaN."""
    usable = np.isfinite(profile.adjacent) & (profile.adjacent > 0)
    depth = np.arange(len(profile.adjacent))
    logs = np.log(np.where(usable, profile.adjacent, 1.0))
    beyond = logs - np.polynomial.Polynomial.fit(depth[usable], logs[usable], deg=2)(depth)
    at = [k for k in profile.boundaries if usable[k]]
    elsewhere = [k for k in depth[usable] if k not in profile.boundaries]
    return float(np.exp(beyond[at].mean() - beyond[elsewhere].mean())) if at and elsewhere else float("nan")


def layers_change_abruptly(runs: Sequence[ReportRun], rows: Sequence[Mapping[str, Any]]) -> Verdict:
    """Distances between neighbouring layers against smooth drift, after training and in networks that learnt nothing.

    Judged are the runs of the comparison, controls apart, and the networks of the study. A network counts as abrupt
    where p of smooth drift (`smooth_drift`) is below .05 after Bonferroni's correction for all that are judged. Found
    where at least half of those whose layers learn are abrupt, their roughness is above that of the same network
    without training (sign flips), and a smaller share of those that learnt nothing is abrupt (Fisher's exact test,
    one-sided); with a condition where half are abrupt and one of the two does not hold; not found otherwise.
    """
    claim = "Layers change abruptly between groups, not smoothly."
    trained, controls, untrained = _profiles(runs, rows)
    level = LEVEL / max(len(trained) + len(controls), 1)
    abrupt = {block: smooth_drift(profile) < level for block, profile in trained.items()}
    idle = {block: smooth_drift(profile) < level for block, profile in controls.items()}
    rougher = paired(
        {
            block: float(np.log(roughness(profile.adjacent) / roughness(untrained[block].adjacent)))
            for block, profile in trained.items()
            if block in untrained
        }
    )
    counts = [[sum(flags.values()), len(flags) - sum(flags.values())] for flags in (abrupt, idle)]
    fewer = fisher_exact(counts, alternative="greater").pvalue
    most = bool(abrupt) and 2 * sum(abrupt.values()) >= len(abrupt)
    beyond_start = bool(rougher.p < LEVEL and rougher.effect.value > 0)
    if not abrupt or not idle:
        found = "not judged: there are too few networks with enough layers"
    elif most and beyond_start and fewer < LEVEL:
        found = "found"
    elif most:
        lacking = [] if beyond_start else ["training makes them no rougher than the same networks untrained"]
        lacking += [] if fewer < LEVEL else ["networks that learnt nothing are abrupt as often"]
        found = f"found, with a condition: {' and '.join(lacking)}"
    else:
        found = "not found"
    share, share_idle = (share_estimate(sum(group.values()), len(group)) for group in (abrupt, idle))
    times = mean_estimate([step_at_boundaries(profile) for profile in trained.values()])
    by_kind = _by_kind(abrupt) + _by_kind(idle, " (learnt nothing)")
    factor = np.exp([rougher.effect.value, rougher.effect.low, rougher.effect.high])
    return Verdict(
        claim,
        found,
        (
            f"Smooth drift is rejected in {sum(abrupt.values())} of {len(abrupt)} networks whose layers learnt, and in "
            f"{sum(idle.values())} of {len(idle)} that learnt nothing (Fisher's exact test, one-sided, p = "
            f"{fewer:.2g}).",
            f"Roughness is {factor[0]:.2f} times (95 % interval {factor[1]:.2f} to {factor[2]:.2f}) that of the same "
            f"network before any training ({tally(rougher)}; sign flips, p = {rougher.p:.2g}).",
            f"Where groups stand, a step at a boundary is {with_interval(times)} times one elsewhere, each over smooth "
            f"drift ({times.runs} networks); boundaries are put where steps are large: this alone shows nothing.",
            "Smooth drift is a quadratic in depth on the logarithm of the distances, with the noise of the probe. It "
            "is a narrow null: random weights alone depart from it, which is why untrained networks stand beside.",
        ),
        (("networks", "abrupt"), *by_kind),
        LATER,
        f"in {with_interval(share, '.0%')} of networks whose layers learnt",
        f"in {with_interval(share_idle, '.0%')} of those that learnt nothing",
    )


def _profiles(
    runs: Sequence[ReportRun], rows: Sequence[Mapping[str, Any]]
) -> tuple[dict[Block, Profile], dict[Block, Profile], dict[Block, Profile]]:
    """Of networks whose layers learnt, of those that learnt nothing, and of the former before any training."""
    trained: dict[Block, Profile | None] = {}
    controls: dict[Block, Profile | None] = {}
    untrained: dict[Block, Profile | None] = {}
    for run in runs:
        if not run.history or run.seed is None:
            continue
        block = (f"{run.task}, {run.strategy}", run.seed)
        (controls if run.strategy in CONTROLS else trained)[block] = Profile.of(run.history[-1])
        if run.strategy not in CONTROLS and run.history[0].before_training:
            untrained[block] = Profile.of(run.history[0])
    for row in rows:
        if row["case"] != "look":
            continue
        block = (row["network"], row["seed"])
        for name, held in (("end", trained), ("untrained", untrained), ("untrained", controls)):
            if (known := row["profiles"][name]) is not None:
                held[block] = Profile.made(known["adjacent"], known["noise"], known["boundaries"])
    return tuple({block: p for block, p in held.items() if p is not None} for held in (trained, controls, untrained))  # type: ignore[return-value]


def _by_kind(abrupt: Mapping[Block, bool], note: str = "") -> list[tuple[str, str]]:
    kinds: dict[str, list[bool]] = {}
    for (kind, _), flag in abrupt.items():
        kinds.setdefault(kind, []).append(flag)
    return [(kind + note, f"{sum(flags)} of {len(flags)}") for kind, flags in kinds.items()]
