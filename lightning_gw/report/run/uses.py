"""What the groups of a run can be used for, with the commands that do it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from lightning_gw.export import ExportError
from lightning_gw.groups.choice import NoGroupError, choose_group
from lightning_gw.records.history import History
from lightning_gw.records.reading import address_of
from lightning_gw.records.record import Record
from lightning_gw.report.run.afterwards import Afterwards

#: What ``lightning-gw export`` writes a group as, what that is for where its name does not say it, and what it needs
#: to be told beside.
_FORMS = {
    "peft": ("", ""),
    "finetuning-scheduler": ("", ""),
    "mergekit": ("", " --model MODEL"),
    "patterns": ("regular expressions of its parameters, for torch", ""),
}


@dataclass(frozen=True)
class Use:
    """One thing to do with groups.

    Attributes:
        what: What it does.
        commands: Each of them does it, with what it is for where that is not plain; none where it is done in a script.
    """

    what: str
    commands: tuple[tuple[str, str], ...] = ()


def uses_of(history: History, afterwards: Afterwards) -> tuple[Use, ...]:
    """How to use the groups that a run ended with; nothing where it has none, or a test after training left none.

    Args:
        history: Every look of the run.
        afterwards: What was done to it since; what was done is not offered again.
    """
    last = history[-1] if history else None
    if last is None or last.groups.strength == "none" or last.groups.count < 2:
        return ()
    if afterwards.tested is not None and afterwards.tested.groups.strength == "none":
        return ()
    run = "RUN" if history.path is None else quote(str(address_of(history.path)))
    return (
        *([_skipping(history.path)] if afterwards.skips is None else []),
        *_exports(last, run),
        Use("Act on them in a training to come: the callbacks FreezeSettledGroups, TrainGroup and DropLayers."),
    )


def _skipping(path: Path | None) -> Use:
    checkpoint, config = "CHECKPOINT", "CONFIG"
    if path is not None:
        found = sorted(path.parent.glob("checkpoints/*.ckpt"), key=lambda file: (file.stat().st_mtime, file.name))
        checkpoint = quote(str(found[-1])) if found else checkpoint
        own = path.parent / "config.yaml"
        config = quote(str(own)) if own.is_file() else config
    command = f"lightning-gw skip-test {checkpoint} -c {config}"
    return Use("See which layers the network can do without:", ((command, ""),))


def _exports(last: Record, run: str) -> tuple[Use, ...]:
    """The forms that the group which export takes unless told can be written in; none where it is none of them."""
    anyway = ""
    try:
        choice = choose_group(last.groups, last.layers)
    except NoGroupError:
        anyway, choice = " --anyway", choose_group(last.groups, last.layers, anyway=True)
    commands = []
    for form, (meaning, more) in _FORMS.items():
        try:
            choice.export(form)
        except ExportError:
            continue
        commands.append((f"lightning-gw export {run}{anyway} --for {form}{more}", meaning))
    doubt = ", although it is not to be relied on" if anyway else ""
    return (Use(f"Hand the last one to another tool{doubt}:", tuple(commands)),) if commands else ()
