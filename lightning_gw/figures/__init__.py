"""Pictures of a look, of a run, and of several runs side by side, as matplotlib figures.

No function here touches pyplot, so pictures can be drawn from inside a training process that uses it for its own.
"""

from __future__ import annotations

from lightning_gw.figures.comparisons.boundaries import draw_boundaries
from lightning_gw.figures.comparisons.contrasts import draw_contrasts
from lightning_gw.figures.comparisons.correspondence import draw_correspondence
from lightning_gw.figures.comparisons.mean_matrices import draw_mean_matrices
from lightning_gw.figures.comparisons.timelines import draw_comparison
from lightning_gw.figures.groups import draw_groups
from lightning_gw.figures.matrix import draw_matrix, draw_rectangle
from lightning_gw.figures.profile import draw_profile
from lightning_gw.figures.skip_test import draw_skip_test
from lightning_gw.figures.timeline import draw_timeline

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
