"""Reads what W&B really wrote offline: a ``.wandb`` file is a LevelDB log of protocol-buffer records.

Layout: a header of 7 bytes (``:W&B``, 0xBEE1 little-endian, a version), then blocks of 32 KiB, in which every chunk has
a CRC-32, a length and a type (1 whole, 2 first, 3 middle, 4 last), and a chunk never straddles a block.
"""

from __future__ import annotations

import contextlib
import json
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_BLOCK = 32 * 1024
_CHUNK_HEADER = struct.Struct("<IHB")


def read_records(file: Path) -> Iterator[Any]:
    data = file.read_bytes()
    assert data[:6] == b":W&B\xe1\xbe", f"{file} has no W&B header"
    position, parts = 7, b""
    while position + _CHUNK_HEADER.size <= len(data):
        if _BLOCK - position % _BLOCK < _CHUNK_HEADER.size:
            position += _BLOCK - position % _BLOCK
            continue
        checksum, length, kind = _CHUNK_HEADER.unpack_from(data, position)
        position += _CHUNK_HEADER.size
        chunk = data[position : position + length]
        assert zlib.crc32(bytes([kind]) + chunk) == checksum, f"{file} is damaged before byte {position + length}"
        position += length
        parts = chunk if kind in (1, 2) else parts + chunk
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


@dataclass
class OfflineRun:
    """What the folder of one run holds."""

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    step_metrics: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, save_dir: Path) -> OfflineRun:
        (file,) = (save_dir / "wandb").glob("*run-*/run-*.wandb")
        run = cls(file.parent)
        for record in _until_exit(file):
            match record.WhichOneof("record_type"):
                case "history":
                    run.rows.append(_items(record.history.item))
                case "config":
                    run.config |= _items(record.config.update)
                case "summary":
                    run.summary |= _items(record.summary.update)
                case "artifact":
                    run.artifacts.append(record.artifact)
                case "metric":
                    run.step_metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        return run

    def file(self, reference: dict[str, Any]) -> Path:
        """The media file that a value of a row refers to."""
        return self.folder / "files" / reference["path"]


def _until_exit(file: Path, patience: float = 20.0) -> list[Any]:
    """W&B's own process writes the last block a moment after ``wandb.finish()`` has returned."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(AssertionError):
            records = list(read_records(file))
            if any(record.WhichOneof("record_type") == "exit" for record in records):
                return records
        time.sleep(0.05)
    raise AssertionError(f"{file} was not finished within {patience} s")


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def rows_of_records(run: OfflineRun) -> list[dict[str, Any]]:
    return [row for row in run.rows if "gw/groups/count" in row]
