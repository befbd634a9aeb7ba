"""One strategy of one task as the page's side-by-side view shows it: its runs, its answer, its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_gw.figures.series import accuracy_names, metric_series
from lightning_gw.figures.style import convergence_text, estimate_text, groups_text
from lightning_gw.records.history import History
from lightning_gw.records.words.description import inherited_sentences, weights_sentences
from lightning_gw.report.comparisons.answers import describe_comparison, growth_across, planted_sentence
from lightning_gw.report.comparisons.tasks import TaskAnswer
from lightning_gw.report.run.loading import ReportRun
from lightning_gw.statistics.description import strategy_sentence
from lightning_gw.statistics.results import StrategySummary


@dataclass(frozen=True)
class Row:
    """One strategy of one task.

    Attributes:
        task: The task.
        strategy: The strategy.
        question: What it is there to answer.
        runs: Its runs, by seed.
        answer: Where its groups ended up, in a line.
        accuracy: The last accuracy of its runs; empty where none was logged.
        sentence: What its seeds say together; empty for a single run.
        figures: ``(what, how much)`` over its seeds.
        further: Sentences on planted boundaries, on groups that were there before, on what grew, and on which layers
            were trained where others were not.
        finished: How many runs the figures are of.
    """

    task: str
    strategy: str
    question: str
    runs: tuple[ReportRun, ...]
    answer: str
    accuracy: str
    sentence: str
    figures: tuple[tuple[str, str], ...]
    further: tuple[str, ...]
    finished: int


def rows_of(runs: Sequence[ReportRun], answers: Mapping[str, TaskAnswer]) -> list[Row]:
    """One row a strategy, in the order of the comparison.

    Args:
        runs: All runs of the page.
        answers: Task to its comparison; empty for a run on its own.
    """
    rows = []
    some_frozen = any(weights_sentences(run.history[-1], run.history[0].step) for run in runs if run.history)
    for task, strategy in dict.fromkeys((run.task, run.strategy) for run in runs):
        own = tuple(run for run in runs if (run.task, run.strategy) == (task, strategy))
        (answer,) = describe_comparison({strategy: [run.history for run in own]})
        answer = answer.removeprefix(f"{strategy}: ")
        recorded = [run.history for run in own if run.history]
        summary = answers[task].summary_of(strategy) if task in answers else None
        trained = _trained(recorded) if some_frozen else ""
        further = (_planted(own), " ".join(inherited_sentences(recorded)), growth_across(recorded), trained)
        rows.append(
            Row(
                task=task,
                strategy=strategy,
                question=next((run.question for run in own if run.question), ""),
                runs=own,
                answer=answer[0].upper() + answer[1:],
                accuracy=_final_accuracy(own),
                sentence=_sentence(summary) if summary and len(summary.findings) > 1 else "",
                figures=_figures(summary) if summary else (),
                further=tuple(filter(None, further)),
                finished=len(summary.findings) if summary else 0,
            )
        )
    return rows


def _sentence(summary: StrategySummary) -> str:
    """What `strategy_sentence` says, without the name and the number of runs, which stand beside it."""
    said = strategy_sentence(summary).removeprefix(summary.strategy).partition("): ")[2]
    return said[:1].upper() + said[1:]


def _figures(summary: StrategySummary) -> tuple[tuple[str, str], ...]:
    told = [("groups", groups_text(summary)), ("settled", convergence_text(summary))]
    if math.isfinite(summary.accuracy.value):
        told.insert(0, ("accuracy", estimate_text(summary.accuracy)))
    if math.isfinite(summary.agreement.value):
        told.append(("seeds agree", estimate_text(summary.agreement)))
    return tuple(told)


def _trained(histories: Sequence[History]) -> str:
    """Whose weights changed; told of every layer only where other runs of the page left some as they were."""
    told = set()
    for history in histories:
        last, start = history[-1], history[0].step
        known = last.weights is not None and last.step != start
        every = f"Since step {start} the weights of every layer changed." if known else ""
        told.add(" ".join(weights_sentences(last, start)) or every)
    told.discard("")
    return "Its runs differ in which layers' weights changed." if len(told) > 1 else next(iter(told), "")


def _planted(runs: Sequence[ReportRun]) -> str:
    ends = [(run.planted, run.history[-1].groups) for run in runs if run.planted and run.history]
    if len(ends) == 1:
        return planted_sentence(ends[0][1], ends[0][0])
    # One sentence a seed would bury the answer, so they are counted.
    whole = sum(set(boundaries) <= set(groups.boundaries) for boundaries, groups in ends)
    return f"Every planted boundary found in {whole} of {len(ends)} runs." if ends else ""


def _final_accuracy(runs: Sequence[ReportRun]) -> str:
    """The last accuracy of every seed, as one number or a range; empty where none was logged."""
    values = []
    for run in runs:
        series = metric_series(run.history)
        # Another metric's values would pass for those of the one that was named.
        names = accuracy_names(series, most=1) if run.accuracy is None else {run.accuracy} & series.keys()
        values += [series[name][-1][1] for name in names]
    texts = sorted({f"{value:.3f}" for value in values})
    return f"{texts[0]}–{texts[-1]}" if len(texts) > 1 else "".join(texts)
