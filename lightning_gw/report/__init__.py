"""The page: a run, or several side by side, as one HTML file that needs no network."""

from __future__ import annotations

from lightning_gw.report.page import write_report

__all__ = ["write_report"]
