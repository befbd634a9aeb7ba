"""What shows itself: a picture and a sentence in a notebook, a picture by ``plot()``, rows by ``to_dataframe()``.

How a thing is drawn is written in the room `figures`, above those of the things, which therefore may not import it: it
is looked up by its name when something is to be shown, and nothing is imported before.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from lightning_gw.figures.objects import Plot

_VIEWS = "lightning_gw.figures.objects"


class Shown:
    """A base of things that show themselves; `figures.objects` knows how, for each kind of them."""

    def plot(self, ax: Axes | None = None) -> Plot:
        """Draw it.

        Args:
            ax: Axes to draw into; a figure of its own where None. Pictures of several panels are always their own.

        Returns:
            Figure and axes, as metrics of torchmetrics return them; in a notebook the pair shows the picture.

        Raises:
            ValueError: If there is nothing to draw, or `ax` is given to a picture of several panels.
        """
        plot: Plot = _views().plot(self, ax)
        return plot

    def to_dataframe(self) -> DataFrame:
        """Its numbers as rows of a pandas ``DataFrame``: pairs of layers, layers, or looks.

        Raises:
            ImportError: If pandas is not installed.
        """
        frame: DataFrame = _views().dataframe(self)
        return frame

    def _repr_html_(self) -> str:
        html: str = _views().html(self)
        return html


class ShownRun(Shown):
    """A base of what a whole run found, which has a page beside its picture."""

    def report(self, path: str | os.PathLike[str] = "report.html") -> Path:
        """Write the page of this run: one file that needs no other and no network.

        Args:
            path: Where it goes; its folder must exist.

        Returns:
            The page.

        Raises:
            ValueError: If there is no look to report.
            OSError: If it cannot be written there.
        """
        page: Path = importlib.import_module("lightning_gw.report").write_history(self, Path(path))
        return page


def fetched(path: str | os.PathLike[str]) -> Path:
    """A path on this machine; what names a W&B artifact (``team/project/name:v3``) and no file is downloaded.

    Raises:
        FileNotFoundError: If W&B does not give it.
        ValueError: If it is no history.
    """
    parts = str(path).split("/")
    if isinstance(path, str) and len(parts) == 3 and ":" in parts[-1] and not Path(path).exists():
        folder: Path = importlib.import_module("lightning_gw.loggers.artifact").download(path)
        return folder
    return Path(path)


def _views() -> Any:
    return importlib.import_module(_VIEWS)
