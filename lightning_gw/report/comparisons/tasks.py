"""What the page says of each task: its strategies against each other, on which terms, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_gw.report.run.loading import ReportRun
from lightning_gw.statistics.description import task_sentences
from lightning_gw.statistics.findings import finding_of
from lightning_gw.statistics.results import Finding, StrategySummary, TaskComparison
from lightning_gw.statistics.strategies import compare_strategies
from lightning_gw.utilities.text import listed, plural


@dataclass(frozen=True)
class TaskAnswer:
    """The strategies of one task against each other, as the page shows them.

    Attributes:
        task: Its name; empty where the comparison names none.
        comparison: The statistics, or None where no run can be compared.
        lacking: Why there are none, in a sentence; empty where there are.
        sentences: The answer in words.
        terms: On which terms the runs compare: optimizer steps, probe.
        left_out: Runs that the statistics do without, and why.
        planted: Boundaries the experiment built in on purpose (0-based), where all its runs name the same.
    """

    task: str
    comparison: TaskComparison | None
    lacking: str
    sentences: tuple[str, ...]
    terms: tuple[str, ...]
    left_out: tuple[str, ...]
    planted: tuple[int, ...]

    def summary_of(self, strategy: str) -> StrategySummary | None:
        """What is known of one strategy over its seeds; None where none of its runs can be compared."""
        found = self.comparison.strategies if self.comparison else ()
        return next((summary for summary in found if summary.strategy == strategy), None)


def answer_tasks(runs: Sequence[ReportRun]) -> Mapping[str, TaskAnswer]:
    """Compare the finished runs of every task.

    Args:
        runs: All runs of a comparison.

    Returns:
        Task to its answer, in the order of the comparison.
    """
    return {
        task: _answer(task, [run for run in runs if run.task == task]) for task in dict.fromkeys(r.task for r in runs)
    }


def _answer(task: str, runs: Sequence[ReportRun]) -> TaskAnswer:
    findings, left_out = _findings(runs)
    planted = {run.planted for run in runs if run.planted}
    comparison = compare_strategies(findings, task) if findings else None
    return TaskAnswer(
        task=task,
        comparison=comparison,
        lacking="" if comparison else _why_none(runs, left_out),
        sentences=tuple(task_sentences(comparison)) if comparison else (),
        terms=tuple(filter(None, [_budget(findings), _probe(runs)])),
        left_out=tuple(left_out),
        planted=next(iter(planted)) if len(planted) == 1 else (),
    )


def _why_none(runs: Sequence[ReportRun], left_out: Sequence[str]) -> str:
    if any(run.status == "finished" for run in runs):
        return f"No run can be compared: {listed(left_out)}."
    return "No run has finished yet, so there is nothing to compare."


def _findings(runs: Sequence[ReportRun]) -> tuple[list[Finding], list[str]]:
    """What finished runs ended with; how a run stands that is still training is no end of it."""
    findings: list[Finding] = []
    left_out: list[str] = []
    seen: set[tuple[str, int]] = set()
    for run in runs:
        if run.status != "finished" or run.seed is None or not run.history:
            reason = (
                run.status if run.status != "finished" else "without a seed" if run.seed is None else "without a look"
            )
            left_out.append(f"{run.name} ({reason})")
            continue
        if (run.strategy, run.seed) in seen:
            left_out.append(f"{run.key} (the second run of {run.name})")
            continue
        seen.add((run.strategy, run.seed))
        try:
            finding = finding_of(
                run.history,
                key=run.key,
                strategy=run.strategy,
                seed=run.seed,
                accuracy=run.accuracy,
                seconds=run.seconds,
            )
        except ValueError as error:
            left_out.append(f"{run.name} ({error})")
            continue
        if finding is not None:
            findings.append(finding)
    return findings, left_out


def _budget(findings: Sequence[Finding]) -> str:
    """Whether all runs trained for as long."""
    if not findings:
        return ""
    steps: dict[int, list[str]] = {}
    for finding in findings:
        steps.setdefault(finding.steps, []).append(finding.strategy)
    if len(findings) == 1:
        return f"Trained for {findings[0].steps} optimizer steps."
    if len(steps) == 1:
        return f"Equal budgets: {next(iter(steps))} optimizer steps each."
    told = []
    for count, strategies in sorted(steps.items()):
        names = listed(list(dict.fromkeys(strategies)))
        told.append(f"{count} in {plural(len(strategies), 'run')} ({names})")
    return f"Budgets are not equal; optimizer steps until the last look: {'; '.join(told)}."


def _probe(runs: Sequence[ReportRun]) -> str:
    """Whether all runs were looked at through the same inputs."""
    probes: dict[str, list[str]] = {}
    size, source = None, ""
    for run in runs:
        for found in dict.fromkeys(str(record.probe.get("hash")) for record in run.history):
            probes.setdefault(found, []).append(run.strategy)
        if run.history:
            size, source = run.history[-1].probe.get("size"), str(run.history[-1].probe.get("source") or "")
    if not probes:
        return ""
    inputs = f", {size} inputs" + (f" from {source}" if source else "") if size is not None else ""
    if len(probes) == 1:
        found = next(iter(probes))
        return f"The same probe for all{inputs} (hash {found[:8]})."
    told = [f"{found[:8]} in {listed(list(dict.fromkeys(names)))}" for found, names in probes.items()]
    return f"Not looked at through the same probe, so their matrices are not of the same inputs: {'; '.join(told)}."
