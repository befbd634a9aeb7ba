"""The pictures of a look as pixels, for loggers that take images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightning_gw.record import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: ``(height, width, 3)`` values from 0 to 255.
Picture = NDArray[np.uint8]


def draw_pictures(record: Record, looks: Sequence[Record]) -> dict[str, Picture | str]:
    """Draw a record.

    Args:
        record: What the look found.
        looks: The run so far, this record included.

    Returns:
        ``similarity`` and ``timeline``: a picture each, or the reason why there is none.
    """
    # Matplotlib takes most of a second to import, which runs without such a logger need not spend.
    from lightning_gw.figures import draw_matrix, draw_timeline

    draw: dict[str, Callable[[], Figure]] = {
        "similarity": lambda: draw_matrix(record),
        "timeline": lambda: draw_timeline(looks),
    }
    pictures: dict[str, Picture | str] = {}
    for name, make in draw.items():
        try:
            pictures[name] = to_rgb(make())
        except Exception as error:
            pictures[name] = str(error)
    return pictures


def to_rgb(figure: Figure) -> NDArray[np.uint8]:
    """A figure's pixels, ``(height, width, 3)``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()
