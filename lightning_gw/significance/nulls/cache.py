"""Nulls on disk: one file each, found by what they depend on, never unpickled."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from lightning_gw.utilities.storage.files import LARGEST_ARRAYS, read_regular, write_whole

#: Changes whenever the same description would mean other numbers.
VERSION = 1


def key_of(description: Mapping[str, Any]) -> str:
    """SHA-256 of a description in plain JSON values."""
    content = json.dumps({"version": VERSION, **description}, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def read_rows(folder: str | os.PathLike[str], key: str) -> tuple[NDArray[np.float64] | None, str]:
    """The rows stored under a key.

    Returns:
        ``(m, 2, L − 1)`` rows or None, and a note in words where a file was there but could not be used.
    """
    file = _file(folder, key)
    try:
        content = read_regular(file, LARGEST_ARRAYS)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"The stored null {file.name} cannot be read ({error.strerror}); made anew."
    try:
        rows = load_arrays(content)["rows"]
        size = int.from_bytes(content[:8], "little")
        known = json.loads(content[8 : 8 + size])["__metadata__"]["key"]
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return None, f"The stored null {file.name} is damaged; made anew."
    if known != key or rows.ndim != 3 or rows.shape[1] != 2 or rows.dtype != np.float64:
        return None, f"The stored null {file.name} holds something else; made anew."
    return rows, ""


def write_rows(folder: str | os.PathLike[str], key: str, rows: NDArray[np.float64], description: Any) -> str:
    """Store rows under a key, whole or not at all.

    Returns:
        A note in words where that failed, else an empty string: a null that cannot be stored is still a null.
    """
    metadata = {"key": key, "description": json.dumps(description, sort_keys=True)}
    file = _file(folder, key)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, save_arrays({"rows": np.ascontiguousarray(rows)}, metadata))
    except OSError as error:
        return f"The null could not be stored in {file.parent} ({error.strerror})."
    return ""


def _file(folder: str | os.PathLike[str], key: str) -> Path:
    return Path(folder) / f"null-{key[:24]}.safetensors"
