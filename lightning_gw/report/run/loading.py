"""What a page is made from: the runs under a folder, read from disk alone."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from lightning_gw.records.history import History, load_history
from lightning_gw.records.reading import RECORDS_FILE, address_of, folder_name
from lightning_gw.report.run.afterwards import Afterwards, afterwards_of, with_p_values
from lightning_gw.report.run.titles import run_title
from lightning_gw.report.run.wandb_link import WandbPlace, wandb_place
from lightning_gw.utilities.output import quoted
from lightning_gw.utilities.progress import counting
from lightning_gw.utilities.storage.files import inside, read_text
from lightning_gw.utilities.storage.json_values import from_json

COMPARISON_FILE = "comparison.json"
#: Version of comparison.json that this module reads.
COMPARISON_SCHEMA = 1
#: So many runs in a folder are named.
_RUNS_NAMED = 8
#: Stands before a bar.
_READING = "Reading runs"


@dataclass(frozen=True)
class ReportRun:
    """One run as the page shows it.

    Attributes:
        key: Names the run in the page's address; its folder relative to the comparison.
        strategy: Training strategy, or the run's name where it stands alone.
        task: What was trained.
        seed: Seed of the run; None for a run on its own.
        status: ``finished``, ``failed``, ``running`` or ``waiting``.
        error: What went wrong, where something did.
        question: What this strategy is there to answer.
        planted: Boundaries the experiment built in on purpose (0-based, "after layer k"), or None.
        accuracy: Name of the metric to show, or None for the run's own choice.
        history: What was recorded; empty where nothing was, or nothing could be read.
        folder: Where it lies on disk.
        seconds: What it took, or None where that is not known.
        wandb: Where it lies in Weights & Biases, or None where that is not known.
        apart: Whether it is of no comparison, but shown beside others: a strategy of its own, whose seed says nothing.
        link: The way from the page to its folder, as an address; empty where the page does not link to it.
        afterwards: What was done to it after its training.
    """

    key: str
    strategy: str
    task: str
    seed: int | None
    status: str
    error: str | None
    question: str
    planted: tuple[int, ...] | None
    accuracy: str | None
    history: History
    folder: Path
    seconds: float | None = None
    wandb: WandbPlace | None = None
    apart: bool = False
    link: str = ""
    afterwards: Afterwards = field(default_factory=Afterwards)

    @property
    def name(self) -> str:
        """How the page calls this run."""
        return self.strategy if self.seed is None or self.apart else f"{self.strategy}, seed {self.seed}"

    @property
    def problems(self) -> tuple[str, ...]:
        """What of it could not be read, in sentences."""
        return (*self.history.problems, *self.afterwards.problems)


@dataclass(frozen=True)
class ReportSource:
    """Everything one page shows.

    Attributes:
        title: Of the page.
        runs: All runs.
        is_comparison: Whether they are a comparison.
        notes: What a reader of the whole comparison must know, in sentences.
        folder: The folder it was read from.
    """

    title: str
    runs: tuple[ReportRun, ...]
    is_comparison: bool
    notes: tuple[str, ...]
    folder: Path


def load_source(path: Path) -> ReportSource:
    """Read a comparison folder or a run folder.

    A run of a comparison that left no readable history stays on the page, with the reason.

    Raises:
        FileNotFoundError: If the folder holds neither a comparison nor a history.
        ValueError: If comparison.json is damaged or of a newer version.
    """
    file = path / COMPARISON_FILE
    if file.is_file():
        return _load_comparison(file)
    try:
        history = load_history(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path} holds neither {COMPARISON_FILE} (the folder of a comparison) nor a history "
            f"(the folder of a run, with gw/history.jsonl in it).{_runs_below(path)}"
        ) from error
    name = run_title(path)
    run = ReportRun(path.resolve().name, name, "", None, "finished", None, "", None, None, history, path)
    return ReportSource(name, (_with_afterwards(run),), False, (), path)


def load_runs(paths: Sequence[Path]) -> ReportSource:
    """Read several finished runs, to be shown side by side; they need not be of one comparison.

    Each is a strategy of its own, named as its folder, so that no difference between them is tested.

    Raises:
        FileNotFoundError: If a folder is not that of a run.
        ValueError: If two of them are the same, or a history was written by a newer version.
    """
    names = _distinct([run_title(path) for path in paths], paths)
    runs = []
    for path, name in counting(list(zip(paths, names, strict=True)), _READING):
        if (path / COMPARISON_FILE).is_file():
            raise ValueError(
                f"{path} is a comparison, and has a page of its own: lightning-gw report {quote(str(path))}"
            )
        (run,) = load_source(path).runs
        key = os.path.relpath(path)
        runs.append(replace(run, key=key, strategy=name, seed=0, apart=True))
    return ReportSource(f"{len(runs)} runs side by side", tuple(runs), True, (), Path())


def _distinct(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Names that tell the runs apart: those of their folders, or the whole paths where two are the same."""
    resolved = [path.resolve() for path in paths]
    twice = next((str(path) for path, place in zip(paths, resolved, strict=True) if resolved.count(place) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is given twice; a run can be compared with others only.")
    return [str(path) if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]


def _runs_below(path: Path) -> str:
    """The runs in a folder that is not one itself, as a sentence with the command that shows them."""
    files = [file for name in (None, "*") for file in path.glob(f"**/{folder_name(name)}/{RECORDS_FILE}")]
    found = sorted({address_of(file.parent) for file in files})
    if not found:
        return ""
    named = [quote(str(run)) for run in found[:_RUNS_NAMED]]
    more = f" … and {len(found) - len(named)} more" if len(found) > len(named) else ""
    if len(found) == 1:
        return f" There is a run below it: lightning-gw report {named[0]}"
    return f" There are {len(found)} runs below it; side by side: lightning-gw report {' '.join(named)}{more}"


def source_of(history: History) -> ReportSource:
    """What a page shows of a history by itself, which may live in memory only."""
    name = "This run" if history.path is None else run_title(history.path)
    folder = Path() if history.path is None else history.path.parent
    run = ReportRun(folder.name or "run", name, "", None, "finished", None, "", None, None, history, folder)
    return ReportSource(name, (_with_afterwards(run),), False, (), folder)


def _with_afterwards(run: ReportRun) -> ReportRun:
    """The run with what lies beside its history."""
    found = afterwards_of(run.history)
    return replace(run, history=with_p_values(run.history, found.tested), afterwards=found)


def damages(source: ReportSource) -> list[str]:
    """What of the runs' histories could not be read, one sentence each, with the run's name where there are several."""
    return [
        f"{run.name}: {problem}" if len(source.runs) > 1 else problem for run in source.runs for problem in run.problems
    ]


def _load_comparison(file: Path) -> ReportSource:
    try:
        content = json.loads(read_text(file))
        schema = content["schema"]
        if schema != COMPARISON_SCHEMA:
            raise ValueError(f"it has schema {quoted(schema)}, and this version reads {COMPARISON_SCHEMA}")
        head = from_json(content, _Comparison)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OSError) as error:
        raise ValueError(
            f"{file} cannot be read: {_what(error)}. Run the comparison again to write it anew."
        ) from error
    runs, notes = [], list(head.notes or ())
    for number, entry in enumerate(counting(head.runs, _READING), start=1):
        try:
            runs.append(_load_run(file.parent, from_json(entry, _Entry)))
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            notes.append(f"Run {number} of {file.name} was left out: {_what(error)}.")
    return ReportSource(head.title or file.parent.resolve().name, tuple(runs), True, tuple(notes), file.parent)


@dataclass(frozen=True)
class _Comparison:
    """What comparison.json holds; keys beside these are left alone."""

    runs: list[Any]
    title: str | None = None
    notes: list[str] | None = None


@dataclass(frozen=True)
class _Entry:
    """What it holds of one run; see `ReportRun`."""

    path: str
    strategy: str
    status: Literal["finished", "failed", "running", "waiting"]
    task: str | None = None
    seed: int | None = None
    error: str | None = None
    question: str | None = None
    planted: tuple[int, ...] | None = None
    accuracy: str | None = None
    seconds: float | None = None


def _what(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())


def _load_run(folder: Path, entry: _Entry) -> ReportRun:
    place = inside(folder, entry.path)
    try:
        history = load_history(place)
    except (OSError, ValueError) as problem:
        # What was never started, or failed early, has no history to miss.
        history = History(problems=() if entry.status in ("failed", "waiting") else (str(problem),))
    if any(boundary < 0 for boundary in entry.planted or ()):
        raise ValueError(f"planted names {min(entry.planted or ())}, which is no boundary")
    if entry.seconds is not None and not 0 <= entry.seconds < math.inf:
        raise ValueError(f"seconds is {entry.seconds}")
    run = ReportRun(
        key=entry.path,
        strategy=entry.strategy,
        task=entry.task or "",
        seed=entry.seed,
        status=entry.status,
        error=entry.error,
        question=entry.question or "",
        planted=entry.planted,
        accuracy=entry.accuracy,
        history=history,
        folder=place,
        seconds=entry.seconds,
        wandb=wandb_place(place),
    )
    return _with_afterwards(run)
