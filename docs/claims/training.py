"""What the paper's first version claims of training: groups emerge, they are abstractions, strategies move them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import fisher_exact

from claims.paired import holm
from claims.verdicts import LEVEL, Verdict, with_interval
from lightning_gw.measures.agreement import adjusted_rand_index
from lightning_gw.report.comparisons.tasks import TaskAnswer
from lightning_gw.report.run.loading import ReportRun
from lightning_gw.statistics.estimates import mean_estimate, share_estimate
from lightning_gw.statistics.results import Estimate, Finding
from lightning_gw.statistics.strategies import compare_strategies
from lightning_gw.utilities.text import listed, plural

#: Strategies under which no layer learns the task: what groups they show, learning did not make.
CONTROLS = ("untrained", "shuffled_labels", "head_only", "conv_untrained", "conv_shuffled_labels")
#: Boundaries drawn anywhere, which groups are held against.
DRAWS = 9999


def groups_emerge(task: str, what: str, runs: Sequence[ReportRun]) -> Verdict:
    """Runs count in which groups stand at the end and none stood at the first look.

    Found where they are at least half of the runs whose layers learn, and more of them than of the controls (Fisher's
    exact test, one-sided); with a condition where single strategies come to half and beyond the controls, corrected for
    all strategies (Holm); not found otherwise.
    """
    claim = f"Sub-groups of layers emerge in training on {what}."
    emerged: dict[str, list[bool]] = {}
    strong = early = 0
    for run in runs:
        if run.task == task and run.history:
            first, last = run.history[0].groups.strength, run.history[-1].groups.strength
            emerged.setdefault(run.strategy, []).append(first == "none" and last != "none")
            strong += last == "strong"
            early += first != "none"
    learning = [flag for name, flags in emerged.items() if name not in CONTROLS for flag in flags]
    controls = [flag for name, flags in emerged.items() if name in CONTROLS for flag in flags]
    p = _more_often(learning, controls)
    own = holm({name: _more_often(flags, controls) for name, flags in emerged.items() if name not in CONTROLS})
    halves = [name for name, one in own.items() if 2 * sum(emerged[name]) >= len(emerged[name]) and one < LEVEL]
    counts = ", ".join(f"{name} {sum(flags)} of {len(flags)}" for name, flags in emerged.items())
    if 2 * sum(learning) >= len(learning) and p < LEVEL:
        found = "found"
    elif halves:
        found = f"found, with a condition: under {listed(halves)}"
    else:
        found = "not found"
    return Verdict(
        claim,
        found,
        (
            f"Groups that were not there at the first look stand at the last in {sum(learning)} of "
            f"{plural(len(learning), 'run')} whose layers learn, and in {sum(controls)} of {len(controls)} controls "
            f"(Fisher's exact test, one-sided, p = {p:.2g}).",
            f"By strategy: {counts}.",
            f"Strong ones stand in {strong} of {plural(len(learning) + len(controls), 'run')}; weak ones may be drift. "
            f"{early} had groups at the first look already, before any training.",
        ),
        effect=f"in {with_interval(share_estimate(sum(learning), len(learning)), '.0%')} of runs whose layers learn",
        control=f"in {with_interval(share_estimate(sum(controls), len(controls)), '.0%')} of controls"
        if controls
        else "no controls on this task",
    )


def _more_often(flags: Sequence[bool], controls: Sequence[bool]) -> float:
    """p-value of Fisher's exact test, one-sided: is it more often true of the first than of the others?"""
    counts = [[sum(each), len(each) - sum(each)] for each in (flags, controls)]
    return float(fisher_exact(counts, alternative="greater").pvalue)


def groups_are_planted_stages(answer: TaskAnswer) -> Verdict:
    """Groups against the planted ones, by the adjusted Rand index; chance is as many boundaries anywhere else.

    Found where every strategy that supervises stages beats chance after Holm's correction; with a condition where some
    strategy does; not found where none does.
    """
    claim = "The groups correspond to functional abstractions (the planted stages)."
    assert answer.comparison is not None
    p_values: dict[str, float] = {}
    lines = []
    indices: list[float] = []
    drawn: list[float] = []
    for summary in answer.comparison.strategies:
        if summary.strategy in CONTROLS:
            continue
        index, p, chance = _against_chance(summary.findings, answer.planted)
        indices += index
        drawn.append(chance)
        exact = sum(set(run.boundaries) == set(answer.planted) for run in summary.findings)
        p_values[summary.strategy] = p
        lines.append((summary.strategy, float(np.mean(index)), exact, len(summary.findings)))
    corrected = holm(p_values)
    above = [name for name, p in corrected.items() if p < LEVEL]
    staged = [name for name in corrected if name in ("stage_supervised", "stage_end", "greedy", "assembled")]
    if staged and set(staged) <= set(above):
        found = "found"
    else:
        found = f"found, with a condition: under {listed(above)}" if above else "not found"
    rows = [
        (name, f"{index:.2f}", f"{exact} of {count}", f"{corrected[name]:.2g}") for name, index, exact, count in lines
    ]
    planted = listed([str(k + 1) for k in answer.planted])
    return Verdict(
        claim,
        found,
        (
            f"Stages end after layers {planted}; chance is as many boundaries drawn anywhere, {DRAWS} times, corrected "
            "for all strategies (Holm). Strategies that keep the layers from learning are left out.",
        ),
        (("strategy", "adjusted Rand index, mean", "exactly the planted groups", "corrected p"), *rows),
        effect=f"adjusted Rand index {with_interval(mean_estimate(indices))} over {plural(len(indices), 'run')}",
        control=f"{np.mean(drawn):.2f} with as many boundaries drawn anywhere",
    )


def strategies_move_groups(answers: Mapping[str, TaskAnswer]) -> Verdict:
    """Permutation tests between strategies against within, of those under which the layers learn.

    Found where groups differ beyond seed noise on all tasks with two such strategies; with a condition where they do on
    some, or matrices do; not found otherwise.
    """
    claim = "The training strategy influences where sub-groups sit."
    evidence = ["Of the strategies under which the layers learn; the controls would tell themselves apart."]
    told = {}
    sizes, within = [], []
    for task, answer in answers.items():
        assert answer.comparison is not None
        learning = [summary for summary in answer.comparison.strategies if summary.strategy not in CONTROLS]
        if len(learning) < 2:
            continue
        findings = [found for summary in learning for found in summary.findings]
        for by, test in compare_strategies(findings, task).overall.items():
            told[task, by] = bool(test.p < LEVEL)
            if by == "groups":
                sizes.append(f"{task} {with_interval(_share(findings, task), '.0%')}")
                within.append(f"{task} {test.within:.2f} apart")
            if np.isnan(test.p):
                evidence.append(f"{task}, {by}: not tested; that takes two strategies with two seeds or more.")
                continue
            evidence.append(
                f"{task}, {by}: {test.between:.3f} between strategies against {test.within:.3f} within, "
                f"{test.share:.0%} of the variance of runs, p = {test.p:.2g}."
            )
    by_groups = [task for task in answers if told.get((task, "groups"))]
    by_matrices = [task for task in answers if told.get((task, "matrices"))]
    if {task for task, _ in told} == set(by_groups):
        found = "found"
    elif by_groups or by_matrices:
        where = f"in the groups on {listed(by_groups)}" if by_groups else "in no task's groups"
        found = f"found, with a condition: {where}; in the matrices on {listed(by_matrices) or 'none'}"
    else:
        found = "not found"
    return Verdict(
        claim,
        found,
        tuple(evidence),
        effect=f"share of the variance of groups: {', '.join(sizes) or 'unknown'}",
        control=f"seeds of one strategy: {', '.join(within) or 'unknown'}",
    )


def _share(findings: Sequence[Finding], task: str) -> Estimate:
    """Share of the variance of groups that the strategy explains, with the interval of the jackknife over seeds."""
    seeds = sorted({found.seed for found in findings})

    def share(kept: Sequence[Finding]) -> float:
        return float(compare_strategies(kept, task, permutations=1).overall["groups"].share)

    whole = share(findings)
    if len(seeds) < 3:
        return Estimate(whole, np.nan, np.nan, len(seeds))
    without = [share([found for found in findings if found.seed != seed]) for seed in seeds]
    pseudo = mean_estimate([len(seeds) * whole - (len(seeds) - 1) * each for each in without])
    reach = (pseudo.high - pseudo.low) / 2
    return Estimate(whole, max(whole - reach, 0.0), min(whole + reach, 1.0), len(seeds))


def _against_chance(findings: Sequence[Finding], planted: Sequence[int]) -> tuple[list[float], float, float]:
    """Adjusted Rand indices with the planted groups; p of their mean, and the mean of boundaries drawn anywhere."""
    layers = len(findings[0].layers)
    truth = _labels(planted, layers)
    indices = [float(adjusted_rand_index(run.labels, truth)) for run in findings]
    index = float(np.mean(indices))
    generator = np.random.default_rng(0)
    cache: dict[tuple[int, ...], float] = {}

    def drawn(count: int) -> float:
        boundaries = tuple(sorted(generator.choice(layers - 1, size=count, replace=False).tolist()))
        if boundaries not in cache:
            cache[boundaries] = adjusted_rand_index(_labels(boundaries, layers), truth)
        return cache[boundaries]

    chance = [np.mean([drawn(len(run.boundaries)) for run in findings]) for _ in range(DRAWS)]
    p = (1 + sum(value >= index - 1e-12 for value in chance)) / (1 + DRAWS)
    return indices, p, float(np.mean(chance))


def _labels(boundaries: Sequence[int], layers: int) -> list[int]:
    return [sum(layer > boundary for boundary in boundaries) for layer in range(layers)]
