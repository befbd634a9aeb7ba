"""The strategies of one task against each other: what each ends with, and whether they differ beyond seed noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lightning_gw.statistics.differences import comparable, group_differences, matrix_differences
from lightning_gw.statistics.estimates import agreement_estimate, mean_estimate, share_estimate
from lightning_gw.statistics.permutation_test import FEWEST_SEEDS, TIE, Design, compare_runs
from lightning_gw.statistics.results import (
    Contrast,
    Finding,
    FloatArray,
    Overall,
    StrategySummary,
    TaskComparison,
)
from lightning_gw.utilities.text import listed, number_word, plural

#: From this ratio on between what runs of different strategies differ by among themselves, a note says so.
UNEQUAL_SPREAD = 3.0


def compare_strategies(
    findings: Sequence[Finding], task: str, permutations: int = 9999, seed: int = 0
) -> TaskComparison:
    """Summarise the strategies of one task over their seeds, and test whether they differ.

    Estimates and their intervals are those of `estimates`, tests those of `permutation_test.compare_runs`; what two
    runs differ in is measured as `DIFFERENCES` says.

    Args:
        findings: The runs of the task, in any order; strategies are reported in the order in which they first appear.
        task: Its name.
        permutations: Relabellings to draw where there are too many to try all.
        seed: Seed of the draw; the global generators are never touched.

    Returns:
        TaskComparison. What too few runs leave open is NaN, and `notes` says why. Runs with other names of layers than
        most are left out of the matrices, those with another number of layers also out of the groups.

    Raises:
        ValueError: If there are no findings, two of one strategy and seed, or if `permutations` is not positive.

    Example:
        >>> import numpy as np
        >>> from lightning_gw.statistics import Finding, compare_strategies
        >>> def finding(strategy, seed, groups):
        ...     labels = np.repeat([0, 1], groups)  # so many layers in the first group, and in the second
        ...     return Finding(
        ...         f"{strategy}/seed-{seed}", strategy, seed, ("a", "b", "c", "d"), tuple(labels.tolist()),
        ...         (groups[0] - 1,), 2, "strong", 0.9 - 0.4 * abs(np.subtract.outer(labels, labels)),
        ...         converged=None, accuracy=None, steps=400, seconds=None,
        ...     )
        >>> findings = [finding("early", seed, (1, 3)) for seed in range(4)]
        >>> findings += [finding("late", seed, (3, 1)) for seed in range(4)]
        >>> comparison = compare_strategies(findings, "algebra")
        >>> round(comparison.overall["groups"].p, 3)
        0.125
    """
    _check(findings, task, permutations)
    strategies = tuple(dict.fromkeys(finding.strategy for finding in findings))
    # What is drawn must not depend on the order in which runs finished.
    ordered = sorted(findings, key=lambda finding: (finding.seed, finding.strategy))
    layers = _common_layers(ordered)
    grouped = [finding for finding in ordered if len(finding.layers) == len(layers)]
    same = [finding for finding in ordered if finding.layers == layers]
    notes = _layer_notes(ordered, layers)
    overall: dict[str, Overall] = {}
    contrasts: list[Contrast] = []
    designs: list[Design] = []
    agreement: FloatArray = np.zeros((0, 0))
    for by, runs, differences in (
        ("groups", grouped, group_differences(grouped)),
        ("matrices", same, matrix_differences(same)),
    ):
        kept = comparable(differences)
        notes += _unusable_notes(by, [run for place, run in enumerate(runs) if place not in kept])
        runs, differences = [runs[place] for place in kept], differences[np.ix_(kept, kept)]
        if by == "groups":
            grouped, agreement = runs, 1.0 - differences
        design = Design(
            by,
            np.array([strategies.index(run.strategy) for run in runs], dtype=np.int64),
            np.array([run.seed for run in runs], dtype=np.int64),
            strategies,
            differences,
        )
        designs.append(design)
        overall[by], pairs = compare_runs(design, permutations, seed)
        contrasts += pairs
    shares = _all_shares(ordered)
    summaries = []
    for strategy in strategies:
        places = [place for place, run in enumerate(grouped) if run.strategy == strategy]
        own = [finding for finding in ordered if finding.strategy == strategy]
        summaries.append(_summary(strategy, own, layers, agreement[np.ix_(places, places)], shares))
    notes += _accuracy_notes(ordered) + _seed_notes(summaries, designs, contrasts) + _spread_notes(designs)
    return TaskComparison(task, layers, tuple(summaries), overall, tuple(contrasts), tuple(notes))


def _check(findings: Sequence[Finding], task: str, permutations: int) -> None:
    if not findings:
        raise ValueError(f"There are no findings of task {task!r} to compare; expected at least one run with a look.")
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; expected at least 1.")
    seen: dict[tuple[str, int], str] = {}
    for finding in findings:
        known = seen.get((finding.strategy, finding.seed))
        if known is not None:
            raise ValueError(
                f"Runs {known!r} and {finding.key!r} are both of strategy {finding.strategy!r} and seed "
                f"{finding.seed}; expected one run of each seed. Leave one of them out."
            )
        seen[finding.strategy, finding.seed] = finding.key


def _common_layers(findings: Sequence[Finding]) -> tuple[str, ...]:
    """The layers that most runs have; of equally common ones the more."""
    counts = Counter(finding.layers for finding in findings)
    return max(counts, key=lambda layers: (counts[layers], len(layers), layers))


def _summary(
    strategy: str, findings: Sequence[Finding], layers: tuple[str, ...], agreement: FloatArray, shares: bool
) -> StrategySummary:
    """One strategy over its runs; what asks for the common layers is of the runs that have them."""
    grouped = [finding for finding in findings if len(finding.layers) == len(layers)]
    steps = max(finding.steps for finding in findings)
    own = layers if any(finding.layers == layers for finding in findings) else _common_layers(findings)
    mean, spread = _mean_and_spread(np.array([finding.similarity for finding in findings if finding.layers == own]))
    return StrategySummary(
        strategy=strategy,
        findings=tuple(findings),
        boundary_share=tuple(
            share_estimate(sum(gap in finding.boundaries for finding in grouped), len(grouped))
            for gap in range(len(layers) - 1)
        ),
        groups=mean_estimate([finding.count for finding in findings], 1, len(layers)),
        converged=mean_estimate([finding.converged for finding in findings], 0, steps),
        accuracy=mean_estimate([finding.accuracy for finding in findings], *((0, 1) if shares else ())),
        agreement=agreement_estimate(agreement),
        layers=own,
        mean_similarity=mean,
        spread_similarity=spread,
    )


def _all_shares(findings: Sequence[Finding]) -> bool:
    """Whether every known accuracy lies in 0 to 1, so that no interval of it should reach beyond."""
    return all(0 <= f.accuracy <= 1 for f in findings if f.accuracy is not None and np.isfinite(f.accuracy))


def _mean_and_spread(similarities: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation over the runs in which an entry was measured; NaN where none, or one, has it."""
    measured = np.isfinite(similarities)
    runs = measured.sum(axis=0)
    values = np.where(measured, similarities, 0.0)
    mean = values.sum(axis=0) / np.maximum(runs, 1)
    squares = np.square(np.where(measured, similarities - mean, 0.0)).sum(axis=0)
    spread = np.sqrt(squares / np.maximum(runs - 1, 1))
    return np.where(runs > 0, mean, np.nan), np.where(runs > 1, spread, np.nan)


def _layer_notes(findings: Sequence[Finding], layers: tuple[str, ...]) -> list[str]:
    alike = [finding for finding in findings if len(finding.layers) == len(layers)]
    have = f"{plural(len(alike), 'other run')} of the task {'has' if len(alike) == 1 else 'have'}"
    notes = [
        f"{_runs([run for run in findings if len(run.layers) == count])} {plural(count, 'layer')} where {have} "
        f"{number_word(len(layers))}; left out of all comparisons of groups and matrices."
        for count in sorted({len(finding.layers) for finding in findings} - {len(layers)})
    ]
    renamed = [finding for finding in alike if finding.layers != layers]
    if renamed:
        theirs, usual = next((one, other) for one, other in zip(renamed[0].layers, layers, strict=True) if one != other)
        notes.append(
            f"{_runs(renamed)} layers of other names than {plural(len(alike) - len(renamed), 'other run')} of the task "
            f"(such as {theirs!r} for {usual!r}); left out of the comparison of matrices, while groups are compared "
            "layer by layer in order."
        )
    return notes


def _runs(findings: Sequence[Finding]) -> str:
    keys = [finding.key for finding in findings]
    return f"Run {keys[0]} has" if len(keys) == 1 else f"Runs {listed(keys)} have"


def _unusable_notes(by: str, left_out: Sequence[Finding]) -> list[str]:
    if not left_out:
        return []
    lack = "too few layers in groups" if by == "groups" else "too few measured pairs of layers"
    return [f"{_runs(left_out)} {lack} to compare with the others' {by}, and left out."]


def _accuracy_notes(findings: Sequence[Finding]) -> list[str]:
    diverged = [f for f in findings if f.accuracy is not None and not np.isfinite(f.accuracy)]
    return [f"{_runs(diverged)} an accuracy that is no finite number, which no mean counts."] if diverged else []


def _seed_notes(
    summaries: Sequence[StrategySummary], designs: Sequence[Design], contrasts: Sequence[Contrast]
) -> list[str]:
    """What too few seeds leave open."""
    notes = []
    single = [summary.strategy for summary in summaries if len(summary.findings) < FEWEST_SEEDS]
    if len(summaries) < 2:
        notes.append("There is one strategy, so nothing to compare it with.")
    if single and len(single) < len(summaries):  # that no strategy has more than one seed is the verdict itself
        some = f"{listed(single)} {'has' if len(single) == 1 else 'have'} a single seed"
        notes.append(f"{some}: how far runs differ between seeds is not known there, and no difference is tested.")
    lacking: dict[str, list[str]] = {}
    apart: dict[str, list[str]] = {}
    for design in designs:
        tested = {design.names[place] for place in design.tested()}
        for name in design.names:
            if name not in tested and name not in single:
                lacking.setdefault(name, []).append(design.by)
        for pair in contrasts:
            if pair.by == design.by and np.isnan(pair.p) and {pair.one, pair.other} <= tested:
                apart.setdefault(f"{pair.one} and {pair.other}", []).append(design.by)
    notes += [
        f"{name} has fewer than two runs whose {listed(what)} can be compared with the others', and no difference in "
        "them is tested."
        for name, what in lacking.items()
    ]
    notes += [
        f"{pair} have no seed in common within which runs could be relabelled, so that their {listed(what)} are not "
        "tested."
        for pair, what in apart.items()
    ]
    return notes


def _spread_notes(designs: Sequence[Design]) -> list[str]:
    """Where strategies vary too differently between seeds for the corrected tests to be taken at their word."""
    notes = []
    for design in designs:
        within = design.within()
        if len(within) < 3:
            continue
        least, most = min(within, key=lambda name: within[name]), max(within, key=lambda name: within[name])
        if within[most] > UNEQUAL_SPREAD * within[least] + TIE:
            notes.append(
                f"The {design.by} of two runs of one strategy differ by {within[least]:.3f} ({least}) to "
                f"{within[most]:.3f} ({most}). Corrected p-values take all strategies to vary alike, and can be too "
                "small for two of those that vary most."
            )
    return notes
