"""What a look found, on disk and in words."""

from __future__ import annotations

from lightning_gw.records.history import History, load_history
from lightning_gw.records.record import Record

__all__ = ["History", "Record", "load_history"]
