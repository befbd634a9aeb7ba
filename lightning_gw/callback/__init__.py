"""When to look, at what cost, and what becomes of errors: the callback and its parts."""

from __future__ import annotations

from lightning_gw.callback.gw_similarity import GWSimilarity

__all__ = ["GWSimilarity"]
