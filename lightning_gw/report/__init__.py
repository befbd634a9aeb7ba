"""The page: a run, or several side by side, as one HTML file that needs no network."""

from __future__ import annotations

from lightning_gw.report.page import write_history, write_page, write_report
from lightning_gw.report.run.loading import damages, load_runs, load_source

__all__ = ["damages", "load_runs", "load_source", "write_history", "write_page", "write_report"]
