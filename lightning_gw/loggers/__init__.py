"""What a look found, put into whichever Lightning loggers are attached; see `dispatch`."""

from __future__ import annotations

from lightning_gw.loggers.dispatch import log_config, log_record, log_summary, wants_pictures

__all__ = ["log_config", "log_record", "log_summary", "wants_pictures"]
