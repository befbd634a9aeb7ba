"""Things show themselves: a sentence and a picture in a notebook, rows, a short text elsewhere."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from example_records import example_history_records, example_record
from IPython.core.formatters import DisplayFormatter
from matplotlib import rcParams, style
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import lightning_gw as lgw
from lightning_gw.figures import draw_comparison, draw_groups, draw_matrix, draw_profile, draw_timeline
from lightning_gw.figures.objects import png
from lightning_gw.figures.png import to_rgb
from lightning_gw.figures.style import NO_EVIDENCE
from lightning_gw.records.history import History
from lightning_gw.records.record import Record

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def history() -> History:
    return History(example_history_records())


@pytest.fixture(scope="module")
def rectangle() -> lgw.GWMatrix:
    generator = torch.Generator().manual_seed(0)
    one = {name: torch.randn(12, 4, generator=generator) for name in ("a", "b", "c")}
    return lgw.gw_matrix(one, {"x": one["a"], "y": one["c"].square()}, effort="fast")


def things(history: History, rectangle: lgw.GWMatrix) -> dict[str, Any]:
    last = history[-1]
    return {"matrix": last.gw, "rectangle": rectangle, "groups": last.groups, "record": last, "history": history}


KINDS = ("matrix", "rectangle", "groups", "record", "history")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.representatives("history")
def test_a_notebook_gets_a_sentence_and_a_picture(kind: str, history: History, rectangle: lgw.GWMatrix) -> None:
    thing = things(history, rectangle)[kind]
    shown, _ = DisplayFormatter().format(thing)
    drawn = re.search(r'src="data:image/png;base64,([^"]+)"', shown["text/html"])
    assert drawn is not None
    assert base64.b64decode(drawn[1]).startswith(PNG)
    words = re.sub(r"<[^>]*>", "", shown["text/html"])
    assert len(words) > 20
    assert words.endswith(".")
    if kind in ("record", "history"):
        assert "three strong groups" in words
    assert "array(" not in shown["text/plain"]
    assert len(shown["text/plain"]) < 160, "a wall of arrays"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.representatives("record", "rectangle")
def test_plot_gives_figure_and_axes_and_a_notebook_shows_them(
    kind: str, history: History, rectangle: lgw.GWMatrix
) -> None:
    plot = things(history, rectangle)[kind].plot()
    figure, axes = plot
    assert axes in figure.axes
    shown, _ = DisplayFormatter().format(plot)
    assert shown["image/png"].startswith(PNG), "also without %matplotlib inline"


@pytest.mark.parametrize("kind", ["matrix", "rectangle", "groups", "record"])
def test_plot_draws_into_axes_of_ones_own(kind: str, history: History, rectangle: lgw.GWMatrix) -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    drawn, axes = things(history, rectangle)[kind].plot(ax=right)
    assert drawn is figure
    assert axes is right
    assert right.get_title(loc="left")
    assert len(figure.axes) == 2, "no colour bar of its own squeezes them"
    assert not left.has_data()


def test_a_timeline_has_panels_and_says_so(history: History) -> None:
    with pytest.raises(ValueError, match="figure of its own: leave `ax` out"):
        history.plot(ax=Figure().add_subplot())


def test_any_figure_shows_itself_without_inline(history: History) -> None:
    for figure in (draw_matrix(history[-1]), draw_timeline(history)):
        assert DisplayFormatter().format(figure)[0]["image/png"].startswith(PNG)


def test_a_matrix_by_itself_is_drawn_and_knows_no_step(history: History) -> None:
    figure = draw_matrix(history[-1].gw)
    assert "Step" not in figure.axes[0].get_title(loc="left")


def test_the_picture_shows_the_matrix_that_the_groups_were_found_in(history: History) -> None:
    last = history[-1]
    anchored = last.gw.similarity * 0.8
    found = replace(last, found_in="gw_anchored", measures={"gw_anchored": anchored})
    upper = np.triu_indices(len(last.layers), 1)
    for record, above in ((found, anchored), (last, last.gw.similarity)):
        image = draw_matrix(record).axes[0].get_images()[0]
        shown = np.asarray(image.get_array())
        np.testing.assert_allclose(shown[upper], above[upper])
        np.testing.assert_allclose(shown.T[upper], last.gw.identity_similarity[upper])
        assert image.get_clim() == (0, 1), "one scale for all looks"


def test_what_has_no_picture_says_why_in_its_place(history: History) -> None:
    without = replace(history[-1].gw, geometry="sqeuclidean", unit_scale=False, variation=None)
    words = re.sub(r"<[^>]*>", "", without._repr_html_())
    assert "No picture: A matrix in geometry" in words
    empty = History()._repr_html_()
    assert "Nothing was recorded" in empty
    assert "No picture: A timeline needs at least one look" in empty


def test_names_are_data_and_never_markup(history: History) -> None:
    names = ("<b>bold</b>", *history[-1].layers[1:])
    record = replace(history[-1], layers=names, gw=replace(history[-1].gw, layers=names))
    assert "<b>" not in record._repr_html_()


def test_the_rows_are_the_numbers(history: History, rectangle: lgw.GWMatrix) -> None:
    last: Record = history[-1]
    size = len(last.layers)
    pairs = last.gw.to_dataframe()
    assert len(pairs) == size * (size - 1) // 2
    for row in pairs.itertuples():
        assert row.similarity == last.gw.similarity[row.place_a - 1, row.place_b - 1]
        assert row.layer_b == last.layers[row.place_b - 1]
    assert len(rectangle.to_dataframe()) == 6
    layers = last.to_dataframe()
    assert list(layers["name"]) == list(last.layers)
    assert list(layers["boundary_after"]) == [k in last.groups.boundaries for k in range(size)]
    np.testing.assert_array_equal(layers["growth"][:-1], last.growth)
    assert "name" not in last.groups.to_dataframe()
    looks = history.to_dataframe()
    assert list(looks["step"]) == [record.step for record in history]
    assert list(looks["strength"]) == [record.groups.strength for record in history]


def test_metrics_give_way_to_the_columns_of_a_look(history: History) -> None:
    logged = {"epoch": 7.5, "seconds": 3.0, "loss": 0.5}
    (row,) = History([replace(history[-1], metrics=logged)]).to_dataframe().to_dict("records")
    assert (row["epoch"], row["seconds"]) == (history[-1].epoch, history[-1].seconds)
    assert (row["metrics/epoch"], row["metrics/seconds"], row["loss"]) == (7.5, 3.0, 0.5)


DRAWN = {
    "matrix": lambda history: draw_matrix(history[-1]),
    "groups": lambda history: draw_groups(history[-1].groups),
    "timeline": draw_timeline,
    "profile": lambda history: draw_profile(history[-1], history[0]),
    "comparison": lambda history: draw_comparison({"one": {0: history}}),
}


@pytest.mark.parametrize("picture", DRAWN)
@pytest.mark.representatives("groups")
def test_the_style_of_the_user_changes_no_picture(picture: str, history: History) -> None:
    draw = DRAWN[picture]
    pixels, file = to_rgb(draw(history)), png(draw(history))
    users = {"font.size": 25, "savefig.bbox": "tight", "figure.dpi": 60, "axes.grid": True, "text.usetex": True}
    with style.context(["dark_background", users]):
        np.testing.assert_array_equal(to_rgb(draw(history)), pixels)
        assert png(draw(history)) == file
        assert style.library["dark_background"]["axes.facecolor"] == rcParams["axes.facecolor"], "the user keeps theirs"


def test_a_picture_in_axes_of_the_user_keeps_their_style(history: History) -> None:
    with style.context("dark_background"):
        axes = Figure().add_subplot()
        draw_groups(history[-1].groups, ax=axes)
    assert axes.get_facecolor() == (0, 0, 0, 1)


def test_whatever_keeps_a_picture_from_being_drawn_is_said_in_its_place(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("latex could not be found")

    monkeypatch.setattr("lightning_gw.figures.objects.draw_groups", fails)
    words = history[-1].groups._repr_html_()
    assert "No picture: RuntimeError: latex could not be found" in words


def test_layers_that_could_not_be_measured_are_seen_among_the_groups() -> None:
    record = example_record(10, degenerate=2)
    (bar,) = (patch for patch in draw_groups(record.groups).axes[0].patches if patch.get_hatch() == "xx")
    assert to_hex(bar.get_edgecolor()) == NO_EVIDENCE != to_hex(bar.get_facecolor())


def test_a_run_writes_its_page_also_from_memory(history: History, tmp_path: Path) -> None:
    page = history.report(tmp_path / "page.html")
    assert page.read_text().startswith("<!doctype html>")
    assert "three strong groups" in page.read_text()
    with pytest.raises(ValueError, match="holds no look"):
        History().report(tmp_path / "empty.html")
