"""The pictures of a look, for loggers that take images."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightning_gw.records.record import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: zlib's quickest: a look may wait for this, and it costs few bytes more in pictures that are mostly plain.
_COMPRESSION = 1


@dataclass(frozen=True)
class Picture:
    """A picture as it is stored, so that it is encoded once, and where it was drawn.

    Attributes:
        png: The content of a PNG file, RGB with 8 bits a channel.
        width: In pixels.
        height: In pixels.
    """

    png: bytes
    width: int
    height: int

    @staticmethod
    def of(figure: Figure) -> Picture:
        """Render a figure."""
        from PIL import Image

        pixels, file = to_rgb(figure), io.BytesIO()
        Image.fromarray(pixels).save(file, "png", compress_level=_COMPRESSION)
        return Picture(file.getvalue(), width=pixels.shape[1], height=pixels.shape[0])

    def pixels(self) -> NDArray[np.uint8]:
        """``(height, width, 3)`` values from 0 to 255."""
        from PIL import Image

        with Image.open(io.BytesIO(self.png)) as image:
            return np.array(image)


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
            pictures[name] = Picture.of(make())
        except Exception as error:
            pictures[name] = str(error)
    return pictures


def to_rgb(figure: Figure) -> NDArray[np.uint8]:
    """A figure's pixels, ``(height, width, 3)``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()
