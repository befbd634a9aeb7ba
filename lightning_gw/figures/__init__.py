"""Pictures of a look, of a run, and of several runs side by side, as matplotlib figures.

No function here touches pyplot, so pictures can be drawn from inside a training process that uses it for its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_gw.figures.comparisons.boundaries import draw_boundaries
from lightning_gw.figures.comparisons.contrasts import draw_contrasts
from lightning_gw.figures.comparisons.correspondence import draw_correspondence
from lightning_gw.figures.comparisons.mean_matrices import draw_mean_matrices
from lightning_gw.figures.comparisons.timelines import draw_comparison
from lightning_gw.figures.groups import draw_groups
from lightning_gw.figures.matrix import draw_matrix, draw_rectangle
from lightning_gw.figures.profile import draw_profile
from lightning_gw.figures.timeline import draw_timeline

if TYPE_CHECKING:
    from lightning_gw.figures.skip_test import draw_skip_test

__all__ = [
    "draw_boundaries",
    "draw_comparison",
    "draw_contrasts",
    "draw_correspondence",
    "draw_groups",
    "draw_matrix",
    "draw_mean_matrices",
    "draw_profile",
    "draw_rectangle",
    "draw_skip_test",
    "draw_timeline",
]


def __getattr__(name: str) -> Any:
    if name != "draw_skip_test":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lightning_gw.figures.skip_test import draw_skip_test  # what it draws imports Lightning, which takes seconds

    return draw_skip_test
