"""Pictures of a look, of a run, and of several runs side by side, as matplotlib figures.

No function here touches pyplot, so pictures can be drawn from inside a training process that uses it for its own.
"""

from __future__ import annotations

from lightning_gw.figures.comparison import draw_comparison
from lightning_gw.figures.matrix import draw_matrix
from lightning_gw.figures.profile import draw_profile
from lightning_gw.figures.rectangle import draw_rectangle
from lightning_gw.figures.timeline import draw_timeline

__all__ = ["draw_comparison", "draw_matrix", "draw_profile", "draw_rectangle", "draw_timeline"]
