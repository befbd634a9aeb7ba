"""Which layers belong together, and what becomes of the groups over time."""

from __future__ import annotations

from lightning_gw.groups.events import Event, EventKind
from lightning_gw.groups.groups import Groups, find_groups
from lightning_gw.groups.tracking import GroupTracker, converged_at

__all__ = ["Event", "EventKind", "GroupTracker", "Groups", "converged_at", "find_groups"]
