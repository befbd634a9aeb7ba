"""What becomes of groups from look to look."""

from __future__ import annotations

from lightning_gw.groups.tracking.events import Event, EventKind
from lightning_gw.groups.tracking.tracker import GroupTracker, converged_at

__all__ = ["Event", "EventKind", "GroupTracker", "converged_at"]
