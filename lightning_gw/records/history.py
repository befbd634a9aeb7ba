"""All that a run found: the `History`, append-only on disk.

One run's folder ``gw/`` holds ``history.jsonl`` (one line per record, no matrices), ``step-<step>.safetensors`` (that
record's matrices) and ``metrics.jsonl`` (the run's own scalars at each validation). A record appears whole or not at
all: its matrices are written aside and renamed first, and the line that refers to them comes last. A writer that was
killed can therefore leave half a line at most, which reading names and skips, and which the next writer moves aside.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from safetensors.numpy import save as save_arrays

from lightning_gw.records.reading import (
    METRICS_FILE,
    RECORDS_FILE,
    array_file,
    find_file,
    parse_metrics,
    read_folder,
)
from lightning_gw.records.record import Record
from lightning_gw.utilities.shown import ShownRun, fetched
from lightning_gw.utilities.storage.files import (
    append_line,
    append_raw,
    read_regular,
    remove_parts,
    sync_folder,
    write_whole,
)
from lightning_gw.utilities.storage.json_values import metrics_to_json

#: Prefix of the files, and name of the folder, that keep what training went back behind.
SUPERSEDED = "superseded"


class History(ShownRun, Sequence[Record]):
    """The records of one run in the order of their steps, with the run's own metrics beside them.

    ``History()`` lives in memory only, `History.open` writes every record to its folder at once, `load_history` reads.
    Slices are histories in memory, with the metrics of the whole run.

    Attributes:
        path: The folder on disk (``<run>/gw``), or None for a history in memory.
        problems: What could not be read and was left out, in words.

    Example:
        >>> import tempfile, torch
        >>> from pytorch_lightning import Trainer
        >>> from pytorch_lightning.demos.boring_classes import BoringModel
        >>> from lightning_gw import GWSimilarity, load_history
        >>> model = BoringModel()
        >>> model.layer = torch.nn.Sequential(*(torch.nn.Linear(32, 32) for _ in range(3)), torch.nn.Linear(32, 2))
        >>> folder = tempfile.TemporaryDirectory()
        >>> watching = GWSimilarity(save_dir=folder.name, probe_size=16, verbose=False)
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> Trainer(max_steps=4, callbacks=[watching], default_root_dir=folder.name, **quiet).fit(model)
        >>> history = load_history(folder.name)
        >>> [record.step for record in history]
        [0, 4]
        >>> history[-1].gw.layers
        ('layer.0', 'layer.1', 'layer.2', 'layer.3')
        >>> history[1:]  # a slice is a history too, in memory
        History(1 look, steps 4 to 4: no groups, path=None)
        >>> folder.cleanup()
    """

    def __init__(
        self,
        records: Iterable[Record] = (),
        metrics: Iterable[Mapping[str, Any]] = (),
        problems: Iterable[str] = (),
        path: Path | None = None,
        writable: bool = True,
    ) -> None:
        self.path = path
        self.problems: tuple[str, ...] = tuple(problems)
        self._records = list(records)
        self._metrics = [dict(row) for row in metrics]
        self._writable = writable

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> History:
        """Open a folder for writing; it is created where it is missing, and continued where it holds a history.

        Lines that cannot be read are moved to ``damaged.jsonl``, so that nothing written later can merge with them, and
        `problems` says so.

        Raises:
            OSError: If the folder cannot be written; the message names it.
            SchemaError: If a newer version of lightning-gw wrote to it.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (RECORDS_FILE, METRICS_FILE):
                append_raw(folder / name, b"")
            remove_parts(folder)
            history = cls(*read_folder(folder, heal=True), path=folder)
            sync_folder(folder)
        except OSError as error:
            raise _refused(error, folder) from error
        return history

    def append(self, record: Record) -> None:
        """Add a record; on disk it is complete, and stays so after a crash, once this returns.

        Raises:
            ValueError: If its step is not above every step so far (`rewind` first where training went back).
            OSError: If it cannot be written; the history is then as it was before.
        """
        if self._records and record.step <= self._records[-1].step:
            known = any(record.step == other.step for other in self._records)
            raise ValueError(
                f"Step {record.step} "
                + ("is already in the history" if known else f"lies before the last step {self._records[-1].step}")
                + f"{'' if self.path is None else f' in {self.path}'}; steps must grow. "
                "Where training resumed from an earlier step, call rewind(step) first."
            )
        self._require_writable()
        if self.path is not None:
            try:
                self._write(self.path, record)
            except OSError as error:
                raise _refused(error, self.path) from error
        self._records.append(record)

    @staticmethod
    def _write(folder: Path, record: Record) -> None:
        line = record.to_json()
        # safetensors writes an array's memory as it lies, so views and transposes have to be laid out first.
        content = save_arrays({name: np.ascontiguousarray(values) for name, values in record.arrays().items()})
        file = folder / array_file(record.step)
        line["arrays"] = {"file": file.name, "sha256": hashlib.sha256(content).hexdigest()}
        write_whole(file, content)
        append_line(folder / RECORDS_FILE, line)

    @property
    def metrics(self) -> tuple[dict[str, Any], ...]:
        """The run's own scalars: rows with ``step``, ``epoch`` and one float per metric name, as they were appended."""
        return tuple(dict(row) for row in self._metrics)

    def append_metrics(self, step: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Add a row of the run's own scalars. A metric called ``step`` or ``epoch`` gives way to the row's own.

        Raises:
            TypeError: If a value is no number; the message names it.
            OSError: If it cannot be written.
        """
        plain = metrics_to_json(metrics) | {"step": int(step), "epoch": int(epoch)}
        self._require_writable()
        if self.path is not None:
            try:
                append_line(self.path / METRICS_FILE, plain)
            except OSError as error:
                raise _refused(error, self.path) from error
        self._metrics.append(parse_metrics(plain))

    def rewind(self, step: int) -> None:
        """Drop everything after `step`, because training resumed from there and will come by again.

        Nothing is lost on disk: the lines go to ``superseded.jsonl`` and ``superseded-metrics.jsonl``, the matrices to
        ``superseded/<sha256>.safetensors``.

        Raises:
            OSError: If the folder cannot be written.
        """
        self._require_writable()
        if self.path is not None:
            try:
                dropped = _move_lines_after(self.path / RECORDS_FILE, step, self.path / f"{SUPERSEDED}.jsonl")
                _move_lines_after(self.path / METRICS_FILE, step, self.path / f"{SUPERSEDED}-{METRICS_FILE}")
                for line in dropped:
                    _set_arrays_aside(self.path, line["arrays"])
            except OSError as error:
                raise _refused(error, self.path) from error
        self._records = [record for record in self._records if record.step <= step]
        self._metrics = [row for row in self._metrics if row["step"] <= step]

    def _require_writable(self) -> None:
        if not self._writable:
            raise PermissionError(f"The history in {self.path} was loaded for reading; use History.open to add to it.")

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> History: ...
    def __getitem__(self, index: int | slice) -> Record | History:
        if isinstance(index, slice):
            return History(self._records[index], self._metrics, self.problems)
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        looks = "1 look" if len(self) == 1 else f"{len(self)} looks"
        steps = f", steps {self[0].step} to {self[-1].step}: {self[-1].summary().replace('  ', ', ')}" if self else ""
        return f"History({looks}{steps}{f', {len(self.problems)} problems' if self.problems else ''}, path={self.path})"


def load_history(path: str | os.PathLike[str]) -> History:
    """Read the history of a run from disk; nothing on disk is changed.

    Damaged lines and records whose array file is missing or damaged are left out and named in ``problems``.

    Args:
        path: The run's folder, its ``gw`` folder (``gw-<name>`` of a callback with a name), or the ``history.jsonl`` in
            it; or a W&B artifact to be downloaded (``team/project/gw-history-abc:v3``).

    Raises:
        FileNotFoundError: If there is no history; the message says where it was looked for.
        ValueError: If the folder holds the histories of several callbacks with names; the message lists them.
        SchemaError: If a newer version of lightning-gw wrote it.

    Example:
        >>> import tempfile
        >>> from lightning_gw import History, load_history
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     History.open(f"{folder}/gw").append_metrics(step=10, epoch=0, metrics={"val_acc": 0.5})
        ...     load_history(folder).metrics  # no look was made here yet
        ({'step': 10, 'epoch': 0, 'val_acc': 0.5},)
    """
    path = fetched(path)
    file = path if path.suffix == ".jsonl" else find_file(path, RECORDS_FILE)
    if file is None or not file.is_file():
        places = str(path) if file else f"{path / RECORDS_FILE} and {path / 'gw' / RECORDS_FILE}"
        raise FileNotFoundError(
            f"No history in {path}: looked for {places}. A run writes one when GWSimilarity is among its callbacks."
        )
    return History(*read_folder(file.parent, heal=False), path=file.parent, writable=False)


def _move_lines_after(file: Path, step: int, aside: Path) -> list[dict[str, Any]]:
    """Move the lines of later steps to `aside` and return what they hold; kept first and removed second."""
    kept: list[bytes] = []
    dropped: list[bytes] = []
    for raw in read_regular(file).splitlines(keepends=True):
        (dropped if json.loads(raw)["step"] > step else kept).append(raw)
    if dropped:
        append_raw(aside, b"".join(dropped))
        write_whole(file, b"".join(kept))
    return [json.loads(raw) for raw in dropped]


def _set_arrays_aside(folder: Path, reference: Mapping[str, str]) -> None:
    """Move a dropped record's matrices out of the way of the step's next record, under the name of their content."""
    file = folder / reference["file"]
    if file.exists():
        (folder / SUPERSEDED).mkdir(exist_ok=True)
        file.replace(folder / SUPERSEDED / f"{reference['sha256']}.safetensors")
        sync_folder(folder)


def _refused(error: OSError, folder: Path) -> OSError:
    message = f"The history cannot be written in {folder} ({error.strerror or error}). Give a save_dir that can."
    return OSError(error.errno, message) if error.errno is not None else OSError(message)
