"""What of a source can be shown, where a page of all of it cannot be made: what is wrong costs its look, or its run."""

from __future__ import annotations

from dataclasses import replace

from lightning_gw.records.history import History
from lightning_gw.report.comparisons.rows import rows_of
from lightning_gw.report.comparisons.tasks import answer_tasks
from lightning_gw.report.payload import page_payload
from lightning_gw.report.run.afterwards import Afterwards, answer_of
from lightning_gw.report.run.loading import ReportRun, ReportSource
from lightning_gw.report.run.uses import uses_of
from lightning_gw.utilities.errors import reason_of


def presentable(source: ReportSource) -> ReportSource:
    """The source without the looks, and the runs, of which no page can be made; each is named in its run's problems."""
    return replace(source, runs=tuple(_shown(run) for run in source.runs))


def wordless(source: ReportSource, error: Exception) -> ReportSource:
    """The source without any history, where its runs make no page together; `error` says why."""
    why = f"No page can be made of these runs together ({_said(error)})."
    runs = tuple(replace(run, history=History(problems=run.history.problems)) for run in source.runs)
    return replace(source, runs=runs, notes=(*source.notes, why))


def _shown(run: ReportRun) -> ReportRun:
    fault = _fault(run)
    if fault is None:
        return run
    if run.afterwards != Afterwards():
        why = f"What was done to it after its training was left out: it cannot be shown ({fault})."
        run = replace(run, afterwards=Afterwards(problems=(*run.afterwards.problems, why)))
        if _fault(run) is None:
            return run
    whole = run.history
    problems, sound = list(whole.problems), []
    for record in whole:
        fault = _fault(replace(run, history=History([record], whole.metrics)))
        if fault is None:
            sound.append(record)
        else:
            problems.append(f"The look at step {record.step} was left out: it cannot be shown ({fault}).")
    left = replace(run, history=History(sound, whole.metrics, problems))
    if (fault := _fault(left)) is None:
        return left
    # Its metrics may be at fault, or what its looks are together.
    bare = replace(run, history=History(sound, (), [*problems, f"Its metrics were left out: {fault}."]))
    if (fault := _fault(bare)) is None:
        return bare
    return replace(run, history=History(problems=[*problems, f"Its looks cannot be shown together ({fault})."]))


def _fault(run: ReportRun) -> str | None:
    """Why no page can be made of a run; None where one can."""
    try:
        answer_of(run.history, run.afterwards)
        uses_of(run.history, run.afterwards)
        page_payload([run], {}, {})
        rows_of([run], answer_tasks([run]))
    except Exception as error:
        return _said(error)
    return None


def _said(error: Exception) -> str:
    return " ".join(reason_of(error).split())[:300]
