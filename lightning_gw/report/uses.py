"""What the groups of a run can be used for, with the commands that do it: a line at the end of its answer."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from lightning_gw.export import ExportError
from lightning_gw.groups.choice import NoGroupError, choose_group
from lightning_gw.records.history import History
from lightning_gw.records.reading import address_of
from lightning_gw.records.record import Record
from lightning_gw.report.afterwards import Afterwards

#: What ``lightning-gw export`` writes a group as, what it is for, and what it needs to be told beside.
_FORMS = {
    "peft": ("peft", ""),
    "finetuning-scheduler": ("finetuning-scheduler", ""),
    "mergekit": ("mergekit", " --model MODEL"),
    "patterns": ("regular expressions of its parameters, for torch", ""),
}


def uses_sentence(history: History, afterwards: Afterwards) -> str:
    """How to use the groups that a run ended with; empty where it has none, or a test after training left none.

    Args:
        history: Every look of the run.
        afterwards: What was done to it since; what was done is not offered again.
    """
    last = history[-1] if history else None
    if last is None or last.groups.strength == "none" or last.groups.count < 2:
        return ""
    if afterwards.tested is not None and afterwards.tested.groups.strength == "none":
        return ""
    run = "RUN" if history.path is None else quote(str(address_of(history.path)))
    ways = [_skipping(history.path)] if afterwards.skips is None else []
    ways += [each for each in (_exports(last, run),) if each]
    ways.append("act on them in a training to come: the callbacks FreezeSettledGroups, TrainGroup and DropLayers")
    return f"To use these groups: {'; '.join(ways)}. What each gained, beside its control: docs/using-groups.md."


def _skipping(path: Path | None) -> str:
    checkpoint, config = "CHECKPOINT", "CONFIG"
    if path is not None:
        found = sorted(path.parent.glob("checkpoints/*.ckpt"), key=lambda file: (file.stat().st_mtime, file.name))
        checkpoint = quote(str(found[-1])) if found else checkpoint
        own = path.parent / "config.yaml"
        config = quote(str(own)) if own.is_file() else config
    return f"see which layers the network can do without: lightning-gw skip-test {checkpoint} -c {config}"


def _exports(last: Record, run: str) -> str:
    """The forms that the group which export takes unless told can be written in; empty where it is none of them."""
    anyway = ""
    try:
        choice = choose_group(last.groups, last.layers)
    except NoGroupError:
        anyway, choice = " --anyway", choose_group(last.groups, last.layers, anyway=True)
    told = []
    for form, (tool, more) in _FORMS.items():
        try:
            choice.export(form)
        except ExportError:
            continue
        said = f"--for {form}{more}"
        told.append(said if tool == form else f"{said} ({tool})")
    if not told:
        return ""
    doubt = ", although it is not to be relied on" if anyway else ""
    return f"hand the last one to another tool{doubt}: lightning-gw export {run}{anyway} {' or '.join(told)}"
