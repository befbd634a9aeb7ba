"""Where run folders written by earlier versions look for `RunProgress`."""

from __future__ import annotations

from lightning_gw.compare.run_callback import RunProgress

__all__ = ["RunProgress"]
