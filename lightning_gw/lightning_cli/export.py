"""``lightning-gw export``: a group of a run in the form that another tool takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from lightning_gw.export import ExportError
from lightning_gw.export.names import places_of
from lightning_gw.groups.choice import Choice, NoGroupError, choose_group
from lightning_gw.records.history import load_history
from lightning_gw.records.record import Record
from lightning_gw.utilities.calls import module_of
from lightning_gw.utilities.errors import UsageError

#: Options of single formats.
_OF_FORMAT = {"targets": "peft", "rank": "peft", "also": "finetuning-scheduler", "model": "mergekit"}


def export(
    run: str | Path,
    to: str,
    *,
    group: str = "last",
    step: int | None = None,
    control: int | None = None,
    anyway: bool = False,
    inside: str = "",
    **options: Any,
) -> tuple[str, str]:
    """Write a group of a run in the form of a tool.

    Args:
        run: Folder of the run.
        to: One of `choice.FORMATS`.
        group: See `choose_group`.
        step: Step of the look; None takes the last.
        control: Seed of a random block of as many layers, to be written in place of the group.
        anyway: See `choose_group`.
        inside: See `Choice.export`.
        **options: See `Choice.export`.

    Returns:
        The text of the file, and what was chosen, in words.

    Raises:
        UsageError: If there is no such run, look or group, or it cannot be said in that form.
    """
    given = {name: value for name, value in options.items() if value not in (None, [], ())}
    for name in given:
        if _OF_FORMAT[name] != to:
            raise UsageError(f"--{name} is of --for {_OF_FORMAT[name]}, and has no meaning for {to}.")
    if to == "mergekit" and "model" not in given:
        raise UsageError(
            "--for mergekit needs --model NAME: the model whose layers are left out, as mergekit takes it."
        )
    record = _record(Path(run), step)
    try:
        choice = choose_group(record.groups, record.layers, group, record.growth, anyway)
        chosen = choice if control is None else choice.control(control)
        content = chosen.export(to, inside=inside, **given)
    except (NoGroupError, ExportError, ValueError) as error:
        raise UsageError(f"{run}, step {record.step}: {error}") from error
    said = f"{chosen.said}, at step {record.step}" + "".join(f"; but {doubt}" for doubt in chosen.doubts)
    if to == "peft" and (without := places_of(chosen.names)[1]):
        said += f"; without {', '.join(without)}, which has no index in a list: name it in target_modules yourself"
    if holes := _not_looked_at(chosen):
        said += f"; {', '.join(holes)} between them were not looked at, and are not among them"
    return _text(content, to, said), said


def _not_looked_at(choice: Choice) -> list[str]:
    """Layers of lists, between the first and the last that was chosen, that no look has seen."""
    seen, found = (places_of([module_of(name) for name in names])[0] for names in (choice.layers, choice.names))
    return [f"{holder}.{k}" for holder, own in found.items() for k in range(own[0], own[-1]) if k not in seen[holder]]


def _record(run: Path, step: int | None) -> Record:
    try:
        history = load_history(run)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    if not history:
        raise UsageError(f"{run} holds no look.")
    if step is None:
        return history[-1]
    found = next((record for record in history if record.step == step), None)
    if found is None:
        raise UsageError(
            f"{run} has no look at step {step}; it has {', '.join(str(record.step) for record in history)}."
        )
    return found


def _text(content: Any, to: str, said: str) -> str:
    match to:
        case "patterns":
            return "\n".join(content) + "\n"
        case "peft" | "json":
            return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        case _:
            return f"# {said}\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
