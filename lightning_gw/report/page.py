"""Puts a page together: words rendered by Jinja2, data as JSON, and the charting library packed inside."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.colors import to_hex
from plotly.offline import get_plotlyjs

from lightning_gw.__about__ import __version__
from lightning_gw.figures.comparisons.contrasts import EFFECT_COLORMAP, LEVEL, effect_limit
from lightning_gw.records.history import History
from lightning_gw.records.words.next_step import next_step
from lightning_gw.report.comparisons.answers import headline
from lightning_gw.report.comparisons.pairs import pair_table
from lightning_gw.report.comparisons.rectangles import CACHE_FILE, TaskRectangles, rectangles_of
from lightning_gw.report.comparisons.rows import rows_of
from lightning_gw.report.comparisons.tasks import answer_tasks
from lightning_gw.report.missing import missing_from
from lightning_gw.report.payload import page_payload
from lightning_gw.report.presentable import presentable, wordless
from lightning_gw.report.run.afterwards import answer_of
from lightning_gw.report.run.loading import ReportRun, ReportSource, load_source, source_of
from lightning_gw.report.run.uses import uses_of
from lightning_gw.statistics.correspondence import correspondence_sentence
from lightning_gw.statistics.verdict import headline_of_tasks
from lightning_gw.utilities.errors import UsageError, reason_of
from lightning_gw.utilities.progress import counted
from lightning_gw.utilities.storage.files import write_whole

PAGE_FILE = "report.html"
#: The page's script, in the order in which its parts build on each other.
_SCRIPTS = ("theme.js", "timeline.js", "seeds.js", "look.js", "skips.js", "page.js")


#: What several runs are together that are of no comparison.
APART = (
    "Single runs side by side: what differs between them may be how they were trained, the seed, or anything else that "
    "was not the same, so nothing is tested."
)


def write_report(path: str | Path, reference: str | None = None) -> Path:
    """Build the page of a comparison or of one run from what is on disk.

    Args:
        path: A comparison's folder (with ``comparison.json``), or a run's folder (with ``gw/history.jsonl``).
        reference: The strategy whose layers are compared with those of the others of its task; the first unless told.

    Returns:
        The page, ``report.html`` in that folder; one file that needs no other and no network.

    Raises:
        FileNotFoundError: If the folder holds neither.
        ValueError: If ``comparison.json`` is damaged, or a history was written by a newer version.
        UsageError: If no strategy is named `reference`.
    """
    return write_page(load_source(Path(path)), Path(path) / PAGE_FILE, reference)


def write_page(source: ReportSource, page: Path, reference: str | None = None) -> Path:
    """Build the page of what `load_source` read; what was slow to find for it is kept beside it."""
    cache = page.parent / CACHE_FILE
    if reference is not None and not source.is_comparison:
        raise UsageError(
            f"{page.parent} is one run: there is no other strategy that its layers could be compared with."
        )
    rectangles: Mapping[str, TaskRectangles] = {}
    if source.is_comparison:
        try:
            with counted("Corresponding layers", delay=1.0, files=True) as moved:
                rectangles = rectangles_of(source.runs, cache, moved, reference)
        except UsageError:
            raise
        except Exception as error:
            lost = f"Which layers of the strategies correspond could not be found: {reason_of(error)}."
            source = replace(source, notes=(*source.notes, lost))
    html = render(_linked(source, page.parent), rectangles)
    write_whole(page, html.encode(errors="replace"))  # half of a surrogate pair is no UTF-8
    return page


def _linked(source: ReportSource, place: Path) -> ReportSource:
    """The source with the way from the page in a folder to that of each run, where there are several."""
    if not source.is_comparison:
        return source
    ways = [os.path.relpath(run.folder.resolve(), place.resolve()) for run in source.runs]
    runs = [replace(run, link=f"./{quote(way)}/") for run, way in zip(source.runs, ways, strict=True)]
    return replace(source, runs=tuple(runs))


def write_history(history: History, page: Path) -> Path:
    """Build the page of one run from its history, which may live in memory only.

    Args:
        history: At least one look.
        page: Where it goes.

    Raises:
        ValueError: If there is no look.
        OSError: If it cannot be written there.
    """
    if not history:
        raise ValueError("There is nothing to report: this history holds no look.")
    write_whole(page, render(source_of(history)).encode(errors="replace"))
    return page


def render(source: ReportSource, rectangles: Mapping[str, TaskRectangles] | None = None) -> str:
    """The page as text.

    Args:
        source: What it shows.
        rectangles: Task to which layers of its strategies correspond; nothing for a run on its own.
    """
    try:
        return _rendered(source, rectangles or {})
    except Exception:  # a value that nobody foresaw costs the look, or the run, that holds it
        source = presentable(source)
    try:
        return _rendered(source, {})
    except Exception as error:
        return _rendered(wordless(source, error), {})


def _rendered(source: ReportSource, rectangles: Mapping[str, TaskRectangles]) -> str:
    answers = answer_tasks(source.runs) if source.is_comparison else {}
    rows = rows_of(source.runs, answers)
    compared = {task: answer.comparison for task, answer in answers.items() if answer.comparison}
    contrasts = [contrast for comparison in compared.values() for contrast in comparison.contrasts]
    limit = effect_limit(contrasts)
    # How a run stands that is still training is no end of it.
    ended = [run for run in source.runs if run.status not in ("running", "waiting")]
    shown = [run for run in source.runs if run.history]
    alone = source.runs[0] if source.runs and not source.is_comparison else None
    apart = bool(source.runs) and all(run.apart for run in source.runs)
    nothing = (
        "No run can be compared." if any(run.status == "finished" for run in ended) else "No run has finished yet."
    )
    answer = headline_of_tasks(compared) if compared else nothing
    rectangles = {task: found for task, found in rectangles.items() if found.found or (found.missing and not apart)}
    return _template().render(
        source=source,
        headline=APART if apart else answer,
        apart=apart,
        standing=headline([run.history for run in ended or source.runs]) if source.is_comparison else "",
        answer=_first_sentence(answer_of(alone.history, alone.afterwards)) if alone else ("", ""),
        next_step=_next_step(alone) if alone else "",
        uses=uses_of(alone.history, alone.afterwards) if alone else (),
        rows=rows,
        tasks=list(dict.fromkeys(row.task for row in rows)),
        answers=answers,
        tables={task: pair_table(comparison, limit) for task, comparison in compared.items()},
        # A table in which every cell says that nothing was tested would say it once too often.
        tested=[task for task, found in compared.items() if any(np.isfinite(pair.p) for pair in found.contrasts)],
        limit=limit,
        beyond=any(contrast.effect > limit for contrast in contrasts),
        rectangles=rectangles,
        several_sequences=any(record.groups.sequence_ends for run in shown for record in run.history),
        corresponding=correspondence_sentence,
        level=LEVEL,
        effect_scale=[to_hex(colormaps[EFFECT_COLORMAP](step / 16)) for step in range(17)],
        shown=shown,
        skips=any(run.afterwards.skips for run in shown),
        missing=missing_from(source, list(answers.values())),
        payload=json_for_html(page_payload(source.runs, answers, rectangles)),
        style=Markup(_template_text("page.css")),
        script=Markup("\n".join(_template_text(name) for name in _SCRIPTS)),
        library=Markup(packed_plotly()),
        version=__version__,
    )


@cache
def _template() -> Template:
    """The page's template; compiling it takes longer than filling it in."""
    environment = Environment(
        loader=PackageLoader("lightning_gw.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _next_step(run: ReportRun) -> str:
    """What to do next; nothing that was done after training already."""
    tested = run.afterwards.tested
    if tested is None or tested.groups.p_value is None or not run.history:
        return next_step(run.history)
    return next_step([*run.history[:-1], tested])


def _first_sentence(text: str) -> tuple[str, str]:
    """A text's first sentence, and the rest of it."""
    first, *rest = re.split(r"(?<=[.!?]) (?=[A-Z])", text, maxsplit=1)
    return first, "".join(rest)


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
