"""Puts a page together: words rendered by Jinja2, data as JSON, and the charting library packed inside."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lightning_gw.__about__ import __version__
from lightning_gw.figures.metrics import accuracy_names, logged_names, metric_series
from lightning_gw.report.answers import describe_comparison, growth_across, headline, planted_sentence
from lightning_gw.report.loading import ReportRun, ReportSource, load_source
from lightning_gw.report.payload import page_payload
from lightning_gw.sentences import describe, inherited_sentences, never_logged, planted_beyond

PAGE_FILE = "report.html"
#: The page's script, in the order in which its parts build on each other.
_SCRIPTS = ("theme.js", "timeline.js", "look.js", "page.js")


@dataclass(frozen=True)
class Row:
    """One strategy of one task: its runs by seed, for the side-by-side view and the answers."""

    task: str
    strategy: str
    question: str
    runs: tuple[ReportRun, ...]
    answer: str
    planted: str
    growth: str
    inherited: str
    accuracy: str


def write_report(path: str | Path) -> Path:
    """Build the page of a comparison or of one run from what is on disk.

    Args:
        path: A comparison's folder (with ``comparison.json``), or a run's folder (with ``gw/history.jsonl``).

    Returns:
        The page, ``report.html`` in that folder; one file that needs no other and no network.

    Raises:
        FileNotFoundError: If the folder holds neither.
        ValueError: If ``comparison.json`` is damaged, or a history was written by a newer version.
    """
    return write_page(load_source(Path(path)), Path(path))


def write_page(source: ReportSource, folder: Path) -> Path:
    """Build the page of what `load_source` read, ``report.html`` in `folder`."""
    html = render(source)
    page = folder / PAGE_FILE
    aside = page.with_suffix(".html.part")
    aside.write_text(html, encoding="utf-8")
    aside.replace(page)  # a reader never meets half a page
    return page


def render(source: ReportSource) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("lightning_gw.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = _rows(source.runs)
    shown = [run for run in source.runs if run.history]
    return environment.get_template("page.html").render(
        source=source,
        headline=headline([run.history for run in source.runs]) if source.is_comparison else None,
        answer=describe(source.runs[0].history) if source.runs else "",
        rows=rows,
        tasks=list(dict.fromkeys(row.task for row in rows)),
        seeds=sorted({run.seed for run in source.runs if run.seed is not None}),
        shown=shown,
        missing=_missing(source.runs),
        payload=json_for_html(page_payload(source.runs)),
        style=Markup(_template_text("page.css")),
        script=Markup("\n".join(_template_text(name) for name in _SCRIPTS)),
        library=Markup(packed_plotly()),
        version=__version__,
    )


def json_for_html(content: Any) -> Markup:
    """JSON that cannot end the script element it stands in: every ``<``, ``>`` and ``&`` is written as an escape."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


@cache
def packed_plotly() -> str:
    """Plotly's script, compressed and in base64: 2 MB instead of 4.8, so that a page can be mailed.

    The browser unpacks it with ``DecompressionStream``, which all current browsers have.
    """
    # mtime=0: the same data give the same page, byte for byte.
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)).decode("ascii")


def _template_text(name: str) -> str:
    return resources.files("lightning_gw.report").joinpath("template", name).read_text(encoding="utf-8")


def _rows(runs: Sequence[ReportRun]) -> list[Row]:
    rows = []
    for task, strategy in dict.fromkeys((run.task, run.strategy) for run in runs):
        own = tuple(run for run in runs if (run.task, run.strategy) == (task, strategy))
        (answer,) = describe_comparison({strategy: [run.history for run in own]})
        ends = [(run.planted, run.history[-1].groups) for run in own if run.planted and run.history]
        question = next((run.question for run in own if run.question), "")
        if len(ends) == 1:
            planted = planted_sentence(ends[0][1], ends[0][0])
        else:  # one sentence a seed would bury the answer, so they are counted
            whole = sum(set(boundaries) <= set(groups.boundaries) for boundaries, groups in ends)
            planted = f"Every planted boundary found in {whole} of {len(ends)} runs." if ends else ""
        answer = answer.removeprefix(f"{strategy}: ")
        growth = growth_across([run.history for run in own if run.history])
        inherited = " ".join(inherited_sentences([run.history for run in own if run.history]))
        answer = answer[0].upper() + answer[1:]
        rows.append(Row(task, strategy, question, own, answer, planted, growth, inherited, _final_accuracy(own)))
    return rows


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


def _missing(runs: Sequence[ReportRun]) -> list[tuple[str, str]]:
    """Everything a reader might take for present but is not, as ``(which runs, what is missing)``."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for text in _missing_from(run):
            found.setdefault(text, []).append(run.name)
    if len(runs) == 1:
        return [("This run", text) for text in found]
    recorded = sum(bool(run.history) for run in runs)
    return [
        ("Every recorded run" if len(names) == recorded > 1 else "; ".join(names), text)
        for text, names in found.items()
    ]


def _missing_from(run: ReportRun) -> list[str]:
    found = []
    if run.status == "failed":
        found.append(f"This run failed. {run.error or 'No reason was recorded.'}")
    elif run.status in ("running", "waiting"):
        found.append(f"This run was still {run.status} when the page was made.")
    elif not run.history:
        found.append("This run finished, but left no look that could be read.")
    found += run.history.problems
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
