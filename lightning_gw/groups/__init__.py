"""Which layers belong together, and what becomes of the groups over time."""

from __future__ import annotations

from lightning_gw.groups.choice import Choice, NoGroupError, choose_group
from lightning_gw.groups.finding import find_groups
from lightning_gw.groups.groups import Groups
from lightning_gw.groups.tracking import Event, EventKind, GroupTracker, converged_at

__all__ = [
    "Choice",
    "Event",
    "EventKind",
    "GroupTracker",
    "Groups",
    "NoGroupError",
    "choose_group",
    "converged_at",
    "find_groups",
]
