"""What `GWSimilarity` says in the terminal and in the log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from lightning_gw.analysis.job import LookResult
from lightning_gw.callback.when.budget import Budget
from lightning_gw.records.history import History
from lightning_gw.records.reading import address_of
from lightning_gw.records.words.description import describe
from lightning_gw.records.words.next_step import next_step
from lightning_gw.utilities import output
from lightning_gw.utilities.text import short_names

#: Seconds that handing a look on takes from which they are told apart from what looking takes.
WORTH_TELLING = 1.0
#: What log keys begin with unless told.
PREFIX = "gw/"
#: Characters of a name that the terminal shows whole, and layers that it names one by one.
LONGEST_NAME = 40
MOST_LAYERS_NAMED = 16


def say(module: Any, text: str) -> None:
    """Print on the first process, above the progress bar where one is drawn; whatever becomes of it, training goes on.

    Args:
        module: The LightningModule, whose ``print`` knows the bar.
        text: Whole lines.
    """
    # In one piece, end of line included: what Rich puts in the place of a notebook's output prints whole lines at once
    # and, doing so, flushes itself, which prints an unfinished line without end (RecursionError).
    if module.trainer.is_global_zero:
        output.say(text, lambda lines: module.print(lines, end=""))


def look_message(prefix: str, result: LookResult, handing_on: float) -> str:
    """One line on a look: what was found, and what it cost the training.

    Args:
        prefix: What log keys begin with.
        result: What became of the look; it has a record.
        handing_on: Seconds that writing and logging took.
    """
    record = result.record
    assert record is not None
    cost = f"{record.seconds + handing_on:.1f} s"
    if handing_on >= WORTH_TELLING:  # the record, and its page, count only what looking took
        cost += f", {handing_on:.1f} s of it for the disk and the loggers"
    if result.aside:
        cost += f", and {result.solving:.1f} s in the background"
    line = f"{prefix.rstrip('/')} step {record.step}: {record.summary()}  ({cost})"
    if not result.job.first:
        return line
    probe = f"{record.probe.get('size')} inputs from the {record.probe.get('source')}"
    return f"{layers_message(prefix, record.layers)}\n{prefix.rstrip('/')} probe: {probe}\n{line}"


def layers_message(prefix: str, layers: Sequence[str]) -> str:
    """Which layer has which number; of many only the first and the last."""
    names = [f"{place} {name}" for place, name in enumerate(short_names(layers, LONGEST_NAME), 1)]
    told = names if len(names) <= MOST_LAYERS_NAMED else [*names[:3], "…", *names[-2:]]
    return f"{prefix.rstrip('/')} layers: {', '.join(told)}"


def end_message(history: History, budget: Budget, project: str = "", prefix: str = PREFIX) -> str:
    """What a run found, what looking cost, and where to find it.

    Args:
        history: All looks.
        budget: What they cost.
        project: The W&B project, ``entity/project``; empty where its server has none.
        prefix: What log keys begin with there.
    """
    lines = [describe(history), budget.bill() + rides_message(history)]
    if history.path is not None:
        lines.append(f"The history of this run is in {history.path}.")
        lines.append(f"For a page to look at:  lightning-gw report {quote(str(address_of(history.path)))} --open")
    if project:
        keys = "" if prefix == PREFIX else f" --prefix {quote(prefix)}"
        lines.append(f"For a W&B workspace that opens on it:  lightning-gw workspace {quote(project)}{keys}")
    lines.append(next_step(history))
    return "\n".join(lines)


def interrupted_message(prefix: str, history: History) -> str:
    """One line on a training that ended in an error or by Ctrl-C: where to find what was found by then."""
    looks = "its look" if len(history) == 1 else f"its {len(history)} looks"
    return f"{prefix.rstrip('/')} training ended early; the history of {looks} is in {history.path}."


def rides_message(history: History) -> str:
    """How many looks made no forward pass of their own, as a sentence after others; empty where all did."""
    rode = sum(record.probe.get("captured") is not None for record in history)
    of_all = f"{rode} of {len(history)} looks"
    return f" {of_all} were captured during validation, without a forward pass of their own." if rode else ""


def no_checkpoints_message(reason: str) -> str:
    """There will be no checkpoints to look at."""
    return (
        f"GWSimilarity looks whenever a checkpoint is saved, but {reason}; so it will look only at the start and at "
        "the end. Pass when='log' or every_n_steps=... to look in between."
    )


def remote_message(home: str, folder: Path) -> str:
    """The history is kept apart from its run, which lies elsewhere."""
    return (
        f"The run lies in {home}, and a history is written on a local disk: that of GWSimilarity is kept in "
        f"{folder.absolute()}. Pass save_dir=... for another local folder."
    )


def uncounted_message(at_checkpoints: bool) -> str:
    """Weights move and the Trainer's step does not."""
    lacking = " No checkpoint falls due meanwhile: pass when='log' or every_n_steps=... to look in between."
    return (
        "GWSimilarity counts batches as steps here: the weights change while the Trainer's global step stands still, "
        "as under manual optimisation with an optimizer that is none of self.optimizers()." + lacking * at_checkpoints
    )


def postponed_message(step: int, until: int | None, budget: Budget) -> str:
    """A look at `step` is put off until another, or until a later checkpoint."""
    later = "a later checkpoint" if until is None else f"about step {until}"
    reason = f"to keep to {budget.limit}" if budget.lacking else "because those before it are being solved"
    return f"GWSimilarity puts off its look at step {step} until {later}, {reason}. {budget.sentence()}."


def postponed_note(costly: int, crowded: int, budget: Budget) -> str:
    """What the next record says of looks that were put off: so many for their cost, so many because others waited."""
    reasons = [(costly, f"to keep to {budget.limit}"), (crowded, "because others were being solved")]
    (count, first), *rest = [(count, reason) for count, reason in reasons if count]
    told = f"{count} {'look was' if count == 1 else 'looks were'} put off before this one {first}"
    return f"{told}{''.join(f', and {count} {reason}' for count, reason in rest)}."


def stopped_message(step: int) -> str:
    """No more looks, because the last one could not be undone."""
    return (
        f"GWSimilarity makes no more looks after step {step}: what that one changed could not be put back, and another "
        "might change it again. Training goes on in training mode."
    )


def overdrawn_message(budget: Budget) -> str:
    """Looking cost more than it was to."""
    return (
        f"{budget.sentence()}: more than {budget.limit}, because the first look, the last one and those "
        "listed in `when` are always made."
    )


def abandoned_message(steps: Sequence[int]) -> str:
    """Looks at these steps were given up."""
    return (
        "GWSimilarity ends without the records of these steps, which were still being solved: "
        f"{', '.join(map(str, steps))}. A checkpoint saved since then holds them: training that is resumed from it "
        "solves them first."
    )
