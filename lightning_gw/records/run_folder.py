"""Which folder a run's history lives in, and how a resumed run takes it up again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from lightning_gw.records.history import History, load_history
from lightning_gw.records.reading import folder_name


def run_folder(trainer: Any, save_dir: str | Path | None, name: str | None) -> Path | None:
    """The folder for a run's history: ``gw`` (or ``gw-<name>``) beside where Lightning puts its checkpoints.

    Args:
        trainer: The Trainer.
        save_dir: The run folder, where the user gave one.
        name: Name of the callback, where it has one.

    Returns:
        The folder, or None during ``fast_dev_run``, which leaves nothing behind. Where the run lies on a file system
        elsewhere (``s3://…``), it is a folder of the same name below the working directory: a history grows by
        appending, flushing and renaming, which object stores do not know.

    Raises:
        OSError: If the user asked for a folder elsewhere.
    """
    gw = folder_name(name)
    if save_dir is not None:
        if (elsewhere := _protocol(save_dir)) is not None:
            raise OSError(
                f"save_dir={str(save_dir)!r} is a folder on {elsewhere}://, but a history is written on a local disk. "
                "Pass a local folder, and copy it there after training; W&B gets the history as an artifact."
            )
        return _local(save_dir) / gw
    if trainer.fast_dev_run:
        return None
    if not trainer.loggers:
        return _local(trainer.default_root_dir) / gw
    logger = trainer.loggers[0]
    with suppress(Exception):  # W&B has no version before its experiment exists; whether it starts is not our concern
        _ = logger.experiment
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return _local(logger.save_dir or trainer.default_root_dir) / str(logger.name) / version / gw


def remote_home(trainer: Any, save_dir: str | Path | None) -> str | None:
    """Where the run lies, if that is on a file system elsewhere and its history is therefore kept apart from it."""
    if save_dir is not None or trainer.fast_dev_run:
        return None
    home = (trainer.loggers and trainer.loggers[0].save_dir) or trainer.default_root_dir
    return None if _protocol(home) is None else str(home)


def _protocol(folder: str | Path) -> str | None:
    """The protocol of a folder that is not on a local disk, such as ``s3``."""
    protocol: str = get_protocol(str(folder))
    return None if protocol in ("file", "local") else protocol


def _local(folder: str | Path) -> Path:
    """The folder on a local disk; of one elsewhere its last name, below the working directory."""
    if _protocol(folder) is not None:
        return Path(str(folder).split("://", 1)[-1].rstrip("/").rsplit("/", 1)[-1])
    return Path(LocalFileSystem._strip_protocol(str(folder))) if "://" in str(folder) else Path(folder)


def continue_history(
    history: History | None, folder: Path | None, *, looked: int | None, resumed: int, origin: str | None
) -> tuple[History, list[str]]:
    """Open the history in `folder` at the point where training stands.

    Args:
        history: The one open already, from an earlier ``fit``.
        folder: Where the run's history lives; None keeps it in memory.
        looked: Step of the last look that training knows of, None for a new run.
        resumed: Global step at which training stands.
        origin: Folder in which the checkpoint's run kept its history.

    Returns:
        The history, which ends with the look at `looked`, and what the user should be warned of.

    Raises:
        OSError: If the folder cannot be written.
        SchemaError: If a newer version wrote it.
    """
    if history is None or history.path != folder or (folder is None and looked is None):
        history = History() if folder is None else History.open(folder)
    warnings = list(history.problems)
    if looked is None:
        if len(history) or history.metrics:
            history.rewind(-1)
            warnings.append(
                f"{folder} held the history of an earlier run; it was set aside there as superseded*. Give every run "
                "a folder of its own with save_dir=..., or resume with trainer.fit(..., ckpt_path=...)."
            )
        return history, warnings
    between = [row for row in history.metrics if looked < row["step"] <= resumed]
    history.rewind(looked)
    for row in between:
        history.append_metrics(row["step"], row["epoch"], metric_values(row))
    if not len(history):
        warnings += _copy(history, folder, origin, looked, resumed)
    return history, warnings


def _copy(history: History, folder: Path | None, origin: str | None, looked: int, resumed: int) -> list[str]:
    """Bring the records before the checkpoint into the new run folder."""
    missing = f"Training resumed at step {resumed}, but the history before it was not found"
    if origin is None or folder is None:
        return [] if folder is None else [f"{missing}; the history in {folder} begins here."]
    try:
        before = load_history(origin)
    except OSError as error:
        return [f"{missing} ({error}); the history in {folder} begins here."]
    for record in before:
        if record.step <= looked:
            history.append(record)
    there = {row["step"] for row in history.metrics}  # where no look was solved yet, the folder may be its own origin
    for row in before.metrics:
        if row["step"] <= resumed and row["step"] not in there:
            history.append_metrics(row["step"], row["epoch"], metric_values(row))
    return list(before.problems)


def metric_values(row: dict[str, Any]) -> dict[str, Any]:
    """A row of metrics without its step and epoch."""
    return {name: value for name, value in row.items() if name not in ("step", "epoch")}
