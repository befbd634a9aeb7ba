"""The claims of the method's paper, each held against what a comparison of training strategies found.

Every claim is judged by the rule in its docstring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scipy.stats import fisher_exact

from lightning_gw import load_representations
from lightning_gw.measures.agreement import adjusted_rand_index
from lightning_gw.report.comparisons.tasks import TaskAnswer
from lightning_gw.report.loading import ReportRun
from lightning_gw.statistics.results import Finding
from lightning_gw.statistics.strategies import compare_strategies
from lightning_gw.utilities.text import listed, plural

#: Strategies under which no layer learns the task: what groups they show, learning did not make.
CONTROLS = ("untrained", "shuffled_labels", "head_only", "conv_untrained", "conv_shuffled_labels")
LEVEL = 0.05
DRAWS = 9999


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        claim: The claim, in one sentence.
        found: ``"found"``, ``"not found"`` or ``"found, with a condition"``.
        evidence: The figures behind it, one sentence each.
        table: More of them, as rows, the first of which names the columns.
    """

    claim: str
    found: str
    evidence: tuple[str, ...]
    table: tuple[tuple[str, ...], ...] = ()


def groups_emerge(task: str, what: str, runs: Sequence[ReportRun]) -> Verdict:
    """Runs count in which groups stand at the end and none stood at the first look.

    Found where they are at least half of the runs whose layers learn, and more of them than of the controls (Fisher's
    exact test, one-sided); with a condition where only some strategies come to half; not found otherwise.
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
    p = fisher_exact(
        [[sum(learning), len(learning) - sum(learning)], [sum(controls), len(controls) - sum(controls)]],
        alternative="greater",
    ).pvalue
    halves = [name for name, flags in emerged.items() if name not in CONTROLS and 2 * sum(flags) >= len(flags)]
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
    )


def groups_are_planted_stages(answer: TaskAnswer) -> Verdict:
    """Groups against the planted ones, by the adjusted Rand index; chance is as many boundaries anywhere else.

    Found where every strategy that supervises stages beats chance after Holm's correction; with a condition where some
    strategy does; not found where none does.
    """
    claim = "The groups correspond to functional abstractions (the planted stages)."
    assert answer.comparison is not None
    p_values: dict[str, float] = {}
    lines = []
    for summary in answer.comparison.strategies:
        if summary.strategy in CONTROLS:
            continue
        index, p = _against_chance(summary.findings, answer.planted)
        exact = sum(set(run.boundaries) == set(answer.planted) for run in summary.findings)
        p_values[summary.strategy] = p
        lines.append((summary.strategy, index, exact, len(summary.findings)))
    corrected = _holm(p_values)
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
    )


def strategies_move_groups(answers: Mapping[str, TaskAnswer]) -> Verdict:
    """Permutation tests between strategies against within, of those under which the layers learn.

    Found where groups differ beyond seed noise on all tasks with two such strategies; with a condition where they do on
    some, or matrices do; not found otherwise.
    """
    claim = "The training strategy influences where sub-groups sit."
    evidence = ["Of the strategies under which the layers learn; the controls would tell themselves apart."]
    told = {}
    for task, answer in answers.items():
        assert answer.comparison is not None
        learning = [summary for summary in answer.comparison.strategies if summary.strategy not in CONTROLS]
        if len(learning) < 2:
            continue
        findings = [found for summary in learning for found in summary.findings]
        for by, test in compare_strategies(findings, task).overall.items():
            told[task, by] = bool(test.p < LEVEL)
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
    return Verdict(claim, found, tuple(evidence))


def widths_may_differ(runs: Sequence[ReportRun], folder: Path) -> Verdict:
    """Found where layers of unequal width, and of unequal scale, were all measured against each other."""
    claim = "Layers may differ in width and distribution."
    evidence, widest = [], 1.0
    complete = True
    for task in dict.fromkeys(run.task for run in runs):
        run = next((run for run in runs if run.task == task and run.history), None)
        if run is None:
            continue
        layers = load_representations(folder / run.key).layers
        widths = sorted({values.shape[1] for values in layers.values()})
        scales = [float(values.double().square().mean().sqrt()) for values in layers.values()]
        last = run.history[-1].gw
        pairs = np.triu_indices(len(last.layers), 1)
        measured = int(np.isfinite(last.distortion[pairs]).sum())
        complete &= measured == len(pairs[0])
        widest = max(widest, widths[-1] / widths[0])
        evidence.append(
            f"{task} ({run.name}): widths {listed([str(width) for width in widths])}; root mean square of activations "
            f"from {min(scales):.2g} to {max(scales):.2g}; {measured} of {len(pairs[0])} pairs measured."
        )
    evidence.append(
        "The paired measures (RSA, CKA) need no equal widths either; what they cannot do, and GW can, is compare "
        "layers that saw other inputs (docs/unpaired.md)."
    )
    return Verdict(claim, "found" if complete and widest > 1 else "not found", tuple(evidence))


def cost_is_low(runs: Sequence[ReportRun], config: Path) -> Verdict:
    """Counted, not judged against a threshold, except that looking must take less time than training did."""
    claim = "It takes little human and computational work."
    evidence = []
    dear = []
    for task in dict.fromkeys(run.task for run in runs):
        mine = [run for run in runs if run.task == task and run.history and run.seconds]
        looks = [record.seconds for run in mine for record in run.history]
        whole = sum(run.seconds or 0.0 for run in mine)
        if not mine:
            continue
        share = sum(looks) / whole
        dear += [task] if share > 0.5 else []
        evidence.append(
            f"{task}: a look took {np.median(looks):.1f} s (median of {len(looks)}), all looks {share:.0%} of the "
            f"{whole / len(mine):.0f} s of a run, its start included."
        )
    written = yaml.safe_load(config.read_text(encoding="utf-8"))
    lines = [line for line in config.read_text(encoding="utf-8").splitlines() if line.split("#")[0].strip()]
    evidence.insert(
        0,
        "To watch a training of one's own: one line, `callbacks=[GWSimilarity()]`. To state this comparison of "
        f"{len(runs)} runs: {len(lines)} lines of YAML for {len(written['experiments'])} experiments.",
    )
    evidence.append(
        "These trainings are short, and every step that was planned was looked at (`max_overhead: null`); by default "
        "looks are put off where they would take more than 2 % of a training that counts as at least 5 minutes."
    )
    return Verdict(claim, f"found, with a condition: not on {listed(dear)}" if dear else "found", tuple(evidence))


def _against_chance(findings: Sequence[Finding], planted: Sequence[int]) -> tuple[float, float]:
    """Mean adjusted Rand index with the planted groups, and its p-value against boundaries drawn anywhere."""
    layers = len(findings[0].layers)
    truth = _labels(planted, layers)
    index = float(np.mean([adjusted_rand_index(run.labels, truth) for run in findings]))
    generator = np.random.default_rng(0)
    cache: dict[tuple[int, ...], float] = {}

    def drawn(count: int) -> float:
        boundaries = tuple(sorted(generator.choice(layers - 1, size=count, replace=False).tolist()))
        if boundaries not in cache:
            cache[boundaries] = adjusted_rand_index(_labels(boundaries, layers), truth)
        return cache[boundaries]

    chance = [np.mean([drawn(len(run.boundaries)) for run in findings]) for _ in range(DRAWS)]
    return index, (1 + sum(value >= index - 1e-12 for value in chance)) / (1 + DRAWS)


def _labels(boundaries: Sequence[int], layers: int) -> list[int]:
    return [sum(layer > boundary for boundary in boundaries) for layer in range(layers)]


def _holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction."""
    corrected: dict[str, float] = {}
    least = 0.0
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, p * (len(p_values) - place)))
        corrected[name] = least
    return {name: corrected[name] for name in p_values}
