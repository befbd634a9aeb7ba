"""What is known of a look before it is analysed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LookContext:
    """When and how a look was made; the look that waits to be solved holds it, and so does its record.

    Attributes:
        step: Trainer global step of the look.
        epoch: Trainer epoch of the look, from 0.
        probe: How the layers were looked at: ``hash``, ``size``, ``source``, ``pooling`` (plain JSON values).
        metrics: The run's own scalars as last known at this step; a validation may lie some steps back.
        notes: What is missing from this look or was done differently, and why, in plain words.
        logged_at: Step at which loggers hold it, that of Lightning's own metrics then; None where it is `step`.
    """

    step: int
    epoch: int
    probe: Mapping[str, Any]
    metrics: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    logged_at: int | None = None

    @property
    def axis(self) -> int:
        """Step at which loggers hold it."""
        return self.step if self.logged_at is None else self.logged_at
