"""What was done to a run after its training, and lies beside its history: p-values and the skip test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightning_gw.records.history import History, load_history
from lightning_gw.records.reading import RECORDS_FILE, SKIP_TEST_FILE
from lightning_gw.records.record import Record
from lightning_gw.records.words.description import describe
from lightning_gw.significance.evidence import LEVEL
from lightning_gw.utilities.text import listed, numbered, short_names

if TYPE_CHECKING:
    from lightning_gw.interventions.skips import SkipTest

#: Folder in that of a run that its p-values go to, unless another is named.
TEST_FOLDER = "test"
#: Folder in that of a run that its skip test goes to, unless another is named.
SKIP_TEST_FOLDER = "skip-test"
_MADE = "made after training by lightning-gw test"


@dataclass(frozen=True)
class KeptSkipTest:
    """A skip test that was found on disk.

    Attributes:
        found: What it found.
        step: Step of training that it is of.
    """

    found: SkipTest
    step: int


@dataclass(frozen=True)
class Afterwards:
    """What was done to a run after its training.

    Attributes:
        tested: The look at its last checkpoint, held against networks with fresh weights; None without one.
        skips: What the network loses without each layer; None where that was not tried.
        problems: What of it could not be read, in sentences.
    """

    tested: Record | None = None
    skips: KeptSkipTest | None = None
    problems: tuple[str, ...] = ()


def afterwards_of(history: History) -> Afterwards:
    """Read what lies beside a history; nothing where it lives in memory only."""
    if history.path is None:
        return Afterwards()
    tested, problems = _tested(folder_of_test(history.path))
    skips, more = skip_test_of(history.path)
    return Afterwards(tested, skips, (*problems, *more))


def _tested(folder: Path) -> tuple[Record | None, tuple[str, ...]]:
    if not (folder / RECORDS_FILE).is_file():
        return None, ()
    try:
        found = load_history(folder)
    except (OSError, ValueError) as error:
        return None, (f"The p-values in {folder} could not be read: {error}",)
    return (found[-1] if found else None), tuple(f"{folder}: {problem}" for problem in found.problems)


def folder_of_test(history: Path) -> Path:
    """Where the p-values are of a run whose history is in `history`."""
    return history.parent / TEST_FOLDER / history.name


def skip_test_of(history: Path) -> tuple[KeptSkipTest | None, tuple[str, ...]]:
    """The latest skip test of a run, and what could not be read; of one step, that made after training.

    Args:
        history: Folder of its history.
    """
    kept: list[KeptSkipTest] = []
    problems = []
    for file in (history / SKIP_TEST_FILE, folder_of_skip_test(history) / SKIP_TEST_FILE):
        if file.is_file():
            from lightning_gw.interventions.skips import read_skip_test  # imports Lightning, which takes seconds

            try:
                kept.append(KeptSkipTest(*read_skip_test(file)))
            except (OSError, ValueError) as error:
                problems.append(f"The skip test {file} could not be read: {error}.")
    # Reversed, because of several that are largest `max` takes the first.
    return max(reversed(kept), key=lambda each: each.step, default=None), tuple(problems)


def folder_of_skip_test(history: Path) -> Path:
    """Where ``lightning-gw skip-test`` writes that of a run whose history is in `history`."""
    place = history.parent / SKIP_TEST_FOLDER
    _, _, name = history.name.partition("-")
    return place / name if name else place


def with_p_values(history: History, tested: Record | None) -> History:
    """A history whose last look has the p-values that were found for it after training, where they are of that look.

    Its groups stay those that the run found: what the test took back is told by `tested_sentence`.
    """
    if tested is None or not history or not _of_one_look(history[-1], tested):
        return history
    last = history[-1]
    alike = last.groups.boundaries == tested.groups.boundaries
    p_values = tested.groups.p_values if alike else last.groups.p_values
    groups = replace(last.groups, p_value=tested.groups.p_value, p_values=p_values)
    null = tested.null if tested.groups.p_value is None else f"{tested.null}, {_MADE}"
    records = [*history[:-1], replace(last, groups=groups, null=null)]
    return History(records, history.metrics, history.problems, history.path, writable=False)


def answer_of(history: History, afterwards: Afterwards) -> str:
    """A run's answer in words, with what was found after its training; `history` as `with_p_values` gives it."""
    said = [describe(history)]
    if afterwards.tested is not None and history:
        said.append(tested_sentence(history[-1], afterwards.tested))
    return " ".join(filter(None, said))


def tested_sentence(last: Record, tested: Record) -> str:
    """What networks with fresh weights that were made after training say of each boundary.

    Args:
        last: The last look of the run, as `with_p_values` gives it: what they are is then told of it.
        tested: What was held against them.
    """
    groups, told = tested.groups, boundary_p_values(tested)
    if not _of_one_look(last, tested):
        if groups.p_value is None:
            return f"Its checkpoint at step {tested.step} has no p-value: {tested.null.removeprefix('none: ')}."
        by = f"Its checkpoint at step {tested.step} was held against {tested.null}, {_MADE}"
        return f"{by}: {told or f'no boundary, p = {groups.p_value:.2g} for the largest step'}."
    said = [f"P-values, boundary by boundary: {told}."] if told else []
    lost = [numbered(k, short_names(tested.layers)) for k in last.groups.boundaries if k not in groups.boundaries]
    if lost and groups.p_value is not None:
        which = f"boundaries after layers {listed(lost)}" if len(lost) > 1 else f"boundary after layer {lost[0]}"
        said.append(f"Networks that learnt nothing have as large a step at the {which} (p > {LEVEL:g}).")
    if (groups.ranges(), groups.strength) != (last.groups.ranges(), last.groups.strength):
        left = f"{groups.ranges()}, {groups.strength}" if told else "none"
        said.append(f"Held against these networks, the groups are {left}.")
    return " ".join(said)


def _of_one_look(last: Record, tested: Record) -> bool:
    return (tested.step, tested.layers) == (last.step, last.layers)


def boundary_p_values(record: Record) -> str:
    """The p-value of every boundary of a look, in words; empty where it has no boundary or none was computed."""
    names = short_names(record.layers)
    return listed(
        [
            f"after layer {numbered(k, names)} " + ("p is not known" if np.isnan(p) else f"p = {p:.2g}")
            for k, p in zip(record.groups.boundaries, record.groups.p_values or (), strict=False)
        ]
    )
