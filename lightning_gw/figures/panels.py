"""What pictures of several panels share: one headline and one reading for all of them, and one colour bar."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from lightning_gw.figures.matrix import reading_below
from lightning_gw.figures.style import INK, QUIET


def headline_and_reading(figure: Figure, title: str, reading: str) -> None:
    """What the picture shows, above all panels, and how to read it, below them."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold", color=INK, parse_math=False)
    reading_below(figure, reading)


def shared_bar(figure: Figure, grid: NDArray[np.object_], image: AxesImage, label: str) -> None:
    """The colour bar that all panels of a grid, an array of axes, share."""
    bar = figure.colorbar(image, ax=grid, fraction=0.02, pad=0.01, shrink=min(1.0, 1.6 / len(grid) + 0.2))
    bar.set_label(label, fontsize=10, color=QUIET)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9.5, length=0)
