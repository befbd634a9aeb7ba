"""Writes docs/results.md, with its pictures, from the runs of configs/compare/reproduce.yaml: `make reproduce`."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import claims
import torch

from lightning_gw import __version__
from lightning_gw.report import load_source
from lightning_gw.report.comparisons.rectangles import CACHE_FILE, TaskRectangles, rectangles_of
from lightning_gw.report.comparisons.tasks import TaskAnswer, answer_tasks
from lightning_gw.report.loading import ReportRun
from lightning_gw.report.pictures import task_pictures
from lightning_gw.statistics.correspondence import correspondence_sentence
from lightning_gw.statistics.description import strategy_sentence
from lightning_gw.statistics.results import Estimate

CONFIG = Path("configs/compare/reproduce.yaml")
RUNS = Path("runs/reproduce")
DOCS = Path(__file__).parent
#: Of the pictures; their text is read beside that of the page.
DPI = 80
_TASKS = {"algebra": "an algebraic task", "language": "a language task", "vision": "images"}


def main() -> None:
    """Draw the pictures and write the page."""
    source = load_source(RUNS)
    unfinished = [run.name for run in source.runs if run.status != "finished"]
    if unfinished:
        raise SystemExit(
            f"{len(unfinished)} runs are not finished, such as {unfinished[0]}; run `make reproduce` again."
        )
    answers = answer_tasks(source.runs)
    print("Drawing the pictures ...", flush=True)
    rectangles = rectangles_of(source.runs, RUNS / CACHE_FILE)
    for task, answer in answers.items():
        for name, figure in task_pictures(source.runs, answer, rectangles.get(task)).items():
            figure.savefig(DOCS / "pictures" / f"results-{task}-{name}.png", dpi=DPI)
    page = "\n".join(_page(source.runs, answers, rectangles))
    (DOCS / "results.md").write_text(page, encoding="utf-8")
    print(f"Wrote {DOCS / 'results.md'} and its pictures.")


def _page(
    runs: Sequence[ReportRun], answers: Mapping[str, TaskAnswer], rectangles: Mapping[str, TaskRectangles]
) -> Iterator[str]:
    seconds = sum(run.seconds or 0.0 for run in runs)
    yield "# Does the training strategy change where layers group?"
    yield ""
    yield f"""\
Written by `make reproduce`: every figure and picture here comes from that command, from {len(runs)} runs of
`{CONFIG}`, which took {seconds / 60:.0f} minutes together, with one thread each, on a machine of
{os.cpu_count()} cores ({platform.machine()}; Python {platform.python_version()}, torch {torch.__version__},
lightning-gw {__version__}). Runs of a task share their probe inputs, number of optimizer steps and batch size. Run it
and open `{RUNS}/report.html` to see each run look by look."""
    yield ""
    yield "## The claims, one by one"
    yield ""
    yield (
        "The claims are those of Gao, Dhurandhar, Natesan Ramamurthy and Wei "
        "([arXiv 2410.16484](bibliography.md#gao-2024)); how each is judged stands in [docs/claims.py](claims.py)."
    )
    yield ""
    yield "| claim | verdict |"
    yield "|---|---|"
    verdicts = [
        *(claims.groups_emerge(task, _TASKS.get(task, task), runs) for task in answers),
        *(claims.groups_are_planted_stages(answer) for answer in answers.values() if answer.planted),
        claims.strategies_move_groups(answers),
        claims.widths_may_differ(runs, RUNS),
        claims.cost_is_low(runs, CONFIG),
    ]
    for verdict in verdicts:
        yield f"| {verdict.claim} | **{verdict.found}** |"
    for verdict in verdicts:
        yield ""
        yield f"**{verdict.claim}** {verdict.found.capitalize()}."
        yield ""
        yield from (f"- {line}" for line in verdict.evidence)
        if verdict.table:
            yield ""
            yield from _table(verdict.table)
    for task, answer in answers.items():
        yield ""
        yield from _task(task, answer)
        found = rectangles.get(task)
        if found and found.found:
            yield ""
            yield f"<details><summary>Which layers correspond to those of {found.reference}</summary>"
            yield ""
            for strategy, each in found.found.items():
                if strategy != found.reference:
                    yield f"- {correspondence_sentence(each, found.reference, strategy)}"
            yield ""
            yield "</details>"
    yield ""


def _task(task: str, answer: TaskAnswer) -> Iterator[str]:
    comparison = answer.comparison
    assert comparison is not None
    yield f"## {task.capitalize()}"
    yield ""
    yield from (f"- {line}" for line in (*answer.terms, *answer.sentences, *comparison.notes))
    yield ""
    rows = [
        (
            summary.strategy,
            str(len(summary.findings)),
            _cell(summary.accuracy, ".3f"),
            _cell(summary.groups, ".1f"),
            _cell(summary.converged, ".0f"),
            _cell(summary.agreement, ".2f"),
        )
        for summary in comparison.strategies
    ]
    yield from _table([("strategy", "runs", "accuracy", "groups", "settled at step", "agreement of seeds"), *rows])
    yield ""
    yield (
        "In brackets 95 % intervals over seeds. *Agreement of seeds* is the adjusted Rand index between the groups of "
        "two runs of the strategy. *Settled* counts only runs whose groups stopped changing before the last look."
    )
    for name, says in (
        ("timelines", "All runs: training goes right, depth goes down"),
        ("boundary_histograms", "How often a boundary stood after each layer"),
        ("mean_matrices", "Mean similarity of each strategy, and its spread over seeds"),
        ("differences", "Strategy against strategy"),
        ("corresponding_layers", "Which layers of the first strategy correspond to which of the others"),
    ):
        if (DOCS / "pictures" / f"results-{task}-{name}.png").exists():
            yield ""
            yield f"![{says}](pictures/results-{task}-{name}.png)"
    yield ""
    yield "<details><summary>Every strategy in a sentence</summary>"
    yield ""
    yield from (f"- {strategy_sentence(summary)}" for summary in comparison.strategies)
    yield ""
    yield "</details>"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(rows[0])} |"
    yield "|" + "---|" * len(rows[0])
    yield from (f"| {' | '.join(row)} |" for row in rows[1:])


def _cell(estimate: Estimate, form: str) -> str:
    if math.isnan(estimate.value):
        return "–"
    value = f"{estimate.value:{form}}"
    if math.isnan(estimate.low):
        return f"{value} (1 run)" if estimate.runs == 1 else value
    return f"{value} ({estimate.low:{form}} to {estimate.high:{form}})"


if __name__ == "__main__":
    main()
