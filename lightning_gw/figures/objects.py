"""How things show themselves: the picture, the sentence and the rows of each kind of `Shown`."""

from __future__ import annotations

import base64
import html as markup
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_gw.figures.groups import draw_groups
from lightning_gw.figures.matrix import draw_matrix, draw_rectangle
from lightning_gw.figures.timeline import draw_timeline
from lightning_gw.groups.groups import Groups
from lightning_gw.gw.result import GWMatrix
from lightning_gw.records.history import History
from lightning_gw.records.record import Record
from lightning_gw.records.rows import layer_rows, look_rows, pair_rows
from lightning_gw.records.words.description import describe, describe_record
from lightning_gw.records.words.measure_names import paired_name
from lightning_gw.utilities.errors import reason_of
from lightning_gw.utilities.text import plural

if TYPE_CHECKING:
    from pandas import DataFrame


class Plot(NamedTuple):
    """A figure and its first axes; a notebook shows the picture.

    Attributes:
        figure: The Matplotlib figure.
        axes: The axes that hold the picture.
    """

    figure: Figure
    axes: Axes

    def _repr_png_(self) -> bytes:
        return png(self.figure)


def plot(thing: Any, ax: Axes | None = None) -> Plot:
    """The picture of a thing; see `utilities.shown.Shown.plot`."""
    figure = _draw(thing)(ax)
    return Plot(figure, figure.axes[0] if ax is None else ax)


def html(thing: Any) -> str:
    """A sentence and, below it, the picture; what cannot be drawn is said instead."""
    sentence, below = sentence_of(thing), ""
    try:
        drawn = base64.b64encode(png(_draw(thing)(None))).decode("ascii")
        below = f'<img alt="{markup.escape(sentence)}" style="max-width: 100%" src="data:image/png;base64,{drawn}">'
    except Exception as error:  # a notebook would show a traceback in place of the sentence
        why = str(error) if isinstance(error, ValueError) else reason_of(error)
        below = f"<p><i>No picture: {markup.escape(why)}</i></p>"
    return f'<div><p style="max-width: 70em">{markup.escape(sentence)}</p>{below}</div>'


def dataframe(thing: Any) -> DataFrame:
    """The rows of a thing; see `utilities.shown.Shown.to_dataframe`."""
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise ImportError("to_dataframe needs pandas: pip install pandas.") from error
    match thing:
        case GWMatrix():
            return DataFrame(pair_rows(thing))
        case Groups():
            return DataFrame(layer_rows(thing))
        case Record():
            return DataFrame(layer_rows(thing.groups, thing.layers, thing.growth, thing.moved, thing.weights))
    return DataFrame(look_rows(thing))


def sentence_of(thing: Any) -> str:
    """What a thing says of itself in words."""
    match thing:
        case GWMatrix():
            return _matrix_sentence(thing)
        case Groups():
            return thing.sentence()
        case Record():
            return describe_record(thing)
    return describe(thing)


def png(figure: Figure) -> bytes:
    """A figure as a PNG file, at the size at which it is drawn."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw(thing: Any) -> Callable[[Axes | None], Figure]:
    match thing:
        case GWMatrix(other_layers=None) | Record():
            return lambda ax: draw_matrix(thing, ax)
        case GWMatrix():
            return lambda ax: draw_rectangle(thing, ax)
        case Groups():
            return lambda ax: draw_groups(thing, ax)
        case History():
            return lambda ax: _timeline(thing, ax)
    raise TypeError(f"A {type(thing).__name__} has no picture.")


def _timeline(history: History, ax: Axes | None) -> Figure:
    if ax is not None:
        raise ValueError("The timeline has panels for accuracy and loss and is a figure of its own: leave `ax` out.")
    return draw_timeline(history)


def _matrix_sentence(gw: GWMatrix) -> str:
    """How alike the layers are, from the least to the most, and how far that is certified."""
    rows, columns = len(gw.layers), len(gw.columns)
    what = plural(rows, "layer") if gw.other_layers is None else f"{plural(rows, 'layer')} against {columns} others"
    plans = gw.couplings.ndim == 4
    inputs = " and ".join(map(str, gw.couplings.shape[2:])) if plans else str(gw.couplings.shape[-1])
    told = f"Gromov-Wasserstein values of {what} over {inputs} inputs, geometry {gw.geometry}"
    if gw.unit_scale:
        pairs = np.triu_indices(rows, 1) if gw.other_layers is None else np.indices((rows, columns))
        found, bound = gw.similarity[tuple(pairs)], gw.similarity_bound[tuple(pairs)]
        if np.isfinite(found).any():
            told += (
                f": similarity at least {np.nanmin(found):.2f} to {np.nanmax(found):.2f}, on average "
                f"{np.nanmean(found):.2f} and certified not above {np.nanmean(bound):.2f}"
            )
            paired = gw.identity_similarity[tuple(pairs)]
            if np.isfinite(paired).any():
                told += f"; {paired_name(gw)} of the same layers is {np.nanmean(paired):.2f} on average"
    left_out = ", ".join([*gw.degenerate, *gw.other_degenerate])
    return f"{told}. Left out: {left_out}." if left_out else f"{told}."
