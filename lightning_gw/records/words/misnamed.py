"""What is said of a metric or a boundary that was named and is not there."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_gw.utilities.text import listed


def never_logged(metric: str, logged: Sequence[str]) -> str:
    """What to say of a metric that was asked for and is not among those that were logged."""
    were = "was" if len(logged) == 1 else "were"
    return f"Metric {metric!r} was never logged; logged {were} {listed(logged) or 'none'}."


def planted_beyond(planted: Sequence[int] | None, layers: int) -> str:
    """What to say of planted boundaries (0-based, "after layer k") that no boundary can match; empty if there are none.

    Args:
        planted: The boundaries, or None.
        layers: Number of layers looked at.
    """
    beyond = [k for k in planted or () if k > layers - 2]
    if not beyond:
        return ""
    last = f"the last boundary there can be is {layers - 2}" if layers > 1 else "there can be no boundary"
    return f"planted names {listed([str(k) for k in beyond])}, but with {layers} layers, counted from 0, {last}."
