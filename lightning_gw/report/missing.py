"""What a reader might take for present on a page but is not."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_gw.figures.series import logged_names
from lightning_gw.records.words.misnamed import never_logged, planted_beyond
from lightning_gw.report.comparisons.tasks import TaskAnswer
from lightning_gw.report.run.loading import ReportRun, ReportSource
from lightning_gw.utilities.text import listed


def missing_from(source: ReportSource, answers: Sequence[TaskAnswer]) -> list[tuple[str, str]]:
    """Everything a reader might take for present but is not, as ``(which runs, what is missing)``."""
    found: dict[str, list[str]] = {}
    for run in source.runs:
        for text in _missing_from(run):
            found.setdefault(text, []).append(run.name)
    if len(source.runs) == 1:
        told = [("This run", text) for text in found]
    else:
        recorded = sum(bool(run.history) for run in source.runs)
        told = [
            ("Every recorded run" if len(names) == recorded > 1 else "; ".join(names), text)
            for text, names in found.items()
        ]
    # What a note of the comparison says of single runs is said of them already.
    notes = [note for note in source.notes if not any(note.endswith(text) for text in found)]
    told += [("The comparison", note) for note in notes]
    for answer in answers:
        which = f"Statistics of {answer.task}" if answer.task else "Statistics"
        if answer.left_out and answer.comparison:
            told.append((which, f"Without {listed(answer.left_out)}."))
        told += [(which, note) for note in answer.comparison.notes] if answer.comparison else []
    return told


def _missing_from(run: ReportRun) -> list[str]:
    found = []
    if run.status == "failed":
        found.append(f"This run failed. {run.error or 'No reason was recorded.'}")
    elif run.status in ("running", "waiting"):
        found.append(f"This run was still {run.status} when the page was made.")
    elif not run.history:
        found.append("This run finished, but left no look that could be read.")
    found += run.problems
    if run.status == "finished" and run.history and run.accuracy is not None:
        logged = logged_names(run.history)
        if run.accuracy not in logged:
            found.append(never_logged(run.accuracy, logged))
    if run.history and (beyond := planted_beyond(run.planted, len(run.history[-1].layers))):
        found.append(beyond)
    found += sorted(
        {
            f"Layer {name} could not be measured at some looks: {reason}"
            for record in run.history
            for name, reason in record.gw.degenerate.items()
        }
    )
    found += dict.fromkeys(note for record in run.history for note in record.notes)
    if run.history and all(record.groups.p_value is None for record in run.history):
        found.append("No p-value was computed: strength rests on contrast alone.")
    if run.history and all(record.groups.stability is None for record in run.history):
        found.append("Stability under other probe inputs was not measured.")
    return found
