"""What a page is made from: the runs under a folder, read from disk alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_gw.records.history import History, load_history
from lightning_gw.report.wandb_link import WandbPlace, wandb_place

COMPARISON_FILE = "comparison.json"
#: Version of comparison.json that this module reads.
COMPARISON_SCHEMA = 1
#: Names that loggers and comparisons give to the folders of any run.
_UNTELLING = re.compile(r"version_\d+|lightning_logs|seed-\d+|gw|gw-.*|")


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

    @property
    def name(self) -> str:
        """How the page calls this run."""
        return self.strategy if self.seed is None else f"{self.strategy}, seed {self.seed}"


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
            "(the folder of a run, with gw/history.jsonl in it)."
        ) from error
    name = run_title(path)
    run = ReportRun(path.resolve().name, name, "", None, "finished", None, "", None, None, history, path)
    return ReportSource(name, (run,), False, (), path)


def run_title(path: Path) -> str:
    """What to call the run in a folder: its name, after that of the first folder above that tells one from another.

    Args:
        path: The run's folder, or ``gw`` inside it.

    Returns:
        ``digits``, or where loggers named the folder ``digits, version_0`` for ``digits/lightning_logs/version_0``.
    """
    folder = path.resolve()
    folder = folder.parent if folder.name == "gw" else folder
    if not _UNTELLING.fullmatch(folder.name):
        return folder.name
    above = next((parent.name for parent in folder.parents if not _UNTELLING.fullmatch(parent.name)), "")
    return ", ".join(filter(None, [above, folder.name]))


def damages(source: ReportSource) -> list[str]:
    """What of the runs' histories could not be read, one sentence each, with the run's name where there are several."""
    return [
        f"{run.name}: {problem}" if len(source.runs) > 1 else problem
        for run in source.runs
        for problem in run.history.problems
    ]


def _load_comparison(file: Path) -> ReportSource:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        schema = content["schema"]
        if schema != COMPARISON_SCHEMA:
            raise ValueError(f"it has schema {schema!r}, and this version reads {COMPARISON_SCHEMA}")
        runs = tuple(_load_run(file.parent, entry) for entry in content["runs"])
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{file} cannot be read: {what}. Run the comparison again to write it anew.") from error
    title = str(content.get("title") or file.parent.resolve().name)
    return ReportSource(title, runs, True, tuple(str(note) for note in content.get("notes") or ()), file.parent)


def _load_run(folder: Path, entry: dict[str, Any]) -> ReportRun:
    status, error = entry["status"], entry.get("error")
    try:
        history = load_history(folder / entry["path"])
    except (OSError, ValueError) as problem:
        # What was never started, or failed early, has no history to miss.
        history = History(problems=() if status in ("failed", "waiting") else (str(problem),))
    planted = entry.get("planted")
    return ReportRun(
        key=str(entry["path"]),
        strategy=str(entry["strategy"]),
        task=str(entry.get("task") or ""),
        seed=entry.get("seed"),
        status=status,
        error=error,
        question=str(entry.get("question") or ""),
        planted=None if planted is None else tuple(int(boundary) for boundary in planted),
        accuracy=entry.get("accuracy"),
        history=history,
        folder=folder / entry["path"],
        seconds=entry.get("seconds"),
        wandb=wandb_place(folder / entry["path"]),
    )
