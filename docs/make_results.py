"""Writes docs/results.md, with its pictures, from what `make reproduce` trained and measured.

python docs/make_results.py                     # from runs/reproduce and runs/using_groups
python docs/make_results.py --runs A --study-runs B --study CONFIG --docs FOLDER
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import claims  # noqa: E402
from effects_picture import draw_effects  # noqa: E402

from benchmarks.using_groups.measurements import read_rows  # noqa: E402
from benchmarks.using_groups.plan import CONFIG as STUDY  # noqa: E402
from benchmarks.using_groups.plan import Plan, read_plan  # noqa: E402
from lightning_gw import __version__  # noqa: E402
from lightning_gw.figures.style import convergence_text  # noqa: E402
from lightning_gw.report import load_source  # noqa: E402
from lightning_gw.report.comparisons.rectangles import CACHE_FILE, TaskRectangles, rectangles_of  # noqa: E402
from lightning_gw.report.comparisons.tasks import TaskAnswer, answer_tasks  # noqa: E402
from lightning_gw.report.pictures import task_pictures  # noqa: E402
from lightning_gw.report.run.loading import ReportRun  # noqa: E402
from lightning_gw.statistics.correspondence import correspondence_sentence  # noqa: E402
from lightning_gw.statistics.description import strategy_sentence  # noqa: E402
from lightning_gw.statistics.results import Estimate, StrategySummary  # noqa: E402

CONFIG = Path("configs/compare/reproduce.yaml")
#: Of the pictures; their text is read beside that of the page.
DPI = 80
_TASKS = {"algebra": "an algebraic task", "language": "a language task", "vision": "images"}


@dataclass(frozen=True)
class Source:
    """What the page is made from.

    Attributes:
        folder: Of the comparison.
        runs: Its runs.
        plan: The study.
        rows: Its measurements.
        docs: Where the page and its pictures are written.
    """

    folder: Path
    runs: Sequence[ReportRun]
    plan: Plan
    rows: Sequence[Mapping[str, Any]]
    docs: Path


def read(arguments: Sequence[str] | None = None) -> Source:
    """Read the comparison and the study, as the command line says.

    Raises:
        SystemExit: If one of them is not finished.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/reproduce"), help="folder of the comparison")
    parser.add_argument("--study", type=Path, default=STUDY, help="config of the study")
    parser.add_argument("--study-runs", type=Path, help="folder of the study, in place of its config's")
    parser.add_argument("--whole", action="store_true", help="the study was made with --whole")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where to write")
    options = parser.parse_args(arguments)
    runs = load_source(options.runs).runs
    plan = read_plan(options.study, options.whole, options.study_runs)
    rows = read_rows(plan.out)
    unfinished = [run.name for run in runs if run.status != "finished"]
    missing = [f"{name}, seed {seed}: {case}" for (name, seed), left in plan.missing(rows).items() for case in left]
    for what, names in (("runs are not finished", unfinished), ("measurements are missing", missing)):
        if names:
            raise SystemExit(f"{len(names)} {what}, such as {names[0]}; run `make reproduce` again.")
    return Source(options.runs, runs, plan, plan.current(rows), options.docs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures and write the page."""
    source = read(arguments)
    answers = answer_tasks(source.runs)
    (source.docs / "pictures").mkdir(parents=True, exist_ok=True)
    print("Drawing the pictures ...", flush=True)
    rectangles = rectangles_of(source.runs, source.folder / CACHE_FILE)
    for task, answer in answers.items():
        for name, figure in task_pictures(source.runs, answer, rectangles.get(task)).items():
            figure.savefig(_picture(source, f"{task}-{name}"), dpi=DPI)
    print("Judging the claims ...", flush=True)
    verdicts = judge(source, answers)
    for verdict in verdicts:
        if verdict.picture:
            draw_effects(verdict.panels, verdict.better).savefig(_picture(source, verdict.picture), dpi=DPI)
    page = "\n".join(_page(source, answers, rectangles, verdicts))
    (source.docs / "results.md").write_text(page, encoding="utf-8")
    print(f"Wrote {source.docs / 'results.md'} and its pictures.")


def judge(source: Source, answers: Mapping[str, TaskAnswer]) -> list[claims.Verdict]:
    """All claims, those of the paper's first version first."""
    runs, rows = source.runs, source.rows
    return [
        *(claims.groups_emerge(task, _TASKS.get(task, task), runs) for task in answers),
        *(claims.groups_are_planted_stages(answer) for answer in answers.values() if answer.planted),
        claims.strategies_move_groups(answers),
        claims.widths_may_differ(runs, source.folder),
        claims.cost_is_low(runs, ROOT / CONFIG),
        claims.layers_change_abruptly(runs, rows),
        claims.groups_serve_compression(rows),
        claims.groups_serve_fine_tuning(rows),
        claims.settled_groups_can_be_frozen(rows),
    ]


def _picture(source: Source, name: str) -> Path:
    return source.docs / "pictures" / f"results-{name}.png"


def _page(
    source: Source,
    answers: Mapping[str, TaskAnswer],
    rectangles: Mapping[str, TaskRectangles],
    verdicts: Sequence[claims.Verdict],
) -> Iterator[str]:
    yield "# What became of the claims"
    yield ""
    yield from _table(list(claims.first_table(verdicts)))
    yield ""
    yield "What these verdicts cannot say:"
    yield ""
    yield from (f"- {limit}" for limit in claims.LIMITS)
    yield ""
    yield _provenance(source)
    yield ""
    yield "## The claims, one by one"
    yield ""
    yield (
        "The claims are those of Gao, Dhurandhar, Natesan Ramamurthy and Wei "
        "([arXiv 2410.16484](bibliography.md#gao-2024)), *Identifying Sub-networks in Neural Networks via Functionally "
        "Similar Representations* in its first version, *Representation Similarity Reveals Implicit Layer Grouping in "
        "Neural Networks* in its later one. By which rule each is judged stands in `docs/claims/`: "
        "[training](claims/training.py), [practice](claims/practice.py), [steps](claims/steps.py), "
        "[removing](claims/removing.py), [fine-tuning](claims/fine_tuning.py), [freezing](claims/freezing.py)."
    )
    for verdict in verdicts:
        yield from _verdict(source, verdict)
    for task, answer in answers.items():
        yield ""
        yield from _task(source, task, answer)
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


def _provenance(source: Source) -> str:
    seconds = sum(run.seconds or 0.0 for run in source.runs)
    measured = sum(row["took"] for row in source.rows)
    return f"""\
Written by `make reproduce`: every figure and picture here comes from that command, from {len(source.runs)} runs of
`{CONFIG}`, which took {seconds / 60:.0f} minutes together, and from {len(source.rows)} measurements of
`configs/studies/using_groups.yaml` on {len(source.plan.networks)} networks with {len(source.plan.seeds)} seeds, which
took {measured / 60:.0f} minutes of processor time, all with one thread each, on a machine of {os.cpu_count()} cores
({platform.machine()}; Python {platform.python_version()}, torch {torch.__version__}, lightning-gw {__version__}).
Runs of a task share their probe inputs, number of optimizer steps and batch size. Run it and open
`runs/reproduce/report.html` to see each run look by look."""


def _verdict(source: Source, verdict: claims.Verdict) -> Iterator[str]:
    yield ""
    yield f"**{verdict.claim}** {verdict.found[:1].upper()}{verdict.found[1:]}."
    yield ""
    yield from (f"- {line}" for line in verdict.evidence)
    if verdict.picture:
        yield ""
        yield f"![{verdict.better}, with 95 % intervals](pictures/{_picture(source, verdict.picture).name})"
    if verdict.table:
        yield ""
        yield from _table(verdict.table)


def _task(source: Source, task: str, answer: TaskAnswer) -> Iterator[str]:
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
            settled_at(summary),
            _cell(summary.agreement, ".2f"),
        )
        for summary in comparison.strategies
    ]
    yield from _table([("strategy", "runs", "accuracy", "groups", "settled at step", "agreement of seeds"), *rows])
    yield ""
    yield (
        "In brackets 95 % intervals over seeds. *Agreement of seeds* is the adjusted Rand index between the groups of "
        "two runs of the strategy. *Settled* counts only runs whose groups stopped changing before the last look; *not "
        "yet* stands where there are groups and no such run."
    )
    for name, says in (
        ("timelines", "All runs: training goes right, depth goes down"),
        ("boundary_histograms", "How often a boundary stood after each layer"),
        ("mean_matrices", "Mean similarity of each strategy, and its spread over seeds"),
        ("differences", "Strategy against strategy"),
        ("corresponding_layers", "Which layers of the first strategy correspond to which of the others"),
    ):
        if _picture(source, f"{task}-{name}").exists():
            yield ""
            yield f"![{says}](pictures/results-{task}-{name}.png)"
    yield ""
    yield "<details><summary>Every strategy in a sentence</summary>"
    yield ""
    yield from (f"- {strategy_sentence(summary)}" for summary in comparison.strategies)
    yield ""
    yield "</details>"


def settled_at(summary: StrategySummary) -> str:
    """The mean step from which on groups stood; in words where they did in no run."""
    return _cell(summary.converged, ".0f") if summary.converged.runs else convergence_text(summary)


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
