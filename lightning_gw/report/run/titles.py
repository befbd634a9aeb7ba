"""What a run is called: the name that its user gave it in Weights & Biases, or what its folders tell."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_gw.records.reading import address_of, folder_name
from lightning_gw.report.run.wandb_link import RUN_CONFIG
from lightning_gw.utilities.output import printable
from lightning_gw.utilities.storage.files import read_head, read_text
from lightning_gw.utilities.storage.yaml_values import load_yaml

#: Names that loggers and comparisons give to the folders of any run.
_UNTELLING = re.compile(r"version_\d+|lightning_logs|seed-\d+|gw|gw-.*|")
#: The config that ``lightning-gw fit`` leaves in a run's folder.
_CONFIG = "config.yaml"
#: Characters of a name, beyond which no title goes.
_LONGEST = 120
#: A ``.wandb`` file: its first bytes, and blocks of chunks, each behind a checksum, a length and a kind.
_BEGIN, _BLOCK, _CHUNK = b":W&B", 32 * 1024, 7
#: Its bytes in which the name is looked for; it stands at the beginning.
_HEAD = 1024 * 1024
#: Kinds of chunks: a whole record, its first part, its last.
_WHOLE, _FIRST, _LAST = 1, 2, 4
#: Numbers of fields, in W&B's ``wandb_internal.proto``: the run of a record, and the name of a run.
_RUN, _DISPLAY_NAME = 17, 8


def run_title(path: Path) -> str:
    """What to call the run in a folder: by its name in W&B, else by its folder's.

    A folder has its name after that of the first folder above that tells one from another.

    Args:
        path: The run's folder, or ``gw`` inside it.

    Returns:
        The name given to ``WandbLogger``; or ``digits``, or where loggers named the folder ``digits, version_0`` for
        ``digits/lightning_logs/version_0``. The folder of a callback with a name, ``gw-words``, comes behind.
    """
    folder = address_of(path.resolve())
    apart = folder.name.startswith(folder_name(""))
    run = folder.parent if apart else folder
    of_wandb = _folders_of_wandb(run)
    if name := _name_in_wandb(of_wandb) or _name_in_config(run):
        return f"{name}, {folder.name}" if apart else name
    if not (of_wandb and not apart) and not _UNTELLING.fullmatch(folder.name):
        return folder.name
    above = next((parent.name for parent in folder.parents if not _UNTELLING.fullmatch(parent.name)), "")
    return ", ".join(filter(None, [above, f"run {folder.name}" if of_wandb and not apart else folder.name]))


def _folders_of_wandb(run: Path) -> list[Path]:
    """W&B's own folders of a run whose folder has the id that W&B drew for it as its name, the latest last."""
    beside = [parent / "wandb" for parent in run.parents[:3]]
    return [found for place in beside for found in sorted(place.glob(f"*run-*-{glob.escape(run.name)}"))]


def _name_in_wandb(folders: list[Path]) -> str:
    """What W&B's own files call a run; empty where they do not say, or cannot be read."""
    for file in (file for folder in reversed(folders) for file in sorted(folder.glob("run-*.wandb"))):
        try:
            names = [name for record in _records(read_head(file, _HEAD)) for name in _names(record)]
        except OSError:
            continue
        if names:
            return names[-1]  # whoever renamed it did so later
    return ""


def _name_in_config(run: Path) -> str:
    """What the config of a run calls it in W&B; empty where it does not, or it is a run of a comparison."""
    if (run / RUN_CONFIG).is_file():
        return ""
    try:
        loggers = load_yaml(read_text(run / _CONFIG))["trainer"]["logger"]
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, Mapping) and str(logger.get("class_path")).endswith("WandbLogger"):
            options: Any = logger.get("init_args")
            if isinstance(options, Mapping) and isinstance(options.get("name"), str):
                return _title(options["name"])
    return ""


def _title(name: str) -> str:
    words = " ".join(printable(name).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _records(content: bytes) -> Iterator[bytes]:
    """The records at the beginning of a ``.wandb`` file, as far as they are whole."""
    if not content.startswith(_BEGIN):
        return
    at, record = len(_BEGIN) + 3, b""
    while at + _CHUNK <= len(content):
        if _BLOCK - at % _BLOCK < _CHUNK:  # no chunk straddles a block
            at += _BLOCK - at % _BLOCK
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        chunk = content[at + _CHUNK : at + _CHUNK + length]
        at += _CHUNK + length
        record = chunk if kind in (_WHOLE, _FIRST) else record + chunk
        if kind in (_WHOLE, _LAST) and at <= len(content):
            yield record


def _names(record: bytes) -> Iterator[str]:
    """What a record calls its run."""
    for number, run in _fields(record):
        if number == _RUN:
            yield from (
                name
                for field, value in _fields(run)
                if field == _DISPLAY_NAME and (name := _title(value.decode("utf-8", errors="replace")))
            )


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protocol-buffer message that are bytes, text or messages, by number, as far as it is whole."""
    at = 0
    while at < len(message):
        key, at = _whole_number(message, at)
        kind, length = key & 7, 0
        if kind == 0:
            _, at = _whole_number(message, at)
        elif kind == 2:
            length, at = _whole_number(message, at)
            if at + length <= len(message):
                yield key >> 3, message[at : at + length]
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            return
        at += length


def _whole_number(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where what follows it begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte, at = message[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
    return value, at
